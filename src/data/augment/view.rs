//! Test-time augmentation: several views of a picture, whose scores are averaged.

use serde::{Deserialize, Serialize};

use super::crop::Crop;
use crate::error::{Error, KeyPath, Result};
use crate::range::Range;

/// The views of testing. The default is the published one: the whole picture, as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TestTimeConfig {
    /// Also use the mirror image of every view.
    pub flip: bool,
    /// 1 takes the whole picture; 5 the corners and the middle.
    pub crops: usize,
    /// Sides of the five crops, as a fraction of the picture's.
    pub part: f64,
}

impl Default for TestTimeConfig {
    fn default() -> Self {
        TestTimeConfig {
            flip: false,
            crops: 1,
            part: 0.875,
        }
    }
}

/// A view of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Which of the five crops (corners in row-major order, then the centre); `None` for the whole
    /// picture.
    pub crop: Option<usize>,
    /// Whether the picture is mirrored left and right.
    pub flip: bool,
}

impl TestTimeConfig {
    /// Returns the views, the plainest first.
    pub fn views(&self) -> Vec<View> {
        let crops: Vec<Option<usize>> = match self.crops {
            5 => (0..5).rev().map(Some).collect(),
            _ => vec![None],
        };
        let flips: &[bool] = if self.flip { &[false, true] } else { &[false] };
        (flips.iter())
            .flat_map(|&flip| crops.iter().map(move |&crop| View { crop, flip }))
            .collect()
    }

    /// Returns the part of a picture of `width` x `height` pixels that `view` shows.
    pub fn crop(&self, view: View, width: u32, height: u32) -> Crop {
        let Some(which) = view.crop else {
            return Crop::whole(width, height);
        };
        let side = |length: u32| ((f64::from(length) * self.part).round() as u32).clamp(1, length);
        let (new_width, new_height) = (side(width), side(height));
        let (right, bottom) = (width - new_width, height - new_height);
        let (left, top) = match which {
            0 => (0, 0),
            1 => (right, 0),
            2 => (0, bottom),
            3 => (right, bottom),
            _ => (right / 2, bottom / 2),
        };
        Crop {
            left,
            top,
            width: new_width,
            height: new_height,
        }
    }

    /// Checks the values; `at` is the key of this table.
    pub fn check(&self, at: &KeyPath) -> Result<()> {
        if ![1, 5].contains(&self.crops) {
            let problem = format_args!("is {}, expected 1 or 5", self.crops);
            return Err(Error::key(at.join("crops"), problem));
        }
        Range::Within(0.1, 1.0).check(&at.join("part"), self.part)
    }
}

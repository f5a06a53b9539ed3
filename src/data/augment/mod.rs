//! Turns a decoded picture into the network's input: augmentation, resizing, normalisation.
//!
//! The default is the published recipe, in its order: photometric distortion of the 0..255 values
//! without clipping, a crop, a resize that does not keep the aspect ratio, normalisation, and a
//! horizontal flip. The random choices for a picture are drawn first ([`Plan::draw`]), from nothing
//! but its size and a [`Stream`]; they are then carried out ([`Transformer`]) in one pass over the
//! pixels that the result needs.
//!
//! Options beyond the published recipe are a random resized crop in place of the published one,
//! RandAugment on the resized picture, cutout after normalisation, mixup of whole batches, and
//! several views of each picture in testing.

use serde::{Deserialize, Serialize};

use crate::error::{Error, KeyPath, Result};
use crate::range::Range;
use crate::rng::Stream;

mod crop;
mod mixup;
mod photometric;
mod rand_augment;
mod transform;
mod view;

pub use crop::{Crop, CropConfig};
pub use mixup::{MixedTargets, MixupConfig, mixup};
pub use photometric::{Distortion, PhotometricConfig};
pub use rand_augment::{Operation, RandAugmentConfig};
pub use transform::Transformer;
pub use view::{TestTimeConfig, View};

use crate::data::resize::ResizeMethod;
use crop::draw_crop;

/// How pictures become the network's input. The defaults are those of the published recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputConfig {
    /// Side of the square input, in pixels; if left out, that of the backbone's published weights,
    /// mostly 224.
    pub size: u32,
    /// How pictures are resized.
    pub resize: ResizeMethod,
    /// Subtracted from red, green and blue on the 0..255 scale; if left out, that of the backbone's
    /// published weights.
    pub mean: [f32; 3],
    /// Red, green and blue are divided by it after the mean is subtracted; if left out, as for the
    /// mean.
    pub std: [f32; 3],
    /// What training does to pictures.
    pub augment: AugmentConfig,
    /// Views of each picture whose scores testing averages.
    pub test_time: TestTimeConfig,
}

impl Default for InputConfig {
    fn default() -> Self {
        InputConfig {
            size: 224,
            resize: ResizeMethod::Opencv,
            mean: [123.675, 116.28, 103.53],
            std: [58.395, 57.12, 57.375],
            augment: AugmentConfig::default(),
            test_time: TestTimeConfig::default(),
        }
    }
}

/// The random part of the training transform.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentConfig {
    /// Brightness, contrast, saturation, hue and channel order.
    pub photometric: PhotometricConfig,
    /// Which part of the picture is taken.
    pub crop: CropConfig,
    /// Probability of a horizontal flip.
    pub flip: f64,
    /// RandAugment of the resized picture; off where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rand_augment: Option<RandAugmentConfig>,
    /// Squares set to the mean colour; off where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cutout: Option<CutoutConfig>,
    /// Blends of two pictures; off where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixup: Option<MixupConfig>,
    /// Augmented versions of each picture; 0 draws a new one every time. Runs of all seeds share
    /// the versions and draw which one is shown, so that the features of a frozen backbone can be
    /// kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub views: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Cutout (DeVries and Taylor 2017): squares set to the mean colour. A square's centre lies
/// anywhere in the input, what reaches beyond the edge is cut off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CutoutConfig {
    /// Squares per picture.
    pub holes: usize,
    /// Side of the squares, as a fraction of the input's side.
    pub length: f64,
}

impl Default for CutoutConfig {
    fn default() -> Self {
        CutoutConfig {
            holes: 1,
            length: 0.25,
        }
    }
}

impl Default for AugmentConfig {
    fn default() -> Self {
        AugmentConfig {
            photometric: PhotometricConfig::default(),
            crop: CropConfig::default(),
            flip: 0.5,
            rand_augment: None,
            cutout: None,
            mixup: None,
            views: 0,
        }
    }
}

impl AugmentConfig {
    /// Returns settings without any augmentation: training sees the same pictures as testing.
    pub fn none() -> Self {
        AugmentConfig {
            photometric: PhotometricConfig::none(),
            crop: CropConfig::None {},
            flip: 0.0,
            rand_augment: None,
            cutout: None,
            mixup: None,
            views: 0,
        }
    }
}

impl InputConfig {
    /// Checks the values; `at` is the key of this table.
    ///
    /// # Errors
    /// Returns an error that names the first key out of range.
    pub fn check(&self, at: &KeyPath) -> Result<()> {
        Range::WholeWithin(8, 4096).check_whole(&at.join("size"), self.size)?;
        for mean in self.mean {
            Range::Finite.check(&at.join("mean"), mean.into())?;
        }
        for std in self.std {
            Range::Positive.check(&at.join("std"), std.into())?;
        }
        self.augment.check(&at.join("augment"))?;
        self.test_time.check(&at.join("test_time"))
    }
}

impl AugmentConfig {
    /// Returns the number of versions of each picture that training may show, or `None` if it is
    /// unbounded. Without any augmentation it is one, whatever the value of [`views`](Self::views).
    pub fn versions(&self) -> Option<usize> {
        let drawn = AugmentConfig {
            views: 0,
            ..self.clone()
        };
        match self.views {
            _ if self.mixup.is_some() => None,
            _ if drawn == Self::none() => Some(1),
            0 => None,
            views => Some(views),
        }
    }

    /// Returns the stream that determines the augmentation of the picture `name` when it is shown
    /// at `position` of an epoch.
    pub fn stream(&self, seed: u64, epoch: u64, position: u64, name: &str) -> Stream {
        match self.views {
            0 => Stream::new(seed, "augment", epoch, position),
            _ => Self::stream_of(self.version(seed, epoch, position), name),
        }
    }

    /// Returns which of the [`versions`](Self::versions) is shown at `position` of an epoch.
    pub fn version(&self, seed: u64, epoch: u64, position: u64) -> usize {
        match self.versions() {
            Some(1) => 0,
            _ => Stream::new(seed, "view", epoch, position).below(self.views),
        }
    }

    /// Returns the stream of a version of the picture `name`, which is the same for all seeds.
    pub fn stream_of(version: usize, name: &str) -> Stream {
        Stream::new(0, &format!("view of {name}"), version as u64, 0)
    }

    /// Checks the values; `at` is the key of this table.
    fn check(&self, at: &KeyPath) -> Result<()> {
        Range::WholeWithin(0, 1 << 20).check_whole(&at.join("views"), self.views)?;
        let part = Range::Within(0.0, 1.0);
        let at_photometric = at.join("photometric");
        let photometric = &self.photometric;
        let shift = Range::Within(0.0, 255.0);
        shift.check(&at_photometric.join("brightness"), photometric.brightness)?;
        Range::Within(0.0, 180.0).check(&at_photometric.join("hue"), photometric.hue)?;
        check_bounds(
            &at_photometric.join("contrast"),
            photometric.contrast,
            0.0,
            10.0,
        )?;
        check_bounds(
            &at_photometric.join("saturation"),
            photometric.saturation,
            0.0,
            10.0,
        )?;
        part.check(&at_photometric.join("probability"), photometric.probability)?;
        part.check(&at_photometric.join("permute"), photometric.permute)?;
        part.check(&at.join("flip"), self.flip)?;
        if let Some(rand_augment) = &self.rand_augment {
            let at = at.join("rand_augment");
            Range::WholeWithin(0, 30).check_whole(&at.join("magnitude"), rand_augment.magnitude)?;
            Range::WholeWithin(0, 14).check_whole(&at.join("num_ops"), rand_augment.num_ops)?;
        }
        if let Some(cutout) = &self.cutout {
            let at = at.join("cutout");
            part.check(&at.join("length"), cutout.length)?;
            Range::WholeWithin(0, 100).check_whole(&at.join("holes"), cutout.holes)?;
        }
        if let Some(mixup) = &self.mixup {
            Range::Above(0.0, 100.0).check(&at.join("mixup.alpha"), mixup.alpha)?;
        }
        let at = at.join("crop");
        match self.crop {
            CropConfig::None {} => Ok(()),
            CropConfig::Sides { min_side, ratio } => {
                Range::Within(0.01, 1.0).check(&at.join("min_side"), min_side)?;
                check_bounds(&at.join("ratio"), ratio, 0.01, 100.0)
            }
            CropConfig::RandomResized { scale, ratio } => {
                check_bounds(&at.join("scale"), scale, 0.0001, 1.0)?;
                check_bounds(&at.join("ratio"), ratio, 0.01, 100.0)
            }
        }
    }
}

/// Rejects a pair of bounds that is not ascending or not between `least` and `most`.
fn check_bounds(at: &KeyPath, [low, high]: [f64; 2], least: f64, most: f64) -> Result<()> {
    if least <= low && low <= high && high <= most {
        return Ok(());
    }
    let problem =
        format!("is [{low}, {high}], expected two numbers from {least} to {most}, the lower first");
    Err(Error::key(at, problem))
}

/// The transformations to apply to one picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The photometric distortion.
    pub distortion: Distortion,
    /// The part to use; it must lie within the picture.
    pub crop: Crop,
    /// Whether to mirror left and right.
    pub flip: bool,
    /// Operations on the resized picture, which is rounded to 8 bits first if there are any.
    pub operations: Vec<Operation>,
    /// Rectangles of the input that are set to 0, the mean colour.
    pub holes: Vec<Crop>,
}

impl Plan {
    /// Returns the plan used in testing: only resize and normalise.
    pub fn test(width: u32, height: u32) -> Self {
        Plan {
            distortion: Distortion::none(),
            crop: Crop::whole(width, height),
            flip: false,
            operations: Vec::new(),
            holes: Vec::new(),
        }
    }

    /// Draws the training plan for a picture of `width` x `height` pixels.
    pub fn draw(config: &InputConfig, width: u32, height: u32, stream: &mut Stream) -> Self {
        let augment = &config.augment;
        let distortion = Distortion::draw(&augment.photometric, stream);
        let crop = draw_crop(&augment.crop, width.max(1), height.max(1), stream);
        let flip = stream.chance(augment.flip);
        let operations = (augment.rand_augment.iter())
            .flat_map(|r| std::iter::repeat_n(r, r.num_ops))
            .map(|r| Operation::draw(r, stream))
            .collect();
        let holes = (augment.cutout.iter())
            .flat_map(|c| std::iter::repeat_n(c, c.holes))
            .map(|c| draw_hole(c, config.size, stream))
            .collect();
        Plan {
            distortion,
            crop,
            flip,
            operations,
            holes,
        }
    }
}

fn draw_hole(config: &CutoutConfig, size: u32, stream: &mut Stream) -> Crop {
    let half = config.length * f64::from(size) / 2.0;
    let mut side = || {
        let center = stream.range(0.0, f64::from(size));
        let first = (center - half).max(0.0) as u32;
        let last = ((center + half) as u32).min(size);
        (first, last.saturating_sub(first))
    };
    let ((left, width), (top, height)) = (side(), side());
    Crop {
        left,
        top,
        width,
        height,
    }
}

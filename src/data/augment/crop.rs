//! Choosing the part of a picture to use.

use serde::{Deserialize, Serialize};

use crate::rng::Stream;

/// A rectangle of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crop {
    /// First column.
    pub left: u32,
    /// First row.
    pub top: u32,
    /// Columns, at least 1.
    pub width: u32,
    /// Rows, at least 1.
    pub height: u32,
}

impl Crop {
    /// Returns the whole picture.
    pub fn whole(width: u32, height: u32) -> Self {
        Crop {
            left: 0,
            top: 0,
            width: width.max(1),
            height: height.max(1),
        }
    }
}

/// Which part of a picture training takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum CropConfig {
    /// The whole picture.
    None {},
    /// Sides drawn on their own, each a part of the picture's side; the published recipe.
    Sides {
        /// Smallest side, as a fraction of the picture's side; the largest is 1.
        #[serde(default = "default_min_side")]
        min_side: f64,
        /// Bounds of height / width.
        #[serde(default = "default_side_ratio")]
        ratio: [f64; 2],
    },
    /// torchvision's `RandomResizedCrop`: an area and a ratio of the sides.
    RandomResized {
        /// Bounds of the area, as a fraction of the picture's.
        #[serde(default = "default_scale")]
        scale: [f64; 2],
        /// Bounds of width / height, drawn uniformly on a logarithmic scale.
        #[serde(default = "default_ratio")]
        ratio: [f64; 2],
    },
}

fn default_min_side() -> f64 {
    0.8
}

fn default_side_ratio() -> [f64; 2] {
    [0.5, 2.0]
}

fn default_scale() -> [f64; 2] {
    [0.08, 1.0]
}

fn default_ratio() -> [f64; 2] {
    [3.0 / 4.0, 4.0 / 3.0]
}

impl Default for CropConfig {
    fn default() -> Self {
        CropConfig::Sides {
            min_side: default_min_side(),
            ratio: default_side_ratio(),
        }
    }
}

/// Maximum number of draws until the ratio fits; a picture of extreme proportions is then taken
/// whole.
const SIDES_TRIES: usize = 50;
/// The number of tries of torchvision's `RandomResizedCrop`.
const RESIZED_TRIES: usize = 10;

/// Draws a crop of a picture of `width` x `height` pixels.
pub(super) fn draw_crop(config: &CropConfig, width: u32, height: u32, stream: &mut Stream) -> Crop {
    let (w, h) = (f64::from(width), f64::from(height));
    match *config {
        CropConfig::None {} => Crop::whole(width, height),
        CropConfig::Sides { min_side, ratio } => {
            for _ in 0..SIDES_TRIES {
                let new_width = stream.range(min_side * w, w);
                let new_height = stream.range(min_side * h, h);
                if !(ratio[0]..=ratio[1]).contains(&(new_height / new_width)) {
                    continue;
                }
                let left = stream.range(0.0, w - new_width);
                let top = stream.range(0.0, h - new_height);
                // The corners are truncated to whole pixels, not the sides.
                let (right, bottom) = ((left + new_width) as u32, (top + new_height) as u32);
                let (left, top) = (left as u32, top as u32);
                return Crop {
                    left,
                    top,
                    width: (right.min(width) - left).max(1),
                    height: (bottom.min(height) - top).max(1),
                };
            }
            Crop::whole(width, height)
        }
        CropConfig::RandomResized { scale, ratio } => {
            for _ in 0..RESIZED_TRIES {
                let area = w * h * stream.range(scale[0], scale[1]);
                let aspect = stream.range(ratio[0].ln(), ratio[1].ln()).exp();
                let new_width = (area * aspect).sqrt().round() as u32;
                let new_height = (area / aspect).sqrt().round() as u32;
                if (1..=width).contains(&new_width) && (1..=height).contains(&new_height) {
                    return Crop {
                        left: stream.below((width - new_width + 1) as usize) as u32,
                        top: stream.below((height - new_height + 1) as usize) as u32,
                        width: new_width,
                        height: new_height,
                    };
                }
            }
            // The largest centred rectangle within the bounds of the ratio.
            let (new_width, new_height) = if w / h < ratio[0] {
                (w, (w / ratio[0]).round().min(h))
            } else if w / h > ratio[1] {
                ((h * ratio[1]).round().min(w), h)
            } else {
                (w, h)
            };
            let (new_width, new_height) = (new_width as u32, new_height as u32);
            Crop {
                left: (width - new_width) / 2,
                top: (height - new_height) / 2,
                width: new_width.max(1),
                height: new_height.max(1),
            }
        }
    }
}

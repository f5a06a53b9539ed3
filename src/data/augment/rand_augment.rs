//! RandAugment (Cubuk et al. 2020), with torchvision's operations and strengths.
//!
//! It operates on the resized 8-bit picture, before normalisation.

use serde::{Deserialize, Serialize};

use crate::data::picture::Rgb8;
use crate::rng::Stream;

/// Number of strength levels.
const BINS: u32 = 31;

/// Settings of RandAugment, named and set as torchvision's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandAugmentConfig {
    /// Operations per picture, one after another.
    pub num_ops: usize,
    /// Strength of all operations, 0 to 30.
    pub magnitude: u32,
}

impl Default for RandAugmentConfig {
    fn default() -> Self {
        RandAugmentConfig {
            num_ops: 2,
            magnitude: 9,
        }
    }
}

/// An operation with its strength. Pixels from outside the picture are black.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operation {
    /// Does nothing.
    Identity,
    /// Takes column x of row y from x + strength (y + 1/2).
    ShearX(f32),
    /// Takes row y of column x from y + strength (x + 1/2).
    ShearY(f32),
    /// Shifts to the right, by a fraction of the width.
    TranslateX(f32),
    /// Shifts down, by a fraction of the height.
    TranslateY(f32),
    /// Rotates about the centre, in degrees, counter-clockwise.
    Rotate(f32),
    /// Multiplies all values.
    Brightness(f32),
    /// Multiplies the difference from the pixel's grey value.
    Color(f32),
    /// Multiplies the difference from the picture's mean grey value.
    Contrast(f32),
    /// Multiplies the difference from the smoothed picture.
    Sharpness(f32),
    /// Keeps this many of the most significant bits.
    Posterize(u32),
    /// Inverts values from this one upwards.
    Solarize(f32),
    /// Stretches each channel to 0..255.
    AutoContrast,
    /// Equalises each channel's histogram.
    Equalize,
}

impl Operation {
    /// Draws an operation; all are equally likely.
    pub fn draw(config: &RandAugmentConfig, stream: &mut Stream) -> Self {
        let part = config.magnitude.min(BINS - 1) as f32 / (BINS - 1) as f32;
        let kind = stream.below(14);
        let sign = if stream.chance(0.5) { 1.0 } else { -1.0 };
        match kind {
            0 => Operation::Identity,
            1 => Operation::ShearX(sign * part * 0.3),
            2 => Operation::ShearY(sign * part * 0.3),
            3 => Operation::TranslateX(sign * part * 150.0 / 331.0),
            4 => Operation::TranslateY(sign * part * 150.0 / 331.0),
            5 => Operation::Rotate(sign * part * 30.0),
            6 => Operation::Brightness(1.0 + sign * part * 0.9),
            7 => Operation::Color(1.0 + sign * part * 0.9),
            8 => Operation::Contrast(1.0 + sign * part * 0.9),
            9 => Operation::Sharpness(1.0 + sign * part * 0.9),
            10 => Operation::Posterize(8 - (part * 4.0).round() as u32),
            11 => Operation::Solarize(255.0 * (1.0 - part)),
            12 => Operation::AutoContrast,
            _ => Operation::Equalize,
        }
    }

    /// Applies the operation to `picture`.
    pub fn apply(self, picture: &mut Rgb8) {
        let (width, height) = (picture.width() as f32, picture.height() as f32);
        match self {
            Operation::Identity => {}
            Operation::ShearX(s) => warp(picture, |x, y| (x + s * (y + 0.5), y)),
            Operation::ShearY(s) => warp(picture, |x, y| (x, y + s * (x + 0.5))),
            Operation::TranslateX(s) => {
                let shift = (s * width).trunc();
                warp(picture, |x, y| (x - shift, y));
            }
            Operation::TranslateY(s) => {
                let shift = (s * height).trunc();
                warp(picture, |x, y| (x, y - shift));
            }
            Operation::Rotate(degrees) => {
                let (sin, cos) = degrees.to_radians().sin_cos();
                let (cx, cy) = ((width - 1.0) / 2.0, (height - 1.0) / 2.0);
                warp(picture, |x, y| {
                    let (x, y) = (x - cx, y - cy);
                    (cos * x - sin * y + cx, sin * x + cos * y + cy)
                });
            }
            Operation::Brightness(factor) => {
                let table = lookup(|v| v * factor);
                (picture.pixels_mut().iter_mut()).for_each(|v| *v = table[usize::from(*v)]);
            }
            Operation::Color(factor) => {
                for pixel in picture.pixels_mut().chunks_exact_mut(3) {
                    let grey = grey(pixel);
                    (pixel.iter_mut()).for_each(|v| *v = mix(f32::from(*v), grey, factor));
                }
            }
            Operation::Contrast(factor) => {
                let pixels = picture.pixels().chunks_exact(3);
                let count = pixels.len() as f64;
                let mean = (pixels.map(|p| f64::from(grey(p))).sum::<f64>() / count) as f32;
                let table = lookup(|v| mean + factor * (v - mean));
                (picture.pixels_mut().iter_mut()).for_each(|v| *v = table[usize::from(*v)]);
            }
            Operation::Sharpness(factor) => sharpen(picture, factor),
            Operation::Posterize(bits) => {
                let mask = 0xFFu8 << (8 - bits.clamp(1, 8));
                picture.pixels_mut().iter_mut().for_each(|v| *v &= mask);
            }
            Operation::Solarize(threshold) => {
                for v in picture.pixels_mut() {
                    if f32::from(*v) >= threshold {
                        *v = 255 - *v;
                    }
                }
            }
            Operation::AutoContrast => by_channel(picture, |histogram| {
                let low = histogram.iter().position(|&n| n > 0).unwrap_or(0) as f32;
                let high = histogram.iter().rposition(|&n| n > 0).unwrap_or(0) as f32;
                if high <= low {
                    return lookup(|v| v);
                }
                lookup(|v| (v - low) * 255.0 / (high - low))
            }),
            Operation::Equalize => by_channel(picture, equalise),
        }
    }
}

fn lookup(value: impl Fn(f32) -> f32) -> [u8; 256] {
    std::array::from_fn(|v| value(v as f32).clamp(0.0, 255.0) as u8)
}

/// Returns the luma of a pixel (ITU-R BT.601).
fn grey(pixel: &[u8]) -> f32 {
    0.2989 * f32::from(pixel[0]) + 0.587 * f32::from(pixel[1]) + 0.114 * f32::from(pixel[2])
}

fn mix(value: f32, other: f32, factor: f32) -> u8 {
    (other + factor * (value - other)).clamp(0.0, 255.0) as u8
}

/// Moves pixels: each one is taken from the position given by `from`, rounded to the nearest pixel.
fn warp(picture: &mut Rgb8, from: impl Fn(f32, f32) -> (f32, f32)) {
    let (width, height) = (picture.width(), picture.height());
    let source = picture.clone();
    let stride = width as usize * 3;
    for (y, line) in picture.pixels_mut().chunks_exact_mut(stride).enumerate() {
        for (x, pixel) in line.chunks_exact_mut(3).enumerate() {
            let (sx, sy) = from(x as f32, y as f32);
            let (sx, sy) = (sx.round(), sy.round());
            if sx >= 0.0 && sy >= 0.0 && sx < width as f32 && sy < height as f32 {
                pixel.copy_from_slice(&source.row(sy as u32)[sx as usize * 3..][..3]);
            } else {
                pixel.fill(0);
            }
        }
    }
}

/// Blends with a smoothed picture (3 x 3 kernel of ones with 5 in the centre); the border is
/// unchanged.
fn sharpen(picture: &mut Rgb8, factor: f32) {
    let (width, height) = (picture.width(), picture.height());
    let source = picture.clone();
    let stride = width as usize * 3;
    for y in 1..height.saturating_sub(1) {
        let rows = [source.row(y - 1), source.row(y), source.row(y + 1)];
        let line = &mut picture.pixels_mut()[y as usize * stride..][..stride];
        for at in 3..stride.saturating_sub(3) {
            let sum: u32 = (rows.iter())
                .flat_map(|row| [row[at - 3], row[at], row[at + 3]])
                .map(u32::from)
                .sum();
            let value = u32::from(rows[1][at]);
            let smooth = ((sum + 4 * value) as f32 / 13.0).round();
            line[at] = mix(value as f32, smooth, factor);
        }
    }
}

fn by_channel(picture: &mut Rgb8, table: impl Fn(&[usize; 256]) -> [u8; 256]) {
    for channel in 0..3 {
        let mut histogram = [0; 256];
        for pixel in picture.pixels().chunks_exact(3) {
            histogram[usize::from(pixel[channel])] += 1;
        }
        let table = table(&histogram);
        for pixel in picture.pixels_mut().chunks_exact_mut(3) {
            pixel[channel] = table[usize::from(pixel[channel])];
        }
    }
}

/// Returns the lookup table by Pillow's rule: the highest value does not count towards the step.
fn equalise(histogram: &[usize; 256]) -> [u8; 256] {
    let total: usize = histogram.iter().sum();
    let highest = histogram
        .iter()
        .rev()
        .find(|&&n| n > 0)
        .copied()
        .unwrap_or(0);
    let step = (total - highest) / 255;
    if step == 0 {
        return lookup(|v| v);
    }
    let mut before = step / 2;
    histogram.map(|n| {
        let value = (before / step).min(255) as u8;
        before += n;
        value
    })
}

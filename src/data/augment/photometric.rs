//! Photometric distortion: brightness, contrast, saturation, hue and the order of the channels.

use serde::{Deserialize, Serialize};

use crate::rng::Stream;

/// Bounds of the photometric distortion, on the 0..255 scale. The defaults are published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PhotometricConfig {
    /// Largest amount added to, or subtracted from, all values.
    pub brightness: f64,
    /// Bounds of the factor on all values.
    pub contrast: [f64; 2],
    /// Bounds of the factor on the saturation.
    pub saturation: [f64; 2],
    /// Largest shift of the hue either way, in degrees.
    pub hue: f64,
    /// Probability of each of the four above.
    pub probability: f64,
    /// Probability that the channels are put in a random order (which may be the same).
    pub permute: f64,
}

impl Default for PhotometricConfig {
    fn default() -> Self {
        PhotometricConfig {
            brightness: 32.0,
            contrast: [0.5, 1.5],
            saturation: [0.5, 1.5],
            hue: 18.0,
            probability: 0.5,
            permute: 0.5,
        }
    }
}

impl PhotometricConfig {
    /// Returns settings without distortion.
    pub fn none() -> Self {
        PhotometricConfig {
            probability: 0.0,
            permute: 0.0,
            ..Self::default()
        }
    }
}

/// A drawn distortion. Values are not clipped at any step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distortion {
    /// Added to all values first.
    pub brightness: f32,
    /// Factor applied to all values.
    pub contrast: f32,
    /// Whether the contrast is applied after the colour steps rather than before.
    pub contrast_last: bool,
    /// Factor applied to the saturation.
    pub saturation: f32,
    /// Added to the hue, in degrees, from -360 to 360.
    pub hue: f32,
    /// Channel `i` of the result is channel `permutation[i]` of the picture; a permutation of 0, 1,
    /// 2.
    pub permutation: [usize; 3],
}

impl Distortion {
    /// Returns the distortion that leaves every picture unchanged.
    pub fn none() -> Self {
        Distortion {
            brightness: 0.0,
            contrast: 1.0,
            contrast_last: true,
            saturation: 1.0,
            hue: 0.0,
            permutation: [0, 1, 2],
        }
    }

    /// Draws a random distortion.
    pub fn draw(config: &PhotometricConfig, stream: &mut Stream) -> Self {
        let mut distortion = Self::none();
        let p = config.probability;
        if stream.chance(p) {
            distortion.brightness = stream.range(-config.brightness, config.brightness) as f32;
        }
        distortion.contrast_last = stream.chance(0.5);
        if stream.chance(p) {
            distortion.contrast = stream.range(config.contrast[0], config.contrast[1]) as f32;
        }
        if stream.chance(p) {
            distortion.saturation = stream.range(config.saturation[0], config.saturation[1]) as f32;
        }
        if stream.chance(p) {
            distortion.hue = stream.range(-config.hue, config.hue) as f32;
        }
        if stream.chance(config.permute) {
            stream.shuffle(&mut distortion.permutation);
        }
        distortion
    }

    /// Returns true if nothing changes except possibly the order of the channels.
    pub fn keeps_values(&self) -> bool {
        self.brightness == 0.0 && self.contrast == 1.0 && self.saturation == 1.0 && self.hue == 0.0
    }

    /// Distorts pixels given as three planes of equal length, with values 0..255. Reordering the
    /// channels is left to the caller ([`permutation`](Self::permutation)).
    ///
    /// The colour steps follow OpenCV's floating-point conversion to hue, saturation and value and
    /// back. This is not always the identity even if neither hue nor saturation changes: a pixel
    /// whose largest channel is negative after the brightness step comes back mirrored, as in the
    /// published recipe.
    #[inline(always)]
    pub fn apply(&self, red: &mut [f32], green: &mut [f32], blue: &mut [f32]) {
        let first = if self.contrast_last {
            1.0
        } else {
            self.contrast
        };
        let last = if self.contrast_last {
            self.contrast
        } else {
            1.0
        };
        let brightness = self.brightness;
        // Plain indexing over slices of equal length is the form that the compiler vectorises.
        let n = red.len().min(green.len()).min(blue.len());
        let (red, green, blue) = (&mut red[..n], &mut green[..n], &mut blue[..n]);
        if self.hue != 0.0 {
            // From degrees to sixths of a full turn, in 0..6.
            let turn = (self.hue / 60.0).rem_euclid(6.0);
            let saturation = self.saturation;
            for i in 0..n {
                let r = (red[i] + brightness) * first;
                let g = (green[i] + brightness) * first;
                let b = (blue[i] + brightness) * first;
                let [r, g, b] = turn_hue([r, g, b], turn, saturation);
                red[i] = r * last;
                green[i] = g * last;
                blue[i] = b * last;
            }
        } else if self.saturation != 1.0 || brightness < 0.0 {
            let saturation = self.saturation;
            for i in 0..n {
                let r = (red[i] + brightness) * first;
                let g = (green[i] + brightness) * first;
                let b = (blue[i] + brightness) * first;
                let [r, g, b] = saturate([r, g, b], saturation);
                red[i] = r * last;
                green[i] = g * last;
                blue[i] = b * last;
            }
        } else if brightness != 0.0 || self.contrast != 1.0 {
            let contrast = self.contrast;
            for plane in [red, green, blue] {
                for value in plane {
                    *value = (*value + brightness) * contrast;
                }
            }
        }
    }
}

// `f32::max` handles NaN, which costs two more instructions.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// Multiplies the saturation. With value v = max and saturation (v - min) / |v|, each channel c
/// becomes v - factor (v - c) v / |v|.
#[inline(always)]
fn saturate(pixel: [f32; 3], factor: f32) -> [f32; 3] {
    let [r, g, b] = pixel;
    let value = larger(larger(r, g), b);
    let scale = factor * value / (value.abs() + f32::EPSILON);
    pixel.map(|x| value - scale * (value - x))
}

/// Multiplies the saturation and rotates the hue by `turn` sixths of a full turn, 0 to 6.
#[inline(always)]
fn turn_hue(pixel: [f32; 3], turn: f32, factor: f32) -> [f32; 3] {
    let [r, g, b] = pixel;
    let value = larger(larger(r, g), b);
    let range = value - smaller(smaller(r, g), b);
    let slope = 1.0 / (range + f32::EPSILON);
    // The hue in sixths, from -1 to 5, depending on which of red, green and blue is the largest.
    let of_red = (g - b) * slope;
    let of_green = (b - r) * slope + 2.0;
    let of_blue = (r - g) * slope + 4.0;
    let hue = if value == g { of_green } else { of_blue };
    let hue = if value == r { of_red } else { hue };
    let hue = hue + turn;
    let spread = factor * value * (range / (value.abs() + f32::EPSILON));
    // Channel n falls below the value by a trapezoid function of the hue; 5, 3, 1 are the offsets
    // of red, green and blue.
    [5.0, 3.0, 1.0].map(|offset| {
        let k = hue + offset;
        // k lies in 0..16.
        let k = if k >= 12.0 { k - 12.0 } else { k };
        let k = if k >= 6.0 { k - 6.0 } else { k };
        let fall = smaller(k, 4.0 - k);
        let fall = larger(smaller(fall, 1.0), 0.0);
        value - spread * fall
    })
}

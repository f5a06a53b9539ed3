//! Max pooling with overlapping windows, global average pooling, and their gradients.

use rayon::prelude::*;

use super::activation::Activation;
use super::isa::{Arithmetic, Isa, Op};

/// Geometry of max pooling; the padding never is the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPoolShape {
    /// Number of channels of input and output.
    pub channels: usize,
    /// Rows and columns of a window.
    pub kernel: usize,
    /// Distance in input pixels from one window to the next.
    pub stride: usize,
    /// Rows and columns of padding on every side; less than the kernel.
    pub padding: usize,
}

impl MaxPoolShape {
    /// Returns the number of output rows (or columns) for an input of `size`.
    pub fn output_size(&self, size: usize) -> usize {
        (size + 2 * self.padding + self.stride).saturating_sub(self.kernel) / self.stride
    }
}

/// Max pooling of `input` `[batch, height, width, channels]`. If given, `winners` receives the
/// index of the tap with each maximum, the first one in case of ties.
///
/// # Panics
/// If the length of a slice does not match the shapes.
pub fn max_pool(
    isa: Isa,
    shape: &MaxPoolShape,
    (batch, height, width): (usize, usize, usize),
    input: &[f32],
    output: &mut [f32],
    winners: Option<&mut [u8]>,
) {
    let (rows, columns) = (shape.output_size(height), shape.output_size(width));
    let line = columns * shape.channels;
    assert_eq!(input.len(), batch * height * width * shape.channels);
    assert_eq!(output.len(), batch * rows * line);
    assert!(winners.as_ref().is_none_or(|w| w.len() == output.len()));
    assert!(shape.kernel * shape.kernel <= 256);
    if output.is_empty() {
        return;
    }
    let pool = |index: usize, output: &mut [f32], winners: Option<&mut [u8]>| {
        let (n, y) = (index / rows, index % rows);
        isa.run(MaxPoolRow {
            shape: *shape,
            picture: &input[n * height * width * shape.channels..],
            height,
            width,
            y,
            output,
            winners,
        });
    };
    let lines = output.par_chunks_mut(line).enumerate();
    match winners {
        Some(winners) => lines
            .zip(winners.par_chunks_mut(line))
            .for_each(|((index, output), winners)| pool(index, output, Some(winners))),
        None => lines.for_each(|(index, output)| pool(index, output, None)),
    }
}

struct MaxPoolRow<'a> {
    shape: MaxPoolShape,
    picture: &'a [f32],
    height: usize,
    width: usize,
    y: usize,
    output: &'a mut [f32],
    winners: Option<&'a mut [u8]>,
}

impl Op for MaxPoolRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let MaxPoolShape {
            channels,
            kernel,
            stride,
            padding,
        } = self.shape;
        let mut winners = self.winners;
        for (x, best) in self.output.chunks_exact_mut(channels).enumerate() {
            best.fill(f32::NEG_INFINITY);
            let mut winners = winners
                .as_mut()
                .map(|w| &mut w[x * channels..(x + 1) * channels]);
            if let Some(winners) = &mut winners {
                winners.fill(0);
            }
            for tap in 0..kernel * kernel {
                let iy = (self.y * stride + tap / kernel).wrapping_sub(padding);
                let ix = (x * stride + tap % kernel).wrapping_sub(padding);
                if iy >= self.height || ix >= self.width {
                    continue;
                }
                let pixel = &self.picture[(iy * self.width + ix) * channels..][..channels];
                match &mut winners {
                    Some(winners) => {
                        for ((b, w), &v) in best.iter_mut().zip(winners.iter_mut()).zip(pixel) {
                            let better = (v > *b) | v.is_nan();
                            *b = if better { v } else { *b };
                            *w = if better { tap as u8 } else { *w };
                        }
                    }
                    None => {
                        for (b, &v) in best.iter_mut().zip(pixel) {
                            *b = if (v > *b) | v.is_nan() { v } else { *b };
                        }
                    }
                }
            }
        }
    }
}

/// Computes the gradient of the input of [`max_pool`], masked by the activation that produced the
/// input.
///
/// # Panics
/// If the length of a slice does not match the shapes.
#[allow(clippy::too_many_arguments)]
pub fn max_pool_gradient(
    isa: Isa,
    shape: &MaxPoolShape,
    (batch, height, width): (usize, usize, usize),
    output_gradient: &[f32],
    winners: &[u8],
    mask: Option<(&[f32], Activation)>,
    input_gradient: &mut [f32],
) {
    let (rows, columns) = (shape.output_size(height), shape.output_size(width));
    let channels = shape.channels;
    let line = width * channels;
    assert_eq!(input_gradient.len(), batch * height * line);
    assert_eq!(output_gradient.len(), batch * rows * columns * channels);
    assert_eq!(winners.len(), output_gradient.len());
    assert!(mask.is_none_or(|(m, _)| m.len() == input_gradient.len()));
    if input_gradient.is_empty() {
        return;
    }
    input_gradient
        .par_chunks_mut(line)
        .enumerate()
        .for_each(|(index, out)| {
            let (n, y) = (index / height, index % height);
            let picture = n * rows * columns * channels;
            isa.run(MaxPoolGradientRow {
                shape: *shape,
                gradient: &output_gradient[picture..],
                winners: &winners[picture..],
                rows,
                columns,
                y,
                mask: mask.map(|(m, activation)| (&m[index * line..][..line], activation)),
                out,
            });
        });
}

struct MaxPoolGradientRow<'a> {
    shape: MaxPoolShape,
    gradient: &'a [f32],
    winners: &'a [u8],
    rows: usize,
    columns: usize,
    y: usize,
    mask: Option<(&'a [f32], Activation)>,
    out: &'a mut [f32],
}

impl Op for MaxPoolGradientRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let MaxPoolShape {
            channels,
            kernel,
            stride,
            padding,
        } = self.shape;
        self.out.fill(0.0);
        for (x, out) in self.out.chunks_exact_mut(channels).enumerate() {
            for tap in 0..kernel * kernel {
                let above = (self.y + padding).wrapping_sub(tap / kernel);
                let before = (x + padding).wrapping_sub(tap % kernel);
                let (oy, ox) = (above / stride, before / stride);
                if above % stride != 0
                    || before % stride != 0
                    || oy >= self.rows
                    || ox >= self.columns
                {
                    continue;
                }
                let at = (oy * self.columns + ox) * channels;
                let gradient = &self.gradient[at..at + channels];
                let winners = &self.winners[at..at + channels];
                for ((o, &g), &w) in out.iter_mut().zip(gradient).zip(winners) {
                    *o += if w == tap as u8 { g } else { 0.0 };
                }
            }
        }
        if let Some((output, activation)) = self.mask {
            activation.mask_with::<A::Vector>(self.out, output);
        }
    }
}

/// Number of pixels that are summed at once: more would lose precision.
pub(super) const PIXELS: usize = 64;

/// Writes the mean over the `pixels` of each picture of `input` `[batch, pixels, channels]` to
/// `output` `[batch, channels]`.
///
/// # Panics
/// If the length of a slice does not match the shapes.
pub fn global_average(isa: Isa, input: &[f32], pixels: usize, channels: usize, output: &mut [f32]) {
    assert_eq!(input.len(), output.len() * pixels);
    if input.is_empty() {
        return;
    }
    output
        .par_chunks_mut(channels)
        .zip(input.par_chunks(pixels * channels))
        .for_each(|(mean, picture)| isa.run(Average { picture, mean }));
}

struct Average<'a> {
    picture: &'a [f32],
    /// One value per channel.
    mean: &'a mut [f32],
}

impl Op for Average<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let channels = self.mean.len();
        let mut blocks = self.picture.chunks(PIXELS * channels);
        sum_pixels(blocks.next().unwrap_or(&[]), self.mean);
        let mut sum = vec![0.0; if blocks.len() > 0 { channels } else { 0 }];
        for block in blocks {
            sum_pixels(block, &mut sum);
            for (m, &s) in self.mean.iter_mut().zip(&sum) {
                *m += s;
            }
        }
        let pixels = self.picture.len() / channels;
        for m in self.mean {
            *m /= pixels as f32;
        }
    }
}

/// Writes the sum over the pixels of a block, for each channel.
#[inline(always)]
fn sum_pixels(block: &[f32], sum: &mut [f32]) {
    sum.fill(0.0);
    for pixel in block.chunks_exact(sum.len()) {
        for (s, &v) in sum.iter_mut().zip(pixel) {
            *s += v;
        }
    }
}

/// Computes the gradient of the input of [`global_average`]. With `add`, it is added to the
/// contents of `input_gradient`; `mask` turns it into the gradient before the activation that
/// produced the input, see [`Activation::mask`].
///
/// # Panics
/// If the length of a slice does not match the shapes.
#[allow(clippy::too_many_arguments)]
pub fn global_average_gradient(
    isa: Isa,
    output_gradient: &[f32],
    pixels: usize,
    channels: usize,
    add: bool,
    mask: Option<(&[f32], Activation)>,
    input_gradient: &mut [f32],
) {
    assert_eq!(input_gradient.len(), output_gradient.len() * pixels);
    assert!(mask.is_none_or(|(m, _)| m.len() == input_gradient.len()));
    if input_gradient.is_empty() {
        return;
    }
    let size = pixels * channels;
    input_gradient
        .par_chunks_mut(size)
        .zip(output_gradient.par_chunks(channels))
        .enumerate()
        .for_each(|(n, (picture, gradient))| {
            isa.run(Spread {
                gradient,
                add,
                mask: mask.map(|(points, a)| (&points[n * size..][..size], a)),
                picture,
            });
        });
}

struct Spread<'a> {
    /// One value per channel.
    gradient: &'a [f32],
    add: bool,
    mask: Option<(&'a [f32], Activation)>,
    picture: &'a mut [f32],
}

impl Op for Spread<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let channels = self.gradient.len();
        let pixels = (self.picture.len() / channels) as f32;
        let share: Vec<f32> = self.gradient.iter().map(|g| g / pixels).collect();
        for (index, pixel) in self.picture.chunks_exact_mut(channels).enumerate() {
            if self.add {
                for (p, &s) in pixel.iter_mut().zip(&share) {
                    *p += s;
                }
            } else {
                pixel.copy_from_slice(&share);
            }
            if let Some((points, activation)) = self.mask {
                activation.mask_with::<A::Vector>(pixel, &points[index * channels..][..channels]);
            }
        }
    }
}

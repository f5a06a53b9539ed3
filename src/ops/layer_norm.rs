//! Layer norm over the channels of each pixel.
//!
//! Tensors are `[pixels, channels]`. Mean and biased variance (as in PyTorch) are computed in two
//! passes over a pixel, which stays in the L1 cache, with a separate sum for each lane.

use rayon::prelude::*;

use super::activation::Activation;
use super::elementwise::CHUNK;
use super::isa::{Arithmetic, Isa, Op};
use super::lanes::sum;
use super::weight_gradient::sum_partial;

/// Number of pixels that are summed in single precision before the result is added to the total.
const PIXELS: usize = 64;

/// Computes `output = (input - mean) / sqrt(variance + epsilon) * gamma + beta`.
///
/// # Panics
/// If the lengths do not match.
pub fn forward(
    isa: Isa,
    channels: usize,
    epsilon: f32,
    input: &[f32],
    gamma: &[f32],
    beta: &[f32],
    output: &mut [f32],
) {
    assert_eq!(input.len(), output.len());
    assert_eq!((gamma.len(), beta.len()), (channels, channels));
    if input.is_empty() {
        return;
    }
    assert!(input.len().is_multiple_of(channels));
    let size = chunk(channels);
    output
        .par_chunks_mut(size)
        .zip(input.par_chunks(size))
        .for_each(|(output, input)| {
            isa.run(Forward {
                epsilon,
                input,
                gamma,
                beta,
                output,
            });
        });
}

/// Computes the gradient of the input from that of the output. With `add`, it is added to the
/// contents of `out`; `mask` turns it into the gradient before the activation that produced the
/// input, see [`Activation::mask`].
///
/// # Panics
/// If the lengths do not match.
#[allow(clippy::too_many_arguments)]
pub fn input_gradient(
    isa: Isa,
    channels: usize,
    epsilon: f32,
    input: &[f32],
    gamma: &[f32],
    gradient: &[f32],
    add: bool,
    mask: Option<(&[f32], Activation)>,
    out: &mut [f32],
) {
    assert_eq!((input.len(), gradient.len()), (out.len(), out.len()));
    assert!(mask.is_none_or(|(points, _)| points.len() == out.len()));
    assert_eq!(gamma.len(), channels);
    if input.is_empty() {
        return;
    }
    assert!(input.len().is_multiple_of(channels));
    let size = chunk(channels);
    out.par_chunks_mut(size)
        .enumerate()
        .for_each(|(index, out)| {
            let range = index * size..index * size + out.len();
            isa.run(InputGradient {
                epsilon,
                input: &input[range.clone()],
                gamma,
                gradient: &gradient[range.clone()],
                add,
                mask: mask.map(|(points, a)| (&points[range], a)),
                out,
            });
        });
}

/// Writes the contribution of these pixels to the gradients of gamma, then beta, to `sums`:
/// `2 * channels` values, computed on the calling thread. The caller adds the sums of a batch's
/// parts in a fixed order.
///
/// # Panics
/// If the lengths do not match.
pub fn partial_sums(
    isa: Isa,
    channels: usize,
    epsilon: f32,
    input: &[f32],
    gradient: &[f32],
    sums: &mut [f32],
) {
    assert_eq!(input.len(), gradient.len());
    assert_eq!(sums.len(), 2 * channels);
    sums.fill(0.0);
    if input.is_empty() {
        return;
    }
    assert!(input.len().is_multiple_of(channels));
    let mut part = vec![0.0; 2 * channels];
    let size = PIXELS * channels;
    for (input, gradient) in input.chunks(size).zip(gradient.chunks(size)) {
        isa.run(ParameterSums {
            epsilon,
            input,
            gradient,
            part: &mut part,
            sums,
        });
    }
}

/// Number of parts in which [`parameter_gradients`] sums, independent of the number of threads.
const PARTS: usize = 16;

/// Returns the gradients of gamma, then beta, `[2 * channels]`, from the layer norm's input and the
/// gradient of its output, both `[pixels, channels]`.
///
/// # Panics
/// If the lengths do not match.
pub fn parameter_gradients(
    isa: Isa,
    channels: usize,
    epsilon: f32,
    input: &[f32],
    gradient: &[f32],
) -> Vec<f32> {
    let pixels = input.len() / channels.max(1);
    let mut sums = vec![0.0; PARTS * 2 * channels];
    let parts = sums.par_chunks_mut(2 * channels).enumerate();
    parts.for_each(|(part, sums)| {
        let range = pixels * part / PARTS * channels..pixels * (part + 1) / PARTS * channels;
        let (input, gradient) = (&input[range.clone()], &gradient[range]);
        partial_sums(isa, channels, epsilon, input, gradient, sums);
    });
    sum_partial(&mut sums, 2 * channels);
    sums.truncate(2 * channels);
    sums
}

/// Returns the number of values of a task: a whole number of pixels.
fn chunk(channels: usize) -> usize {
    (CHUNK / channels).max(1) * channels
}

/// Returns the mean and 1 / sqrt(variance + epsilon) of a pixel.
#[inline(always)]
fn statistics<A: Arithmetic>(pixel: &[f32], epsilon: f32) -> (f32, f32) {
    let channels = pixel.len() as f32;
    let mean = sum(pixel, pixel, |v, _, s| s + v) / channels;
    // Corrects the rounding error of the mean: the deviations do not quite sum to 0.
    let rest = sum(pixel, pixel, |v, _, s| s + (v - mean)) / channels;
    let mean = mean + rest;
    let square = sum(pixel, pixel, |v, _, s| A::mul_add(v - mean, v - mean, s));
    (mean, 1.0 / (square / channels + epsilon).sqrt())
}

struct Forward<'a> {
    epsilon: f32,
    input: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    output: &'a mut [f32],
}

impl Op for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let channels = self.gamma.len();
        let pixels = self.output.chunks_exact_mut(channels);
        for (out, pixel) in pixels.zip(self.input.chunks_exact(channels)) {
            let (mean, inverse) = statistics::<A>(pixel, self.epsilon);
            let affine = self.gamma.iter().zip(self.beta);
            for ((o, &v), (&gamma, &beta)) in out.iter_mut().zip(pixel).zip(affine) {
                *o = A::mul_add((v - mean) * inverse, gamma, beta);
            }
        }
    }
}

struct InputGradient<'a> {
    epsilon: f32,
    input: &'a [f32],
    gamma: &'a [f32],
    gradient: &'a [f32],
    add: bool,
    mask: Option<(&'a [f32], Activation)>,
    out: &'a mut [f32],
}

impl Op for InputGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let channels = self.gamma.len();
        // The gradient of the normalised pixel.
        let mut scaled = vec![0.0f32; channels];
        let pixels = self.input.chunks_exact(channels);
        let pixels = pixels.zip(self.gradient.chunks_exact(channels));
        let outs = self.out.chunks_exact_mut(channels);
        for (index, (out, (pixel, gradient))) in outs.zip(pixels).enumerate() {
            for ((s, &g), &gamma) in scaled.iter_mut().zip(gradient).zip(self.gamma) {
                *s = g * gamma;
            }
            // With x = (v - mean) * inverse: dv = inverse * (s - mean(s) - x * mean(s * x)).
            let (mean, inverse) = statistics::<A>(pixel, self.epsilon);
            let average = sum(&scaled, &scaled, |s, _, sum| sum + s) / channels as f32;
            let moment = sum(&scaled, pixel, |s, v, sum| A::mul_add(s, v - mean, sum));
            let slope = -inverse * inverse * (moment / channels as f32);
            let values = scaled.iter().zip(pixel);
            let change = |s: f32, v: f32| inverse * A::mul_add(v - mean, slope, s - average);
            if self.add {
                for (o, (&s, &v)) in out.iter_mut().zip(values) {
                    *o += change(s, v);
                }
            } else {
                for (o, (&s, &v)) in out.iter_mut().zip(values) {
                    *o = change(s, v);
                }
            }
            if let Some((points, activation)) = self.mask {
                activation.mask_with::<A::Vector>(out, &points[index * channels..][..channels]);
            }
        }
    }
}

struct ParameterSums<'a> {
    epsilon: f32,
    input: &'a [f32],
    gradient: &'a [f32],
    /// Sums of these pixels.
    part: &'a mut [f32],
    /// Sums of all pixels.
    sums: &'a mut [f32],
}

impl Op for ParameterSums<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        self.part.fill(0.0);
        let channels = self.part.len() / 2;
        let (gamma, beta) = self.part.split_at_mut(channels);
        let pixels = self.input.chunks_exact(channels);
        for (pixel, gradient) in pixels.zip(self.gradient.chunks_exact(channels)) {
            let (mean, inverse) = statistics::<A>(pixel, self.epsilon);
            for ((s, &g), &v) in gamma.iter_mut().zip(gradient).zip(pixel) {
                *s = A::mul_add(g, (v - mean) * inverse, *s);
            }
            for (s, &g) in beta.iter_mut().zip(gradient) {
                *s += g;
            }
        }
        for (sum, part) in self.sums.iter_mut().zip(&*self.part) {
            *sum += part;
        }
    }
}

#[cfg(test)]
#[path = "layer_norm_tests.rs"]
mod tests;

//! Batch norm with the statistics of the batch, fused with residual and activation.
//!
//! Tensors are `[pixels, channels]`. Statistics are taken in fixed chunks of pixels, whose means
//! and squared deviations are combined in double precision and in order (Chan, Golub and LeVeque,
//! 1979): exact enough for any mean, and the same for any number of threads.

use rayon::prelude::*;

use super::elementwise::Activation;
use super::isa::{Arithmetic, Isa, Op};

/// Pixels of one chunk.
const PIXELS: usize = 256;

/// Mean and variance of each channel over the batch.
#[derive(Debug, Clone)]
pub struct Statistics {
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Mean squared deviation (biased) of each channel.
    pub variance: Vec<f32>,
    /// Number of pixels.
    pub pixels: usize,
}

impl Statistics {
    /// 1 / sqrt(variance + epsilon).
    pub fn inverse_deviation(&self, epsilon: f32) -> Vec<f32> {
        let inverse = |&v: &f32| (1.0 / (f64::from(v) + f64::from(epsilon)).sqrt()) as f32;
        self.variance.iter().map(inverse).collect()
    }

    /// The unbiased variance, which the running estimate takes. One pixel has none and gives NaN,
    /// as in PyTorch.
    pub fn unbiased_variance(&self) -> Vec<f32> {
        let n = self.pixels as f64;
        let unbias = |&v: &f32| (f64::from(v) * n / (n - 1.0)) as f32;
        self.variance.iter().map(unbias).collect()
    }
}

/// Statistics of `input` `[pixels, channels]`.
pub fn statistics(isa: Isa, input: &[f32], channels: usize) -> Statistics {
    let parts: Vec<ChunkSums> = input
        .par_chunks(PIXELS * channels)
        .map(|chunk| isa.run(ChunkStatistics { chunk, channels }))
        .collect();
    let mut mean = vec![0.0f64; channels];
    let mut square = vec![0.0f64; channels];
    let mut seen = 0.0;
    for (part, chunk) in parts.iter().zip(input.chunks(PIXELS * channels)) {
        let count = (chunk.len() / channels) as f64;
        let total = seen + count;
        for c in 0..channels {
            let rest = f64::from(part.deviation[c]) / count;
            let delta = f64::from(part.mean[c]) + rest - mean[c];
            mean[c] += delta * count / total;
            square[c] += f64::from(part.square[c]) - count * rest * rest;
            square[c] += delta * delta * seen * count / total;
        }
        seen = total;
    }
    Statistics {
        mean: mean.iter().map(|&m| m as f32).collect(),
        variance: square
            .iter()
            .map(|&s| if s < 0.0 { 0.0 } else { (s / seen) as f32 })
            .collect(),
        pixels: input.len() / channels,
    }
}

/// Sums of one chunk, by channel.
struct ChunkSums {
    /// The mean, as far as single precision goes.
    mean: Vec<f32>,
    /// Sum of the deviations from it: what rounding kept from being 0.
    deviation: Vec<f32>,
    /// Sum of their squares.
    square: Vec<f32>,
}

struct ChunkStatistics<'a> {
    chunk: &'a [f32],
    channels: usize,
}

impl Op for ChunkStatistics<'_> {
    type Output = ChunkSums;
    #[inline(always)]
    fn run<A: Arithmetic>(self) -> ChunkSums {
        let mut mean = vec![0.0f32; self.channels];
        let mut square = vec![0.0f32; self.channels];
        for pixel in self.chunk.chunks_exact(self.channels) {
            for (m, &v) in mean.iter_mut().zip(pixel) {
                *m += v;
            }
        }
        let count = (self.chunk.len() / self.channels) as f32;
        for m in &mut mean {
            *m /= count;
        }
        let mut deviation = vec![0.0f32; self.channels];
        for pixel in self.chunk.chunks_exact(self.channels) {
            let sums = square.iter_mut().zip(&mut deviation);
            for ((s, d), (&m, &v)) in sums.zip(mean.iter().zip(pixel)) {
                *d += v - m;
                *s = A::mul_add(v - m, v - m, *s);
            }
        }
        ChunkSums {
            mean,
            deviation,
            square,
        }
    }
}

/// `output = activation((input - mean) * inverse * gamma + beta + residual)`.
///
/// # Panics
/// If the lengths differ.
#[allow(clippy::too_many_arguments)]
pub fn normalise(
    isa: Isa,
    input: &[f32],
    mean: &[f32],
    inverse: &[f32],
    gamma: &[f32],
    beta: &[f32],
    residual: Option<&[f32]>,
    activation: Activation,
    output: &mut [f32],
) {
    let channels = mean.len();
    assert_eq!(input.len(), output.len());
    assert!(residual.is_none_or(|r| r.len() == output.len()));
    let scale: Vec<f32> = inverse.iter().zip(gamma).map(|(i, g)| i * g).collect();
    let size = PIXELS * channels;
    output
        .par_chunks_mut(size)
        .enumerate()
        .for_each(|(index, output)| {
            let range = index * size..index * size + output.len();
            isa.run(Normalise {
                input: &input[range.clone()],
                mean,
                scale: &scale,
                beta,
                residual: residual.map(|r| &r[range]),
                activation,
                output,
            });
        });
}

struct Normalise<'a> {
    input: &'a [f32],
    mean: &'a [f32],
    scale: &'a [f32],
    beta: &'a [f32],
    residual: Option<&'a [f32]>,
    activation: Activation,
    output: &'a mut [f32],
}

impl Op for Normalise<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let channels = self.mean.len();
        let pixels = self.output.chunks_exact_mut(channels);
        for (index, (out, input)) in pixels.zip(self.input.chunks_exact(channels)).enumerate() {
            let affine = self.mean.iter().zip(self.scale).zip(self.beta);
            for ((o, &v), ((&m, &s), &b)) in out.iter_mut().zip(input).zip(affine) {
                *o = A::mul_add(v - m, s, b);
            }
            if let Some(residual) = self.residual {
                let residual = &residual[index * channels..][..channels];
                for (o, &r) in out.iter_mut().zip(residual) {
                    *o += r;
                }
            }
            self.activation.apply(out);
        }
    }
}

/// Gradients of [`normalise`] with the batch's own statistics.
pub struct BatchNormGradient {
    /// With respect to gamma.
    pub gamma: Vec<f32>,
    /// With respect to beta.
    pub beta: Vec<f32>,
}

/// Gradients from that before the activation; `input_gradient` takes the one of the input.
///
/// # Panics
/// If the lengths differ.
#[allow(clippy::too_many_arguments)]
pub fn normalise_gradient(
    isa: Isa,
    input: &[f32],
    mean: &[f32],
    inverse: &[f32],
    gamma: &[f32],
    output_gradient: &[f32],
    input_gradient: &mut [f32],
) -> BatchNormGradient {
    let channels = mean.len();
    assert_eq!(input.len(), output_gradient.len());
    assert_eq!(input.len(), input_gradient.len());
    let size = PIXELS * channels;
    let parts: Vec<TwoSums> = input
        .par_chunks(size)
        .zip(output_gradient.par_chunks(size))
        .map(|(input, gradient)| {
            isa.run(GradientSums {
                input,
                gradient,
                mean,
            })
        })
        .collect();
    let total = |part: fn(&TwoSums) -> &Vec<f32>| -> Vec<f64> {
        let sum = |c: usize| parts.iter().map(|p| f64::from(part(p)[c])).sum();
        (0..channels).map(sum).collect()
    };
    let (sum, moment) = (total(|p| &p.0), total(|p| &p.1));

    // With x = (v - mean) * inverse: dv = gamma * inverse * (g - mean(g) - x * mean(g * x)).
    let pixels = (input.len() / channels) as f64;
    let coefficient = |c: usize| {
        let (inverse, gamma) = (f64::from(inverse[c]), f64::from(gamma[c]));
        let scale = gamma * inverse;
        let slope = -scale * inverse * inverse * moment[c] / pixels;
        (
            scale as f32,
            slope as f32,
            (-scale * sum[c] / pixels) as f32,
        )
    };
    let coefficients: Vec<(f32, f32, f32)> = (0..channels).map(coefficient).collect();
    let scale: Vec<f32> = coefficients.iter().map(|c| c.0).collect();
    let slope: Vec<f32> = coefficients.iter().map(|c| c.1).collect();
    let shift: Vec<f32> = coefficients.iter().map(|c| c.2).collect();
    input_gradient
        .par_chunks_mut(size)
        .enumerate()
        .for_each(|(index, out)| {
            let range = index * size..index * size + out.len();
            isa.run(InputGradient {
                input: &input[range.clone()],
                gradient: &output_gradient[range],
                mean,
                scale: &scale,
                slope: &slope,
                shift: &shift,
                out,
            });
        });
    BatchNormGradient {
        gamma: moment
            .iter()
            .zip(inverse)
            .map(|(m, &i)| (m * f64::from(i)) as f32)
            .collect(),
        beta: sum.iter().map(|&s| s as f32).collect(),
    }
}

/// Two sums over a chunk, by channel.
type TwoSums = (Vec<f32>, Vec<f32>);

/// Sums of g and of g * (v - mean) over a chunk.
struct GradientSums<'a> {
    input: &'a [f32],
    gradient: &'a [f32],
    mean: &'a [f32],
}

impl Op for GradientSums<'_> {
    type Output = TwoSums;
    #[inline(always)]
    fn run<A: Arithmetic>(self) -> TwoSums {
        let channels = self.mean.len();
        let mut sum = vec![0.0f32; channels];
        let mut moment = vec![0.0f32; channels];
        let pixels = self.input.chunks_exact(channels);
        for (input, gradient) in pixels.zip(self.gradient.chunks_exact(channels)) {
            for (s, &g) in sum.iter_mut().zip(gradient) {
                *s += g;
            }
            let centred = input.iter().zip(self.mean);
            for ((m, &g), (&v, &mean)) in moment.iter_mut().zip(gradient).zip(centred) {
                *m = A::mul_add(g, v - mean, *m);
            }
        }
        (sum, moment)
    }
}

struct InputGradient<'a> {
    input: &'a [f32],
    gradient: &'a [f32],
    mean: &'a [f32],
    scale: &'a [f32],
    slope: &'a [f32],
    shift: &'a [f32],
    out: &'a mut [f32],
}

impl Op for InputGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let channels = self.mean.len();
        let pixels = self.input.chunks_exact(channels);
        let pixels = pixels.zip(self.gradient.chunks_exact(channels));
        for (out, (input, gradient)) in self.out.chunks_exact_mut(channels).zip(pixels) {
            for c in 0..channels.min(out.len()) {
                let centred = A::mul_add(input[c] - self.mean[c], self.slope[c], self.shift[c]);
                out[c] = A::mul_add(gradient[c], self.scale[c], centred);
            }
        }
    }
}

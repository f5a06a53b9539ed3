//! Batch norm with the statistics of the batch, fused with residual and activation.
//!
//! Tensors are `[pixels, channels]`. Statistics are computed over fixed chunks of pixels, whose
//! means and squared deviations are combined in double precision and in order (Chan, Golub and
//! LeVeque, 1979): accurate for means of any size. All functions process a part of the batch on one
//! thread; the caller distributes the batch, so that a part stays in cache.

use super::activation::Activation;
use super::isa::{Arithmetic, Isa, Op};

/// Number of pixels of a chunk.
const PIXELS: usize = 256;

/// Mean and variance of each channel over the batch.
#[derive(Debug, Clone)]
pub struct Statistics {
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Biased variance of each channel.
    pub variance: Vec<f32>,
    /// Number of pixels.
    pub pixels: usize,
}

impl Statistics {
    /// Returns 1 / sqrt(variance + epsilon).
    pub fn inverse_deviation(&self, epsilon: f32) -> Vec<f32> {
        let inverse = |&v: &f32| (1.0 / (f64::from(v) + f64::from(epsilon)).sqrt()) as f32;
        self.variance.iter().map(inverse).collect()
    }

    /// Returns the unbiased variance, which is used for the running estimate. For a single pixel it
    /// is NaN, as in PyTorch.
    pub fn unbiased_variance(&self) -> Vec<f32> {
        let n = self.pixels as f64;
        let unbias = |&v: &f32| (f64::from(v) * n / (n - 1.0)) as f32;
        self.variance.iter().map(unbias).collect()
    }

    /// Combines the moments of the parts of a batch, in the order given.
    pub fn combine<'a>(channels: usize, parts: impl IntoIterator<Item = &'a Moments>) -> Self {
        let mut mean = vec![0.0f64; channels];
        let mut square = vec![0.0f64; channels];
        let mut seen = 0.0;
        for part in parts {
            let count = part.pixels as f64;
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
            pixels: seen as usize,
        }
    }
}

/// Returns the moments of `input` `[pixels, channels]`, one for each chunk of pixels: see
/// [`Statistics::combine`].
pub fn moments(isa: Isa, input: &[f32], channels: usize) -> Vec<Moments> {
    input
        .chunks(PIXELS * channels)
        .map(|chunk| isa.run(ChunkMoments { chunk, channels }))
        .collect()
}

/// Moments of a chunk of pixels, for each channel.
#[derive(Debug)]
pub struct Moments {
    pixels: usize,
    /// The mean, as accurate as single precision allows.
    mean: Vec<f32>,
    /// Sum of the deviations from the mean: nonzero only because of rounding.
    deviation: Vec<f32>,
    /// Sum of the squared deviations.
    square: Vec<f32>,
}

struct ChunkMoments<'a> {
    chunk: &'a [f32],
    channels: usize,
}

impl Op for ChunkMoments<'_> {
    type Output = Moments;
    #[inline(always)]
    fn run<A: Arithmetic>(self) -> Moments {
        let mut mean = vec![0.0f32; self.channels];
        let mut square = vec![0.0f32; self.channels];
        for pixel in self.chunk.chunks_exact(self.channels) {
            for (m, &v) in mean.iter_mut().zip(pixel) {
                *m += v;
            }
        }
        let pixels = self.chunk.len() / self.channels;
        for m in &mut mean {
            *m /= pixels as f32;
        }
        let mut deviation = vec![0.0f32; self.channels];
        for pixel in self.chunk.chunks_exact(self.channels) {
            let sums = square.iter_mut().zip(&mut deviation);
            for ((s, d), (&m, &v)) in sums.zip(mean.iter().zip(pixel)) {
                *d += v - m;
                *s = A::mul_add(v - m, v - m, *s);
            }
        }
        Moments {
            pixels,
            mean,
            deviation,
            square,
        }
    }
}

/// A batch norm with its per-channel factors precomputed.
#[derive(Debug)]
pub struct Normalisation {
    mean: Vec<f32>,
    inverse: Vec<f32>,
    gamma: Vec<f32>,
    scale: Vec<f32>,
    beta: Vec<f32>,
    pixels: usize,
}

impl Normalisation {
    /// Creates a batch norm with the statistics of a batch.
    pub fn new(statistics: Statistics, epsilon: f32, gamma: Vec<f32>, beta: Vec<f32>) -> Self {
        let inverse = statistics.inverse_deviation(epsilon);
        Normalisation {
            scale: inverse.iter().zip(&gamma).map(|(i, g)| i * g).collect(),
            mean: statistics.mean,
            pixels: statistics.pixels,
            inverse,
            gamma,
            beta,
        }
    }

    /// Computes `output = activation((input - mean) * inverse * gamma + beta + residual)` for a
    /// part of the batch.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn apply(
        &self,
        isa: Isa,
        input: &[f32],
        residual: Option<&[f32]>,
        activation: Activation,
        output: &mut [f32],
    ) {
        assert_eq!(input.len(), output.len());
        assert!(residual.is_none_or(|r| r.len() == output.len()));
        isa.run(Normalise {
            input,
            mean: &self.mean,
            scale: &self.scale,
            beta: &self.beta,
            residual,
            activation,
            output,
        });
    }

    /// Returns the contribution of a part of the batch to the gradients, from the input and the
    /// gradient before the activation.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn sums(&self, isa: Isa, input: &[f32], gradient: &[f32]) -> GradientSums {
        assert_eq!(input.len(), gradient.len());
        let mut total = GradientSums::zeros(self.mean.len());
        let size = PIXELS * self.mean.len();
        for (input, gradient) in input.chunks(size).zip(gradient.chunks(size)) {
            let (sum, moment) = isa.run(ChunkSums {
                input,
                gradient,
                mean: &self.mean,
            });
            let values = sum.iter().zip(&moment);
            let totals = total.sum.iter_mut().zip(&mut total.moment);
            for ((sum, moment), (s, m)) in totals.zip(values) {
                *sum += f64::from(*s);
                *moment += f64::from(*m);
            }
        }
        total
    }

    /// Returns the gradients, given the sums over the whole batch.
    pub fn gradient(&self, sums: &GradientSums) -> NormalisationGradient<'_> {
        // With x = (v - mean) * inverse: dv = gamma * inverse * (g - mean(g) - x * mean(g * x)).
        let pixels = self.pixels as f64;
        let mut slope = Vec::with_capacity(self.mean.len());
        let mut shift = Vec::with_capacity(self.mean.len());
        for c in 0..self.mean.len() {
            let inverse = f64::from(self.inverse[c]);
            let scale = f64::from(self.gamma[c]) * inverse;
            slope.push((-scale * inverse * inverse * sums.moment[c] / pixels) as f32);
            shift.push((-scale * sums.sum[c] / pixels) as f32);
        }
        let moments = sums.moment.iter().zip(&self.inverse);
        NormalisationGradient {
            gamma: moments.map(|(m, &i)| (m * f64::from(i)) as f32).collect(),
            beta: sums.sum.iter().map(|&s| s as f32).collect(),
            norm: self,
            slope,
            shift,
        }
    }
}

/// Sums of g and of g * (v - mean), for each channel.
#[derive(Debug)]
pub struct GradientSums {
    sum: Vec<f64>,
    moment: Vec<f64>,
}

impl GradientSums {
    fn zeros(channels: usize) -> Self {
        GradientSums {
            sum: vec![0.0; channels],
            moment: vec![0.0; channels],
        }
    }

    /// Adds the sums of the parts of a batch, in the order given.
    pub fn combine<'a>(channels: usize, parts: impl IntoIterator<Item = &'a GradientSums>) -> Self {
        let mut total = Self::zeros(channels);
        for part in parts {
            for (total, part) in [
                (&mut total.sum, &part.sum),
                (&mut total.moment, &part.moment),
            ] {
                total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
            }
        }
        total
    }
}

/// Gradients of a [`Normalisation`] that uses the statistics of its batch.
#[derive(Debug)]
pub struct NormalisationGradient<'a> {
    /// With respect to gamma.
    pub gamma: Vec<f32>,
    /// With respect to beta.
    pub beta: Vec<f32>,
    norm: &'a Normalisation,
    slope: Vec<f32>,
    shift: Vec<f32>,
}

impl NormalisationGradient<'_> {
    /// Computes the gradient of a part of the input from the gradient before the activation.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn apply(&self, isa: Isa, input: &[f32], gradient: &[f32], out: &mut [f32]) {
        assert_eq!(input.len(), gradient.len());
        assert_eq!(input.len(), out.len());
        isa.run(InputGradient {
            input,
            gradient,
            mean: &self.norm.mean,
            scale: &self.norm.scale,
            slope: &self.slope,
            shift: &self.shift,
            out,
        });
    }
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
            self.activation.apply_with::<A::Vector>(out);
        }
    }
}

/// Two sums over a chunk, for each channel.
type TwoSums = (Vec<f32>, Vec<f32>);

/// Computes the sums of g and of g * (v - mean) over a chunk.
struct ChunkSums<'a> {
    input: &'a [f32],
    gradient: &'a [f32],
    mean: &'a [f32],
}

impl Op for ChunkSums<'_> {
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

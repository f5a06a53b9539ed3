//! Mixup (Zhang et al. 2018) for images with several labels.

use serde::{Deserialize, Serialize};

use crate::rng::Stream;

/// Settings of mixup: pictures are blended in pairs, lambda x_i + (1 - lambda) x_j, with lambda
/// drawn from Beta(alpha, alpha) once a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MixupConfig {
    /// alpha, above 0. Near 0 most mixtures are nearly one of the two pictures; at 1 lambda is
    /// uniform.
    pub alpha: f64,
    /// How the labels of a pair are combined.
    pub targets: MixedTargets,
}

impl Default for MixupConfig {
    fn default() -> Self {
        MixupConfig {
            alpha: 0.2,
            targets: MixedTargets::Mix,
        }
    }
}

/// Labels of a blend of two pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MixedTargets {
    /// Blended like the pictures: targets between 0 and 1.
    #[default]
    Mix,
    /// The labels of both, 0 or 1, for losses whose weights are made for whole labels.
    Union,
}

/// Blends a batch in place: the first picture with the last, and so on; the middle one of an odd
/// batch is unchanged. `images` is `[N, ...]` and `targets` is `[N, C]`, with N = `count`. Returns
/// lambda.
pub fn mixup(
    config: &MixupConfig,
    images: &mut [f32],
    targets: &mut [f32],
    count: usize,
    stream: &mut Stream,
) -> f32 {
    let (a, b) = (gamma(config.alpha, stream), gamma(config.alpha, stream));
    // For a tiny alpha, both can underflow.
    let lambda = if a + b > 0.0 {
        (a / (a + b)) as f32
    } else {
        1.0
    };
    let blend = |x: f32, y: f32| lambda * x + (1.0 - lambda) * y;
    in_pairs(images, count, blend);
    match config.targets {
        MixedTargets::Mix => in_pairs(targets, count, blend),
        MixedTargets::Union => in_pairs(targets, count, f32::max),
    }
    lambda
}

fn in_pairs(values: &mut [f32], count: usize, join: impl Fn(f32, f32) -> f32) {
    let row = values.len() / count.max(1);
    for i in 0..count / 2 {
        let (front, back) = values.split_at_mut((count - 1 - i) * row);
        for (x, y) in front[i * row..(i + 1) * row]
            .iter_mut()
            .zip(&mut back[..row])
        {
            (*x, *y) = (join(*x, *y), join(*y, *x));
        }
    }
}

/// Draws from the gamma distribution with `shape` above 0 and scale 1 (Marsaglia and Tsang 2000).
fn gamma(shape: f64, stream: &mut Stream) -> f64 {
    if shape < 1.0 {
        let power = stream.uniform().powf(1.0 / shape);
        return gamma(shape + 1.0, stream) * power;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = stream.normal();
        let v = (1.0 + c * x).powi(3);
        let u = 1.0 - stream.uniform();
        if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_has_the_moments_of_its_distribution() {
        for shape in [0.2, 1.0, 3.5] {
            let mut stream = Stream::new(3, "gamma", 0, 0);
            let draws: Vec<f64> = (0..100_000).map(|_| gamma(shape, &mut stream)).collect();
            let n = draws.len() as f64;
            let mean = draws.iter().sum::<f64>() / n;
            let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / n;
            // Mean and variance both equal the shape.
            assert!((mean / shape - 1.0).abs() < 0.03, "{shape}: {mean}");
            assert!((variance / shape - 1.0).abs() < 0.08, "{shape}: {variance}");
        }
    }

    #[test]
    fn pairs_are_blended_and_the_sum_is_kept() {
        let images: Vec<f32> = (0..15).map(|i| i as f32).collect();
        let targets = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        for targets_rule in [MixedTargets::Mix, MixedTargets::Union] {
            let config = MixupConfig {
                alpha: 1.0,
                targets: targets_rule,
            };
            let (mut x, mut y) = (images.clone(), targets);
            let mut stream = Stream::new(0, "mixup", 0, 0);
            let lambda = mixup(&config, &mut x, &mut y, 5, &mut stream);
            assert!(lambda > 0.0 && lambda < 1.0);
            // Rows 0 and 4, 1 and 3 are pairs; row 2 is alone.
            assert_eq!(x[6..9], images[6..9]);
            approx::assert_relative_eq!(x[0], lambda * 0.0 + (1.0 - lambda) * 12.0);
            approx::assert_relative_eq!(x[12], lambda * 12.0, epsilon = 1e-5);
            approx::assert_relative_eq!(x.iter().sum::<f32>(), images.iter().sum::<f32>());
            match targets_rule {
                MixedTargets::Mix => approx::assert_relative_eq!(y[0], lambda),
                MixedTargets::Union => assert_eq!(y, [1., 1., 0., 1., 1., 1., 0., 1., 1., 1.]),
            }
        }
    }
}

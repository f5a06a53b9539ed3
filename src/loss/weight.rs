//! Weights of images and classes.

use super::composition::{ClassBalancedMode, Normalisation, Weight};
use super::dual::sigmoid;
use super::frequency::Prior;

/// A weight prepared for a training set.
#[derive(Debug, Clone)]
pub enum Weights {
    /// 1 everywhere.
    None,
    /// One weight per class, the same for all images.
    Class(Vec<f64>),
    /// One weight per image: the average of the weights of its positives.
    ImageAverage {
        /// The weight of each class.
        class: Vec<f64>,
        /// The weight of an image without positives.
        empty: f64,
    },
    /// One weight per image, computed from a count n derived from the counts of its positives.
    ImageCount {
        /// n_c of each class.
        counts: Vec<f64>,
        /// The beta of the effective number.
        beta: f64,
        /// Whether n is the smallest n_c of the positives rather than their average.
        smallest: bool,
        /// The n of an image without positives.
        empty: f64,
    },
    /// alpha + sigmoid(beta (r_c - mu)).
    Rebalanced {
        /// 1 / n_c of each class.
        inverse: Vec<f64>,
        /// Overall lift.
        alpha: f64,
        /// Steepness.
        beta: f64,
        /// Position of the step.
        mu: f64,
    },
}

/// (1 - beta) / (1 - beta^n).
fn class_balanced(beta: f64, n: f64) -> f64 {
    (1.0 - beta) / (1.0 - beta.powf(n))
}

impl Weights {
    /// Prepares `weight` for the classes of `prior`.
    ///
    /// Weights that average over the positives treat an image without positives like an image of
    /// the most frequent class, since it shows nothing rare.
    pub fn new(weight: &Weight, prior: &Prior) -> Self {
        let per_class = |f: &dyn Fn(f64) -> f64| prior.counts.iter().map(|&n| f(n)).collect();
        match *weight {
            Weight::None {} => Weights::None,
            Weight::Inverse { power } => {
                Weights::Class(per_class(&|n| (prior.num_images / n).powf(power)))
            }
            Weight::Logarithmic { power } => {
                let largest = prior.largest();
                Weights::Class(per_class(&|n| (1.0 - (n / largest).ln()).powf(power)))
            }
            Weight::ClassBalanced { beta, mode } => match mode {
                ClassBalancedMode::ByClass => {
                    Weights::Class(per_class(&|n| class_balanced(beta, n)))
                }
                ClassBalancedMode::AverageW => Weights::ImageAverage {
                    class: per_class(&|n| class_balanced(beta, n)),
                    empty: class_balanced(beta, prior.largest()),
                },
                ClassBalancedMode::AverageN | ClassBalancedMode::MinN => Weights::ImageCount {
                    counts: prior.counts.clone(),
                    beta,
                    smallest: mode == ClassBalancedMode::MinN,
                    empty: prior.largest(),
                },
            },
            Weight::Rebalanced { alpha, beta, mu } => Weights::Rebalanced {
                inverse: per_class(&|n| 1.0 / n),
                alpha,
                beta,
                mu,
            },
        }
    }

    /// Writes the weights of one image with the labels `targets` (C values, 0 or 1) into `row`.
    pub fn fill(&self, targets: &[f32], row: &mut [f64]) {
        let positives = || (0..targets.len()).filter(|&c| targets[c] > 0.5);
        match self {
            Weights::None => row.fill(1.0),
            Weights::Class(class) => row.copy_from_slice(class),
            Weights::ImageAverage { class, empty } => {
                row.fill(average(positives().map(|c| class[c])).unwrap_or(*empty))
            }
            Weights::ImageCount {
                counts,
                beta,
                smallest,
                empty,
            } => {
                let counts = positives().map(|c| counts[c]);
                let n = if *smallest {
                    counts.min_by(f64::total_cmp)
                } else {
                    average(counts)
                };
                row.fill(class_balanced(*beta, n.unwrap_or(*empty)));
            }
            Weights::Rebalanced {
                inverse,
                alpha,
                beta,
                mu,
            } => {
                let sum: f64 = positives().map(|c| inverse[c]).sum();
                for (weight, inverse) in row.iter_mut().zip(inverse) {
                    // Without a positive no class is re-balanced: r = 0, as for a class that is
                    // never drawn.
                    let r = if sum > 0.0 { inverse / sum } else { 0.0 };
                    *weight = alpha + sigmoid(beta * (r - mu));
                }
            }
        }
    }
}

fn average(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), v| (sum + v, count + 1));
    (count > 0).then(|| sum / count as f64)
}

/// Divides the weights (images x classes) by their largest value, as specified by `normalisation`.
pub fn normalise(weights: &mut [f64], num_classes: usize, normalisation: Normalisation) {
    let chunk = match normalisation {
        Normalisation::None => return,
        Normalisation::Instance => num_classes,
        Normalisation::Batch => weights.len().max(1),
    };
    for part in weights.chunks_mut(chunk) {
        let largest = part.iter().copied().fold(0.0, f64::max);
        if largest > 0.0 {
            part.iter_mut().for_each(|weight| *weight /= largest);
        }
    }
}

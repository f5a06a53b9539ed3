//! Quantities that losses derive from the class counts, defined for every count.
//!
//! A class without training images is treated as if it had one, and a class present in every image
//! as if it were missing from half an image. Weights and biases therefore stay finite, and the
//! order of the classes by rarity is kept.

use crate::data::labels::ClassFrequency;
use crate::error::{Error, Result};

/// Class counts in the form used by the losses.
#[derive(Debug, Clone)]
pub struct Prior {
    /// n_c, at least 1.
    pub counts: Vec<f64>,
    /// N, at least 1.
    pub num_images: f64,
}

impl Prior {
    /// Checks the counts (there is at least one, and none exceeds N) and raises those of empty
    /// classes to one image.
    pub fn new(frequency: &ClassFrequency) -> Result<Self> {
        if frequency.counts.is_empty() {
            return Err(Error::input("loss", "there is no class"));
        }
        if let Some(class) = (frequency.counts.iter()).position(|&n| n > frequency.num_images) {
            return Err(Error::input(
                "loss",
                format_args!(
                    "class {class} counts {} images of {}",
                    frequency.counts[class], frequency.num_images
                ),
            ));
        }
        Ok(Prior {
            counts: (frequency.counts.iter())
                .map(|&n| n.max(1) as f64)
                .collect(),
            num_images: frequency.num_images.max(1) as f64,
        })
    }

    /// Returns the largest n_c.
    pub fn largest(&self) -> f64 {
        self.counts.iter().copied().fold(1.0, f64::max)
    }

    /// Returns the smallest n_c.
    pub fn smallest(&self) -> f64 {
        self.counts.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// Returns b_c = -log(N / n_c - 1), the logit of the class's frequency (paper, equation 9).
    pub fn bias(&self, class: usize) -> f64 {
        let n = self.counts[class].min(self.num_images - 0.5);
        -(self.num_images / n - 1.0).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prior(counts: &[usize], num_images: usize) -> Prior {
        let counts = counts.to_vec();
        Prior::new(&ClassFrequency { counts, num_images }).unwrap()
    }

    #[test]
    fn the_bias_is_the_logit_of_the_frequency_and_always_finite() {
        let usual = prior(&[6, 775, 571], 1142);
        assert!((usual.bias(0) + (1142.0f64 / 6.0 - 1.0).ln()).abs() < 1e-12);
        assert!(usual.bias(1) > 0.0);
        assert!(usual.bias(2).abs() < 1e-12, "half of the images");
        let edge = prior(&[0, 1, 9, 10], 10);
        let biases: Vec<f64> = (0..4).map(|class| edge.bias(class)).collect();
        assert!(biases.iter().all(|b| b.is_finite()), "{biases:?}");
        assert!(biases[0] <= biases[1] && biases[1] < biases[2] && biases[2] < biases[3]);
        assert!(prior(&[1], 1).bias(0).is_finite());
        assert!(prior(&[0], 0).bias(0).is_finite());
    }

    #[test]
    fn counts_that_cannot_be_are_refused() {
        let wrong = |counts: Vec<usize>| {
            Prior::new(&ClassFrequency {
                counts,
                num_images: 10,
            })
            .is_err()
        };
        assert!(wrong(vec![]));
        assert!(wrong(vec![3, 11]));
    }
}

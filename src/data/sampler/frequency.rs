//! How often each class is expected to be seen under a sampler.

use super::{SamplerConfig, repeat_factors};
use crate::data::labels::LabelTable;
use crate::error::{Error, Result};

/// The expected frequency of each class in an epoch of a sampler.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelFrequency {
    /// Images in an epoch.
    pub epoch_length: usize,
    /// For each class, the expected fraction of drawn images that contain it, 0 to 1. Classes
    /// co-occur, so the fractions add up to the mean number of labels per drawn image.
    pub frequency: Vec<f64>,
}

impl LabelFrequency {
    /// Returns the expected number of appearances of each class in an epoch.
    pub fn appearances(&self) -> Vec<f64> {
        (self.frequency.iter())
            .map(|f| f * self.epoch_length as f64)
            .collect()
    }

    /// Returns the ratio of the highest to the lowest class frequency; 1 is uniform. `None` if a
    /// class is never drawn.
    pub fn imbalance(&self) -> Option<f64> {
        let largest = self.frequency.iter().copied().fold(0.0, f64::max);
        let smallest = self.frequency.iter().copied().fold(f64::INFINITY, f64::min);
        (smallest > 0.0 && smallest.is_finite()).then(|| largest / smallest)
    }
}

/// Computes the expected label frequency after sampling in closed form: the probability that a draw
/// of the sampler is a given image, summed over the images of each class.
///
/// Class-aware draws take all classes equally often, and the images within a class equally often,
/// except where an epoch cuts off a cycle. Errors are those of
/// [`epoch_indices`](SamplerConfig::epoch_indices).
pub fn expected_label_frequency(
    sampler: &SamplerConfig,
    labels: &LabelTable,
) -> Result<LabelFrequency> {
    // Drawing an epoch checks the same conditions and costs next to nothing.
    sampler.epoch_indices(labels, 0, 0)?;
    let counts = labels.class_counts();
    let probabilities: Vec<f64> = match sampler {
        SamplerConfig::Uniform { .. } => vec![1.0; labels.len()],
        SamplerConfig::RepeatFactor { threshold, .. } => repeat_factors(labels, *threshold),
        SamplerConfig::ClassAware { .. } => by_class(labels, |n| 1.0 / n, &counts),
        SamplerConfig::SquareRoot { .. } => by_class(labels, |n| n.sqrt() / n, &counts),
    };
    let total: f64 = probabilities.iter().sum();
    if total <= 0.0 {
        return Err(Error::key(
            "sampler",
            "has nothing to draw: no training image has a label",
        ));
    }
    let mut frequency = vec![0.0; labels.num_classes()];
    for (image, probability) in probabilities.iter().enumerate() {
        for &class in labels.labels(image) {
            frequency[class as usize] += probability / total;
        }
    }
    Ok(LabelFrequency {
        epoch_length: sampler.epoch_length(labels),
        frequency,
    })
}

/// Returns, for each image, the sum of `share`(n_c) over its classes: its relative probability of
/// being drawn.
fn by_class(labels: &LabelTable, share: impl Fn(f64) -> f64, counts: &[usize]) -> Vec<f64> {
    (0..labels.len())
        .map(|image| {
            let classes = labels.labels(image).iter();
            classes.map(|&c| share(counts[c as usize] as f64)).sum()
        })
        .collect()
}

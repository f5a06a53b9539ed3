//! What scoring by class needs to know about the training set.

use crate::data::labels::Group;
use crate::data::split::Split;

/// What the classes of a model were trained on: all that an evaluation needs to know about the
/// split, so that the split itself need not be available.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedOn {
    /// The group of each class.
    pub groups: Vec<Group>,
    /// Number of training images of each class.
    pub counts: Vec<usize>,
}

impl From<&Split> for TrainedOn {
    fn from(split: &Split) -> Self {
        TrainedOn {
            groups: split.groups.clone(),
            counts: split.train.class_counts(),
        }
    }
}

impl TrainedOn {
    /// Restricts this to the classes `known`.
    pub fn only(&self, known: &[usize]) -> Self {
        TrainedOn {
            groups: known.iter().map(|&class| self.groups[class]).collect(),
            counts: known.iter().map(|&class| self.counts[class]).collect(),
        }
    }
}

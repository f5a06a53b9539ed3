//! The parts of a training.

use crate::data::labels::LabelTable;
use crate::data::loader::Inputs;
use crate::data::sampler::SamplerConfig;
use crate::error::Result;
use crate::model::Model;
use crate::optim::{OptimizerConfig, Schedule};

use super::checkpoint::Position;
use super::config::TrainConfig;
use super::step::{Losses, Moment, Stepper};

/// Evaluates the model on held-out data: mAP in [0, 1], `None` where it is undefined.
pub type Validate<'a> = dyn Fn(&Model) -> Result<Option<f64>> + 'a;

/// A callback that receives the position of the training whenever it can be resumed from there.
pub type Saved<'a> = dyn Fn(&Position) -> Result<()> + 'a;

/// The parts of a training.
pub struct Training<'a> {
    /// The network; its parameters are updated in place.
    pub model: &'a Model,
    /// The losses of all steps.
    pub losses: Losses,
    /// Training labels, for the sampler.
    pub labels: &'a LabelTable,
    /// The inputs of the network: training images or their features.
    pub inputs: &'a dyn Inputs,
    /// The order of the images.
    pub sampler: &'a SamplerConfig,
    /// The optimiser's settings.
    pub optimizer: &'a OptimizerConfig,
    /// The learning rate by step.
    pub schedule: &'a Schedule,
    /// Batches, length, and the other settings of `[train]`.
    pub config: &'a TrainConfig,
    /// Root of all random streams.
    pub seed: u64,
    /// Hash of the configuration, stored in the checkpoint.
    pub config_hash: String,
    /// Computes mAP on held-out data after each epoch, in [0, 1].
    pub validate: Option<&'a Validate<'a>>,
    /// Called after each checkpoint `last`.
    pub saved: Option<&'a Saved<'a>>,
    /// Name on the progress bar.
    pub label: String,
}

/// The result of a completed training.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Problems found during the training, one sentence each; they have been logged.
    pub findings: Vec<String>,
    /// Whether it was stopped before its last epoch by the validation score.
    pub early: bool,
}

impl Training<'_> {
    /// Returns the number of steps in an epoch, at least one.
    pub fn steps_per_epoch(&self) -> Result<usize> {
        self.config.steps_per_epoch(self.sampler, self.labels)
    }

    /// Returns whether no further epoch follows: all are done, or the validation score stopped the
    /// training.
    pub fn is_over(&self, position: &Position) -> bool {
        let patience = self.config.early_stopping;
        position.epoch >= self.config.epochs
            || patience > 0 && position.epochs_without_gain >= patience
    }

    /// Returns the position and learning rate of the next step.
    pub fn moment(&self, position: &Position, steps_per_epoch: usize) -> Moment {
        let (rate, step) = (self.optimizer.learning_rate, position.step);
        let epochs = self.config.epochs;
        Moment {
            step,
            epoch: position.epoch,
            learning_rate: (self.schedule).learning_rate(rate, step, steps_per_epoch, epochs),
        }
    }

    /// Returns what all steps share.
    pub fn stepper(&self) -> Stepper<'_> {
        Stepper {
            model: self.model,
            losses: &self.losses,
            max_gradient_norm: self.optimizer.max_gradient_norm,
            label_smoothing: self.config.label_smoothing,
            seed: self.seed,
            label: &self.label,
        }
    }
}

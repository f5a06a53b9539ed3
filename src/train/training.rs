//! Everything a training is made of.

use crate::data::labels::LabelTable;
use crate::data::loader::Inputs;
use crate::data::sampler::SamplerConfig;
use crate::error::Result;
use crate::model::Model;
use crate::optim::{OptimizerConfig, Schedule};

use super::checkpoint::Position;
use super::config::TrainConfig;
use super::step::{Losses, Moment, Stepper};

/// Scores the model on held-out data: mAP in [0, 1], `None` where it is undefined.
pub type Validate<'a> = dyn Fn(&Model) -> Result<Option<f64>> + 'a;

/// Told where the training stands, when it can go on from there.
pub type Saved<'a> = dyn Fn(&Position) -> Result<()> + 'a;

/// Everything a training is made of.
pub struct Training<'a> {
    /// The network; its parameters are updated in place.
    pub model: &'a Model,
    /// The loss by step.
    pub losses: Losses,
    /// Training labels, for the sampler.
    pub labels: &'a LabelTable,
    /// Training images, or what is known of them.
    pub inputs: &'a dyn Inputs,
    /// The order of the images.
    pub sampler: &'a SamplerConfig,
    /// Optimiser settings.
    pub optimizer: &'a OptimizerConfig,
    /// Learning rate by step.
    pub schedule: &'a Schedule,
    /// Batches and length.
    pub config: &'a TrainConfig,
    /// Root of all random streams.
    pub seed: u64,
    /// Hash of the configuration, kept in the checkpoint.
    pub config_hash: String,
    /// mAP on held-out data after each epoch, in [0, 1].
    pub validate: Option<&'a Validate<'a>>,
    /// Called after each checkpoint `last`.
    pub saved: Option<&'a Saved<'a>>,
    /// Name on the progress bar.
    pub label: String,
}

/// How a training ended that came to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What was found amiss with it on the way, in a sentence each; it has been logged.
    pub findings: Vec<String>,
    /// True if it ended before its last epoch, because the validation part said so.
    pub early: bool,
}

impl Training<'_> {
    /// Steps in an epoch, at least one.
    pub fn steps_per_epoch(&self) -> Result<usize> {
        self.config.steps_per_epoch(self.sampler, self.labels)
    }

    /// True where no epoch follows: all are done, or the validation part ended it.
    pub fn is_over(&self, position: &Position) -> bool {
        let patience = self.config.early_stopping;
        position.epoch >= self.config.epochs
            || patience > 0 && position.epochs_without_gain >= patience
    }

    /// Where the next step stands.
    pub fn moment(&self, position: &Position, steps_per_epoch: usize) -> Moment {
        let (rate, step) = (self.optimizer.learning_rate, position.step);
        let epochs = self.config.epochs;
        Moment {
            step,
            epoch: position.epoch,
            learning_rate: (self.schedule).learning_rate(rate, step, steps_per_epoch, epochs),
        }
    }

    /// What every step has in common.
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

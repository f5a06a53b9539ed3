//! The `[train]` table of an experiment.

use serde::{Deserialize, Serialize};

use crate::data::labels::LabelTable;
use crate::data::sampler::{MOST_IMAGES, SamplerConfig};
use crate::error::{Error, KeyPath, Result};
use crate::optim::Extent;
use crate::range::Range;

/// Batches, length, and what is done along the way. The defaults are the published recipe.
///
/// Keys that came after 0.1 are left out where they are at their default, so that hashes of
/// experiments stay what they were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Images per batch, 32. The last incomplete batch of an epoch is dropped.
    pub batch_size: usize,
    /// Passes over the sampler's epoch, 8; with 0 the run's result is the network that it starts
    /// with.
    pub epochs: usize,
    /// Steps between two checkpoints `last`, in addition to the one after each epoch. `last` is
    /// always kept: a training continues from it, and in the end it is the result.
    pub checkpoint_steps: usize,
    /// Keep the checkpoint with the best mAP on the validation part as `best`, true.
    #[serde(skip_serializing_if = "is_true")]
    pub keep_best: bool,
    /// Keep a checkpoint as `epoch-N` every so many epochs, with everything that a training needs
    /// to continue; 0 for none.
    #[serde(skip_serializing_if = "is_none")]
    pub keep_every: usize,
    /// Also write TensorBoard event files, into the run's `tensorboard/`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tensorboard: bool,
    /// Batches per step, 1: their gradients are averaged, and the parameters are updated once.
    /// Batch norms see one batch at a time.
    #[serde(skip_serializing_if = "is_one")]
    pub accumulation_steps: usize,
    /// Keep a moving average of the weights, of which each step keeps this fraction; 0 for none.
    /// Early on, the fraction is min(ema_decay, (1 + t) / (10 + t)) at step t, from 1. The average
    /// is then the run's result, and the plain weights are scored too.
    #[serde(skip_serializing_if = "is_zero")]
    pub ema_decay: f64,
    /// End the training when the mAP on the validation part has not improved for so many epochs; 0
    /// for never.
    #[serde(skip_serializing_if = "is_none")]
    pub early_stopping: usize,
    /// Label smoothing s, which makes labels less certain: y becomes (1 - s) y + s / 2; 0 for none.
    #[serde(skip_serializing_if = "is_zero")]
    pub label_smoothing: f64,
    /// Epochs, or a fraction of the training, after which the loss's class weights apply (deferred
    /// re-weighting, Cao et al., NeurIPS 2019); before, they are 1. 0 for weights from the start.
    #[serde(skip_serializing_if = "Extent::is_nothing")]
    pub reweight_after: Extent,
}

fn is_true(value: &bool) -> bool {
    *value
}
fn is_one(number: &usize) -> bool {
    *number == 1
}
fn is_none(number: &usize) -> bool {
    *number == 0
}
fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            batch_size: 32,
            epochs: 8,
            checkpoint_steps: 500,
            keep_best: true,
            keep_every: 0,
            tensorboard: false,
            accumulation_steps: 1,
            ema_decay: 0.0,
            early_stopping: 0,
            label_smoothing: 0.0,
            reweight_after: Extent::Count(0),
        }
    }
}

impl TrainConfig {
    /// Checks the ranges; `at` is the key of this table.
    pub fn check(&self, at: &KeyPath) -> Result<()> {
        // Upper bounds far beyond practical use, so that no product of counts overflows.
        let images = Range::WholeWithin(2, MOST_IMAGES);
        images.check_whole(&at.join("batch_size"), self.batch_size)?;
        Range::AtLeast(1).check_whole(&at.join("checkpoint_steps"), self.checkpoint_steps)?;
        let most = 1 << 20;
        Range::WholeWithin(0, most).check_whole(&at.join("epochs"), self.epochs)?;
        Range::WholeWithin(0, most).check_whole(&at.join("keep_every"), self.keep_every)?;
        Range::WholeWithin(1, most)
            .check_whole(&at.join("accumulation_steps"), self.accumulation_steps)?;
        Range::Below(0.0, 1.0).check(&at.join("ema_decay"), self.ema_decay)?;
        Range::WholeWithin(0, most).check_whole(&at.join("early_stopping"), self.early_stopping)?;
        Range::Below(0.0, 1.0).check(&at.join("label_smoothing"), self.label_smoothing)
    }

    /// Returns the number of images per step.
    pub fn step_images(&self) -> usize {
        self.batch_size * self.accumulation_steps
    }

    /// Returns the number of steps in an epoch of `sampler` over `labels`, at least one.
    ///
    /// # Errors
    /// Fails if the epoch has fewer images than one step.
    pub fn steps_per_epoch(&self, sampler: &SamplerConfig, labels: &LabelTable) -> Result<usize> {
        let images = sampler.epoch_length(labels);
        let (batch, count) = (self.batch_size, self.accumulation_steps);
        match images / batch / count {
            0 if images < batch => Err(Error::key(
                "train.batch_size",
                format_args!("is {batch}, more than an epoch's {images} images"),
            )
            .hint("an epoch needs at least one full batch; try for example `--set train.batch_size=8`")),
            0 => Err(Error::key(
                "train.accumulation_steps",
                format_args!(
                    "is {count}, but an epoch's {images} images are fewer batches of {batch}"
                ),
            )
            .hint("a step takes `batch_size` x `accumulation_steps` images")),
            steps => Ok(steps),
        }
    }
}

//! The position of a training.

use serde::{Deserialize, Serialize};

/// The position of a training. Random numbers need no state here: streams follow from the position.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Number of steps done.
    pub step: usize,
    /// Number of epochs done.
    pub epoch: usize,
    /// Number of steps done in the current epoch.
    pub step_in_epoch: usize,
    /// Sum of the losses in the current epoch.
    pub loss_sum: f64,
    /// Best validation mAP so far, of the weights that would be the run's result.
    pub best: Option<f64>,
    /// Number of scored epochs since then without a better score.
    #[serde(default, skip_serializing_if = "is_none")]
    pub epochs_without_gain: usize,
    /// Hash of the configuration of the training.
    pub config_hash: String,
}

fn is_none(number: &usize) -> bool {
    *number == 0
}

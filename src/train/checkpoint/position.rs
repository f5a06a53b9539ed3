//! Where a training stands.

use serde::{Deserialize, Serialize};

/// Where a training stands. Random numbers need no place here: streams follow from the position.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Steps done.
    pub step: usize,
    /// Epochs done.
    pub epoch: usize,
    /// Steps done of the epoch after those.
    pub step_in_epoch: usize,
    /// Sum of the losses of the epoch under way.
    pub loss_sum: f64,
    /// Best validation mAP so far, of what would be the run's result.
    pub best: Option<f64>,
    /// Epochs since then that had a score and no better one.
    #[serde(default, skip_serializing_if = "is_none")]
    pub epochs_without_gain: usize,
    /// Hash of the configuration that the training runs under.
    pub config_hash: String,
}

fn is_none(number: &usize) -> bool {
    *number == 0
}

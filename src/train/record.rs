//! The rows of `steps.csv`, `epochs.csv` and `epoch_times.csv`. Only the last depends on the clock:
//! equal runs write identical versions of the others.

use serde::{Deserialize, Serialize};

use crate::rows::number;

/// One training step, a row of `steps.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Step of the whole training, from 0.
    pub step: usize,
    /// Epoch, from 0.
    pub epoch: usize,
    /// Learning rate of the step.
    #[serde(serialize_with = "number::full")]
    pub learning_rate: f64,
    /// Loss of the batch.
    #[serde(serialize_with = "number::full")]
    pub loss: f64,
    /// Global gradient norm before clipping.
    #[serde(serialize_with = "number::full")]
    pub gradient_norm: f64,
}

/// One epoch, a row of `epochs.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Mean loss over its steps.
    #[serde(serialize_with = "number::full")]
    pub loss: f64,
    /// mAP on the validation part in [0, 1], if there is one.
    #[serde(serialize_with = "number::full_or_empty")]
    pub validation_map: Option<f64>,
    /// mAP of the moving average of the weights on the validation part, in [0, 1], if an average is
    /// kept.
    #[serde(default, serialize_with = "number::full_or_empty")]
    pub ema_validation_map: Option<f64>,
}

/// The time of an epoch, a row of `epoch_times.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpochTime {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Training time of the epoch in the process that finished it, in seconds.
    #[serde(serialize_with = "number::three_decimals")]
    pub seconds: f64,
    /// Training images per second in that process; `None` if it trained no step of the epoch.
    #[serde(serialize_with = "number::two_decimals")]
    pub images_per_second: Option<f64>,
}

impl EpochRecord {
    /// Returns the validation mAP of the weights that would be the run's result: the moving average
    /// if one is kept, otherwise the weights themselves.
    pub fn score(&self) -> Option<f64> {
        self.ema_validation_map.or(self.validation_map)
    }
}

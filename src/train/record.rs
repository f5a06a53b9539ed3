//! The rows of `steps.csv`, `epochs.csv` and `epoch_times.csv`. Only the last knows of the clock: equal runs
//! write equal files of the others.

use serde::{Deserialize, Serialize};

use crate::rows::number;

/// One training step, a row of `steps.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Step over the whole training, from 0.
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
    /// mAP on the validation part of the moving average of the weights in [0, 1], if one is kept.
    #[serde(default, serialize_with = "number::full_or_empty")]
    pub ema_validation_map: Option<f64>,
}

/// How long an epoch took, a row of `epoch_times.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpochTime {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Training time of the epoch in the process that ended it, seconds.
    #[serde(serialize_with = "number::three_decimals")]
    pub seconds: f64,
    /// Training images a second in that process; `None` if it trained none of the epoch.
    #[serde(serialize_with = "number::two_decimals")]
    pub images_per_second: Option<f64>,
}

impl EpochRecord {
    /// The mAP on the validation part of what would be the run's result: of the average of the
    /// weights where one is kept, else of the weights.
    pub fn score(&self) -> Option<f64> {
        self.ema_validation_map.or(self.validation_map)
    }
}

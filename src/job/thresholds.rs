//! The scores above which the classes of a run count as present, stored beside the evaluation of
//! its validation part.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::labels::LabelTable;
use crate::data::split::Set;
use crate::error::Result;
use crate::predict::{Predictions, probability};
use crate::report::evaluation::fitted_thresholds;
use crate::rows::{self, number};
use crate::run_dir::{Checkpoint, RunDir};
use crate::train::checkpoint;

/// A threshold, a row of `thresholds.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThresholdRow {
    /// The class's name.
    pub class: String,
    /// The logit above which it counts as present; empty for a class without positives in the
    /// validation part.
    #[serde(serialize_with = "number::full_or_empty")]
    pub logit: Option<f64>,
    /// The threshold as a probability.
    #[serde(serialize_with = "number::full_or_empty")]
    pub probability: Option<f64>,
}

fn file(folder: &Path) -> PathBuf {
    folder.join("thresholds.csv")
}

/// Writes the thresholds with the best F1 of each class on `table`, a validation part, into the
/// folder of its evaluation.
pub(super) fn write(folder: &Path, predictions: &Predictions, table: &LabelTable) -> Result<()> {
    let fitted = fitted_thresholds(predictions, table)?;
    let rows = table.classes().iter().zip(fitted);
    let rows = rows.map(|(class, logit)| ThresholdRow {
        class: class.clone(),
        logit,
        probability: logit.map(probability),
    });
    rows::write(&file(folder), rows)
}

/// Reads the thresholds of a checkpoint, if the validation part has been evaluated with the
/// checkpoint in its present state.
pub(super) fn read(run: &RunDir, which: Checkpoint) -> Result<Option<Vec<Option<f64>>>> {
    let folder = run.eval_of(Set::Validation, which);
    if !is_current(&folder, &run.checkpoint(which)) || !file(&folder).is_file() {
        return Ok(None);
    }
    let rows: Vec<ThresholdRow> = rows::read(&file(&folder))?;
    Ok(Some(rows.into_iter().map(|row| row.logit).collect()))
}

/// Returns the path of the validation scores that the thresholds were fitted to.
pub(super) fn predictions(run: &RunDir, which: Checkpoint) -> PathBuf {
    run.eval_of(Set::Validation, which).join("predictions.csv")
}

/// Returns whether the evaluation in `folder` belongs to the checkpoint in its present state, which
/// is not so if the run was continued.
pub(super) fn is_current(folder: &Path, checkpoint: &Path) -> bool {
    let position = checkpoint::position(checkpoint).ok();
    let step = evaluated_step(folder);
    step.is_some_and(|step| position.is_some_and(|now| now.step == step))
}

/// Returns the number of training steps at the evaluation in `folder`, if its version recorded it.
pub(super) fn evaluated_step(folder: &Path) -> Option<usize> {
    #[derive(Deserialize)]
    struct Settings {
        step: usize,
    }
    let settings = fs_err::read_to_string(folder.join("settings.toml")).ok()?;
    let settings: Settings = toml::from_str(&settings).ok()?;
    Some(settings.step)
}

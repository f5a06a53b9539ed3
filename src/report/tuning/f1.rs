//! F1 of the final runs, at thresholds that the folds of the search have chosen.
//!
//! A final run trains on the whole subset and has no image left to choose thresholds on. The search
//! has: each training image was held out by the chosen setting's training on one of the folds. Their
//! scores together, over all folds, choose for each class the threshold with the best F1; it is then
//! the same for every final run, on every subset. No test image has a part in it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::split::Split;
use crate::error::Result;
use crate::metrics::{F1, PerGroup, Scope, ScoreTable, fit_thresholds, threshold_scores};
use crate::predict::{Predictions, Scale, probability};
use crate::report::evaluation::targets;
use crate::rows::number;

/// A method's threshold for a class, a row of `thresholds.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThresholdRow {
    /// The method's name.
    pub method: String,
    /// The class.
    pub class: String,
    /// Its images that a fold held out; with `repeats` each counts as often as it was held out.
    pub positives: usize,
    /// The logit above which it counts as present; empty for a class that no fold held out an
    /// image of, which counts as present above 0.
    #[serde(serialize_with = "number::full_or_empty")]
    pub logit: Option<f64>,
    /// The same as a probability.
    #[serde(serialize_with = "number::full_or_empty")]
    pub probability: Option<f64>,
}

/// F1 of a final run over the classes of a group, a row of `f1.csv`; in [0, 1].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct F1Row {
    /// The subset that it was trained on.
    pub subset: String,
    /// The method's name.
    pub method: String,
    /// The run's seed.
    pub seed: u64,
    /// total, head, medium or tail.
    pub classes: Scope,
    /// Of all entries (image, class) together.
    #[serde(serialize_with = "number::full_or_empty")]
    pub micro_f1: Option<f64>,
    /// The mean over the classes; one with neither an image nor a prediction counts 0.
    #[serde(serialize_with = "number::full_or_empty")]
    pub macro_f1: Option<f64>,
}

/// Thresholds with the best F1 of each class over the held-out images of all `folds`, each with the
/// scores of the training that left it out; `None` where the scores of a fold are not there any more.
///
/// # Errors
/// A file of scores is damaged, or of other images.
pub fn thresholds(method: &str, folds: &[(&Split, PathBuf)]) -> Result<Option<Vec<ThresholdRow>>> {
    let Some((first, _)) = folds.first() else {
        return Ok(None);
    };
    let classes = first.classes();
    let (mut scores, mut labels) = (Vec::new(), Vec::new());
    for (fold, path) in folds {
        if !path.is_file() {
            tracing::warn!(
                "{}: does not exist, so `{method}` has no thresholds and no F1",
                path.display()
            );
            return Ok(None);
        }
        let predictions = Predictions::read(path)?;
        let table = predictions.scored(&fold.test);
        scores.extend(predictions.align(&table, path)?);
        labels.extend(targets(&table));
    }
    let fitted = fit_thresholds(&ScoreTable::new(&scores, &labels, classes.len())?);
    let positives = |class: usize| -> usize {
        let column = labels.iter().skip(class).step_by(classes.len());
        column.map(|&label| usize::from(label)).sum()
    };
    let row = |(class, (name, logit)): (usize, (&String, Option<f64>))| ThresholdRow {
        method: method.to_owned(),
        class: name.clone(),
        positives: positives(class),
        logit,
        probability: logit.map(probability),
    };
    let rows = classes.iter().zip(fitted).enumerate().map(row);
    Ok(Some(rows.collect()))
}

/// F1 of the scores in the file at `path` for the test images of `split`, over all classes and by
/// its groups.
///
/// # Errors
/// The file is not there, damaged, or of other images.
pub fn at_thresholds(
    thresholds: &[ThresholdRow],
    split: &Split,
    path: &Path,
) -> Result<PerGroup<F1>> {
    let predictions = Predictions::read(path)?;
    let table = predictions.scored(&split.test);
    let scores = predictions.align(&table, path)?;
    let labels = targets(&table);
    let usual = Scale::Logits.threshold();
    let thresholds: Vec<f64> = (thresholds.iter())
        .map(|row| row.logit.unwrap_or(usual))
        .collect();
    let scores = ScoreTable::new(&scores, &labels, table.num_classes())?;
    Ok(threshold_scores(&scores, &thresholds)?.f1_by_group(&split.groups))
}

//! F1 of the final runs, at thresholds chosen on the folds of the search.
//!
//! A final run trains on the whole subset, so no image is left to choose thresholds on. But in the
//! search, each training image was held out once by a training with the chosen setting on one of
//! the folds. Over all folds together, these scores give the threshold with the best F1 for each
//! class, which is then the same for every final run, on every subset. No test image is involved.

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
    /// The class's name.
    pub class: String,
    /// Number of its images that a fold held out; with `repeats`, each counts as often as it was
    /// held out.
    pub positives: usize,
    /// The logit above which it counts as present. Empty for a class of which no fold held out an
    /// image; such a class counts as present above 0.
    #[serde(serialize_with = "number::full_or_empty")]
    pub logit: Option<f64>,
    /// The threshold as a probability.
    #[serde(serialize_with = "number::full_or_empty")]
    pub probability: Option<f64>,
}

/// F1 of a final run over the classes of a scope, a row of `f1.csv`; in [0, 1].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct F1Row {
    /// The subset that the run was trained on.
    pub subset: String,
    /// The method's name.
    pub method: String,
    /// The run's seed.
    pub seed: u64,
    /// The scope: total, head, medium or tail.
    pub classes: Scope,
    /// F1 over all entries (image, class) together.
    #[serde(serialize_with = "number::full_or_empty")]
    pub micro_f1: Option<f64>,
    /// Mean F1 over the classes; a class with neither an image nor a prediction counts as 0.
    #[serde(serialize_with = "number::full_or_empty")]
    pub macro_f1: Option<f64>,
}

/// Chooses the thresholds with the best F1 of each class over the held-out images of all `folds`,
/// where each image is scored by the training that left it out. Returns `None` if the scores of a
/// fold are no longer available.
///
/// # Errors
/// Fails if a file of scores is damaged or belongs to other images.
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

/// Computes F1 of the scores in the file at `path` for the test images of `split`, over all classes
/// and by its groups.
///
/// # Errors
/// Fails if the file is missing, damaged, or belongs to other images.
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

//! F1 of the final runs, at thresholds chosen on the folds of the search.
//!
//! A final run trains on the whole subset, so no image is left to choose thresholds on. But in the
//! search, each training image was held out once by a training with the chosen setting on one of
//! the folds. Over all folds together, these scores give the threshold with the best F1 for each
//! class, which is then the same for every final run, on every subset. No test image is involved.
//!
//! The scale of the logits depends on the training: a final run takes more steps than one on a
//! fold, and at high learning rates that changes the scale several times over. The scores of a
//! class are therefore standardised for each training, by the mean and the standard deviation of
//! its scores on its own training images, which both kinds of training have learned.

use serde::{Deserialize, Serialize};

use crate::data::labels::LabelTable;
use crate::data::split::{Set, Split};
use crate::error::Result;
use crate::metrics::{F1, PerGroup, Scope, ScoreTable, fit_thresholds, threshold_scores};
use crate::predict::{Predictions, Scale};
use crate::report::evaluation::targets;
use crate::rows::number;
use crate::run_dir::RunDir;

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
    /// The class counts as present above the mean of a run's scores on its own training images,
    /// plus this many standard deviations. Empty for a class of which no fold held out an image;
    /// such a class counts as present above a logit of 0.
    #[serde(serialize_with = "number::full_or_empty")]
    pub deviations: Option<f64>,
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

/// Standardised scores of a run on the test images of its split.
struct Scored {
    labels: Vec<u8>,
    /// Scores, images x classes.
    scores: Vec<f64>,
    /// The logit 0 of each class, standardised.
    zero: Vec<f64>,
}

impl Scored {
    /// Reads and standardises the scores. Returns `None` if the files of a set are no longer
    /// available.
    fn read(split: &Split, run: &RunDir) -> Result<Option<Self>> {
        let of = |set: Set, table: &LabelTable| -> Result<Option<(LabelTable, Vec<f64>)>> {
            let path = run.eval(set).join("predictions.csv");
            if !path.is_file() {
                tracing::warn!("{}: does not exist, but F1 needs it", path.display());
                return Ok(None);
            }
            let predictions = Predictions::read(&path)?;
            let table = predictions.scored(table);
            let scores = predictions.align(&table, &path)?;
            Ok(Some((table, scores)))
        };
        let (Some((table, mut scores)), Some((_, own))) =
            (of(Set::Test, &split.test)?, of(Set::Train, &split.train)?)
        else {
            return Ok(None);
        };
        let count = table.num_classes();
        let units: Vec<(f64, f64)> = (0..count)
            .map(|class| mean_and_deviation(own.iter().skip(class).step_by(count)))
            .collect();
        for row in scores.chunks_mut(count) {
            for (score, (mean, deviation)) in row.iter_mut().zip(&units) {
                *score = (*score - mean) / deviation;
            }
        }
        let zero = |(mean, deviation)| (Scale::Logits.threshold() - mean) / deviation;
        Ok(Some(Scored {
            labels: targets(&table),
            scores,
            zero: units.into_iter().map(zero).collect(),
        }))
    }
}

/// Returns the mean and the standard deviation, which is replaced by 1 for equal values.
fn mean_and_deviation<'a>(values: impl Iterator<Item = &'a f64> + Clone) -> (f64, f64) {
    let count = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / count;
    let squares: f64 = values.map(|value| (value - mean).powi(2)).sum();
    match (squares / count).sqrt() {
        deviation if deviation > 0.0 => (mean, deviation),
        _ => (mean, 1.0),
    }
}

/// Chooses the thresholds with the best F1 of each class over the held-out images of all `folds`,
/// where each image is scored by the training that left it out. Returns `None` if the scores of a
/// fold are no longer available.
///
/// # Errors
/// Fails if a file of scores is damaged or belongs to other images.
pub fn thresholds(method: &str, folds: &[(&Split, &RunDir)]) -> Result<Option<Vec<ThresholdRow>>> {
    let Some((first, _)) = folds.first() else {
        return Ok(None);
    };
    let classes = first.classes();
    let (mut scores, mut labels) = (Vec::new(), Vec::new());
    for (fold, run) in folds {
        let Some(scored) = Scored::read(fold, run)? else {
            return Ok(None);
        };
        scores.extend(scored.scores);
        labels.extend(scored.labels);
    }
    let fitted = fit_thresholds(&ScoreTable::new(&scores, &labels, classes.len())?);
    let positives = |class: usize| -> usize {
        let column = labels.iter().skip(class).step_by(classes.len());
        column.map(|&label| usize::from(label)).sum()
    };
    let row = |(class, (name, deviations)): (usize, (&String, Option<f64>))| ThresholdRow {
        method: method.to_owned(),
        class: name.clone(),
        positives: positives(class),
        deviations,
    };
    let rows = classes.iter().zip(fitted).enumerate().map(row);
    Ok(Some(rows.collect()))
}

/// Computes F1 of `run` on the test images of `split`, over all classes and by its groups. Returns
/// `None` if its scores are no longer available.
///
/// # Errors
/// Fails if a file of scores is damaged or belongs to other images.
pub fn at_thresholds(
    thresholds: &[ThresholdRow],
    split: &Split,
    run: &RunDir,
) -> Result<Option<PerGroup<F1>>> {
    let Some(scored) = Scored::read(split, run)? else {
        return Ok(None);
    };
    let thresholds: Vec<f64> = (thresholds.iter().zip(&scored.zero))
        .map(|(row, zero)| row.deviations.unwrap_or(*zero))
        .collect();
    let scores = ScoreTable::new(&scored.scores, &scored.labels, thresholds.len())?;
    Ok(Some(
        threshold_scores(&scores, &thresholds)?.f1_by_group(&split.groups),
    ))
}

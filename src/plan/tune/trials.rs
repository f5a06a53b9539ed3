//! Trainings of the search and their scores.

use serde::{Deserialize, Serialize};

use super::candidates::Candidates;
use crate::data::split::{Set, Split};
use crate::error::{Error, Result};
use crate::plan::folder::{Plan, PlannedRun};
use crate::plan::grid::Point;
use crate::plan::state::{is_finished, manifest_of};
use crate::report::class_scores;
use crate::rows::number;
use crate::run_dir::RunDir;

/// One training of the search, a row of `trials.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialRow {
    /// The method's name.
    pub method: String,
    /// The setting, as in the run's name: `+learning_rate=0.01`.
    pub setting: String,
    /// The fold it was scored on, from 1.
    pub fold: usize,
    /// mAP over the classes that occur in the fold; empty if the training diverged.
    #[serde(serialize_with = "number::full_or_empty")]
    pub map: Option<f64>,
    /// Whether the training produced non-finite numbers.
    pub diverged: bool,
    /// Training time in seconds.
    #[serde(serialize_with = "number::one_decimal")]
    pub train_seconds: Option<f64>,
    /// Hash of the configuration.
    pub configuration: String,
    /// Hash of the fold.
    pub split: String,
}

/// A trial with the AP of each class on its fold.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    pub row: TrialRow,
    /// AP of each class; `None` if the fold has no image of the class. Empty for a diverged
    /// training.
    pub classes: Vec<Option<f64>>,
    /// Its folder.
    pub run: RunDir,
}

/// Reads the results of a trial from its folder; `None` if it has neither finished nor diverged.
pub(super) fn read(
    plan: &Plan,
    (run, method, setting): (&PlannedRun, &str, &str),
    fold: usize,
    split: &Split,
) -> Result<Option<Trial>> {
    let folder = plan.run_dir(run);
    let Some(manifest) = manifest_of(&folder, run, split) else {
        return Ok(None);
    };
    let classes: Vec<Option<f64>> = match is_finished(&folder, &manifest, &[Set::Test]) {
        true => {
            let table = folder.eval(Set::Test).join("per_class.csv");
            let scores = class_scores::read(&table)?;
            scores.iter().map(|class| class.average_precision).collect()
        }
        false if manifest.diverged => Vec::new(),
        false => return Ok(None),
    };
    Ok(Some(Trial {
        row: TrialRow {
            method: method.to_owned(),
            setting: setting.to_owned(),
            fold: fold + 1,
            map: mean(classes.iter().flatten().copied()),
            diverged: manifest.diverged,
            train_seconds: Some(manifest.train_seconds),
            configuration: run.hash.clone(),
            split: split.hash.clone(),
        },
        classes,
        run: folder,
    }))
}

/// The score of a setting on its folds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Score {
    /// Mean over the classes of each class's mean AP over the folds that have the class: a tail
    /// class that some fold lacks counts as much as any other.
    pub map: f64,
    /// The lowest mAP of a fold.
    pub lowest: f64,
    /// The highest mAP of a fold.
    pub highest: f64,
    /// Number of folds.
    pub folds: usize,
}

/// Computes the score of `trials`, all of one setting; `None` if there are no trials, if a training
/// diverged, or if no class has an AP.
pub(super) fn score<'a>(trials: impl Iterator<Item = &'a Trial> + Clone) -> Option<Score> {
    if trials.clone().any(|trial| trial.row.diverged) {
        return None;
    }
    let classes = trials.clone().map(|trial| trial.classes.len()).max()?;
    let of_class = |class: usize| {
        let folds = trials.clone();
        mean(folds.filter_map(|trial| trial.classes.get(class).copied().flatten()))
    };
    let maps = || trials.clone().filter_map(|trial| trial.row.map);
    Some(Score {
        map: mean((0..classes).filter_map(of_class))?,
        lowest: maps().fold(f64::INFINITY, f64::min),
        highest: maps().fold(f64::NEG_INFINITY, f64::max),
        folds: trials.count(),
    })
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0usize), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / n as f64)
}

/// Returns the settings of a method with their scores in `trials`, the highest first; those that
/// diverged come last. Ties are in the order of the file.
pub(super) fn ranked<'a>(
    candidates: &'a Candidates,
    trials: &[Trial],
) -> Vec<(&'a Point, Option<Score>)> {
    let of = |point: &Point| {
        let mine = move |trial: &&Trial| {
            trial.row.method == candidates.method && trial.row.setting == point.label
        };
        score(trials.iter().filter(mine))
    };
    let mut all: Vec<_> = (candidates.points.iter())
        .map(|point| (point, of(point)))
        .collect();
    // A setting tried on more folds did better on every fold on which settings were dropped.
    let key = |score: &Option<Score>| score.map(|score| (score.folds, score.map));
    all.sort_by(|(_, a), (_, b)| {
        key(b)
            .partial_cmp(&key(a))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    all
}

/// Returns the best setting of a method.
///
/// # Errors
/// Fails if all of them diverged.
pub(super) fn best<'a>(candidates: &'a Candidates, trials: &[Trial]) -> Result<(&'a Point, Score)> {
    let first = ranked(candidates, trials).into_iter().next();
    match first {
        Some((point, Some(score))) => Ok((point, score)),
        _ => {
            let problem = "no setting has a score: every training diverged, or no fold has an \
                           image with a label";
            Err(Error::input(&candidates.method, problem).hint("try lower learning rates"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(setting: &str, fold: usize, classes: &[Option<f64>]) -> Trial {
        Trial {
            row: TrialRow {
                method: "erm".into(),
                setting: setting.into(),
                fold,
                map: mean(classes.iter().flatten().copied()),
                diverged: classes.is_empty(),
                train_seconds: None,
                configuration: String::new(),
                split: String::new(),
            },
            classes: classes.to_vec(),
            run: RunDir::new(""),
        }
    }

    fn candidates() -> Candidates {
        let point = |label: &str| Point {
            label: label.into(),
            ..Point::default()
        };
        Candidates {
            method: "erm".into(),
            points: ["a", "b", "c"].map(point).to_vec(),
        }
    }

    #[test]
    fn a_class_that_one_fold_lacks_counts_as_much_as_any_other() {
        let trials = [
            trial("a", 1, &[Some(0.5), None]),
            trial("a", 2, &[Some(0.7), Some(0.2)]),
        ];
        let score = score(trials.iter()).unwrap();
        // ((0.5 + 0.7) / 2 + 0.2) / 2, where the mean of the folds' mAP would be 0.475.
        assert!((score.map - 0.4).abs() < 1e-12, "{score:?}");
        assert!((score.lowest - 0.45).abs() < 1e-12 && (score.highest - 0.5).abs() < 1e-12);
    }

    #[test]
    fn the_highest_wins_and_a_diverged_one_never() {
        let trials = [
            trial("a", 1, &[Some(0.5)]),
            trial("a", 2, &[Some(0.5)]),
            trial("b", 1, &[Some(0.9)]),
            trial("b", 2, &[]),
            trial("c", 1, &[Some(0.5)]),
            trial("c", 2, &[Some(0.6)]),
        ];
        let candidates = candidates();
        let (point, score) = best(&candidates, &trials).unwrap();
        assert_eq!((point.label.as_str(), score.folds), ("c", 2));
        let order: Vec<&str> = (ranked(&candidates, &trials).iter())
            .map(|(point, _)| point.label.as_str())
            .collect();
        assert_eq!(order, ["c", "a", "b"]);
        assert!(best(&candidates, &trials[3..4]).is_err());
        // A setting that halving tried on more folds comes before one that it dropped.
        let halved = [
            trial("a", 1, &[Some(0.9)]),
            trial("a", 2, &[Some(0.3)]),
            trial("b", 1, &[Some(0.8)]),
        ];
        assert_eq!(best(&candidates, &halved).unwrap().0.label, "a");
    }
}

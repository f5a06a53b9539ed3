//! Results that need the scores of every image: the influence of each image on mAP, and precision
//! by recall.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::collect::Run;
use crate::data::labels::{Group, LabelTable};
use crate::data::split::{Set, Split};
use crate::error::Result;
use crate::metrics::{Jackknife, Ranked, ScoreTable};
use crate::predict::Predictions;
use crate::report::evaluation::targets;
use crate::run_dir::RunDir;

/// Number of recalls at which a precision-recall curve is drawn.
pub(super) const RECALLS: usize = 41;

/// Returns evenly spaced recalls from 0 to 1.
pub(super) fn recalls() -> Vec<f64> {
    let last = (RECALLS - 1) as f64;
    (0..RECALLS).map(|k| k as f64 / last).collect()
}

/// What the report needs of a run's scores.
#[derive(Debug, Clone)]
pub(super) struct Scored {
    /// mAP with the influence of each image on it.
    pub jackknife: Jackknife,
    /// Precision at [`recalls`] for each class; `None` for a class without positives.
    pub precision: Vec<Option<Vec<f64>>>,
}

/// The scores of all runs.
#[derive(Debug, Default)]
pub(super) struct AllScored {
    /// The scores of each run; `None` for a run without predictions.
    pub runs: Vec<Option<Scored>>,
    /// Number of evaluated images; `None` if no run has predictions or the labels cannot be found.
    pub images: Option<usize>,
}

impl AllScored {
    /// The scores of runs without predictions.
    pub(super) fn none(runs: usize) -> Self {
        AllScored {
            runs: vec![None; runs],
            images: None,
        }
    }
}

/// Reads the predictions of every run that has them. Without the split there are no labels, so
/// nothing can be computed. A file that does not match only causes a warning, because the tables do
/// not need it.
pub(super) fn score(runs: &[Run], set: Set) -> Result<AllScored> {
    let none = || AllScored::none(runs.len());
    let file = |run: &Run| RunDir::new(&run.folder).eval(set).join("predictions.csv");
    let with: Vec<&Run> = runs.iter().filter(|run| file(run).is_file()).collect();
    let Some(first) = with.first() else {
        tracing::info!("no run has predictions: there is no test over images");
        return Ok(none());
    };
    let Some(table) = labels(&with, set)? else {
        tracing::warn!(
            "{}: the split of the runs does not exist, so there is no test over images",
            first.manifest.split_folder.display()
        );
        return Ok(none());
    };
    // A skipped picture has no row in any of the runs.
    let table = Predictions::read(&file(first))?.scored(&table);
    let targets = targets(&table);
    let one = |run: &Run| -> Result<Option<Scored>> {
        let path = file(run);
        if !path.is_file() {
            return Ok(None);
        }
        let scores = Predictions::read(&path)?.align(&table, &path)?;
        let ranked = Ranked::new(&ScoreTable::new(&scores, &targets, table.num_classes())?)?;
        let groups: Vec<Group> = run.classes.iter().map(|class| class.group).collect();
        Ok(Some(Scored {
            jackknife: Jackknife::new(&ranked, &groups),
            precision: ranked.precision_at(&recalls()),
        }))
    };
    let scored = runs.par_iter().map(|run| {
        one(run).unwrap_or_else(|error| {
            tracing::warn!("no test over the images of this run: {error}");
            None
        })
    });
    Ok(AllScored {
        runs: scored.collect(),
        images: Some(table.len()),
    })
}

/// Returns where the split of a run may be: where its manifest says, or beside the run, where
/// `dbloss run` puts it.
pub(super) fn split_folders(run: &Run) -> [PathBuf; 2] {
    let beside = run.folder.parent().unwrap_or(Path::new(".")).join("split");
    [run.manifest.split_folder.clone(), beside]
}

/// Returns the labels of the evaluated images, from the first split folder that exists. Runs on
/// several subsets share their test set.
fn labels(runs: &[&Run], set: Set) -> Result<Option<Arc<LabelTable>>> {
    let mut folders: Vec<PathBuf> = Vec::new();
    for run in runs {
        for folder in split_folders(run) {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
    }
    for folder in folders.iter().filter(|folder| Split::is_in(folder)) {
        let split = Split::read(folder)?;
        if runs.iter().all(|run| run.manifest.split_hash != split.hash) {
            tracing::warn!("{}: not the split of the runs", folder.display());
            continue;
        }
        return Ok(match set {
            Set::Train => Some(split.train),
            Set::Validation => split.validation,
            Set::Test => Some(split.test),
        });
    }
    Ok(None)
}

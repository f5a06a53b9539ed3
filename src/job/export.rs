//! The card of a trained model, gathered from the run's folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::evaluate::split_of;
use super::thresholds::evaluated_step;
use super::{Opening, TrainedModel};
use crate::config::Experiment;
use crate::data::labels::Group;
use crate::data::split::{Set, Split};
use crate::error::Result;
use crate::export::{self, Bounds, Card, ClassCard, NetworkCard, Preprocessing, Scores, SplitCard};
use crate::model::Role;
use crate::predict::probability;
use crate::report::class_scores;
use crate::report::evaluation::{GroupRow, MetricRow};
use crate::rows;
use crate::run_dir::{Checkpoint, Manifest, RunDir};
use crate::train::checkpoint;

/// Returns the card of `trained`, which was opened with `opening`: that of an exported file, or one
/// made from a run's folder.
///
/// # Errors
/// Fails if a file of the run cannot be read.
pub fn card(trained: &TrainedModel, opening: &Opening) -> Result<Card> {
    let program = Card::program();
    if export::is_exported(&trained.path) {
        let exported = export::card_of(&trained.path)?;
        return Ok(Card {
            exported_by: program,
            ..exported
        });
    }
    let run = RunDir::new(&trained.path);
    let experiment = Experiment::read(&run.config())?.without_folders();
    let split = known_split(trained, opening);
    let parameters = (trained.network.parameters.iter())
        .filter(|entry| entry.role != Role::Buffer)
        .map(|entry| entry.var.elem_count());
    let checkpoint = opening.checkpoint;
    Ok(Card {
        format: Card::FORMAT,
        exported_by: program,
        name: format!("{}/{}", experiment.name, experiment.run_name()),
        checkpoint,
        classes: classes(
            trained,
            split.as_ref(),
            current(&run, Set::Test, checkpoint),
        )?,
        thresholds: Bounds::new(trained.thresholds.is_some()),
        preprocessing: Preprocessing::new(&trained.input),
        network: NetworkCard::new(&trained.config, parameters.sum())?,
        split: SplitCard {
            hash: trained.manifest.split_hash.clone(),
            images: split.as_ref().map(images).unwrap_or_default(),
        },
        scores: scores(&run, checkpoint)?,
        training: Manifest {
            command: Vec::new(),
            experiment_file: PathBuf::new(),
            split_folder: PathBuf::new(),
            ..trained.manifest.clone()
        },
        configuration: experiment.to_toml()?,
    })
}

/// Reads the split of a run if it is available.
fn known_split(trained: &TrainedModel, opening: &Opening) -> Option<Split> {
    let folder = (opening.split_folder).unwrap_or(&trained.manifest.split_folder);
    match split_of(&trained.manifest, Some(folder)) {
        Ok((split, _)) => Some(split),
        Err(error) => {
            tracing::warn!("{error}: the card does not say how many images each set has");
            None
        }
    }
}

/// Returns the number of images of each set.
fn images(split: &Split) -> BTreeMap<String, usize> {
    let mut images = BTreeMap::from([(Set::Train.name().to_owned(), split.train.len())]);
    if let Some(validation) = &split.validation {
        images.insert(Set::Validation.name().to_owned(), validation.len());
    }
    if !split.test.is_empty() {
        images.insert(Set::Test.name().to_owned(), split.test.len());
    }
    images
}

/// Returns the classes, with what `split` and the evaluation of the test set say about them.
fn classes(
    trained: &TrainedModel,
    split: Option<&Split>,
    test: Option<PathBuf>,
) -> Result<Vec<ClassCard>> {
    let scored = match test {
        Some(folder) => class_scores::read(&folder.join("per_class.csv"))?,
        None => Vec::new(),
    };
    let counts = split.map(|split| split.train.class_counts());
    let thresholds = trained.thresholds.as_ref();
    let class = |(index, name): (usize, &String)| {
        let score = scored.iter().find(|score| score.name == *name);
        let threshold = thresholds.and_then(|thresholds| *thresholds.get(index)?);
        let group = |split: &Split| -> Option<Group> { split.groups.get(index).copied() };
        ClassCard {
            name: name.clone(),
            threshold,
            threshold_probability: threshold.map(probability),
            group: split.and_then(group),
            train_images: counts
                .as_ref()
                .and_then(|counts| counts.get(index).copied()),
            average_precision: score.and_then(|score| score.average_precision),
        }
    };
    Ok(trained.classes.iter().enumerate().map(class).collect())
}

/// Returns the folder of the evaluation of a set, if there is one and it matches the present
/// checkpoint.
fn current(run: &RunDir, set: Set, which: Checkpoint) -> Option<PathBuf> {
    let folder = run.eval_of(set, which);
    if !folder.join("groups.csv").is_file() {
        return None;
    }
    let now = checkpoint::position(&run.checkpoint(which)).ok();
    // An earlier version did not record the step at which it evaluated.
    match (evaluated_step(&folder), now) {
        (Some(then), Some(now)) if then != now.step => {
            tracing::warn!(
                "{}: belongs to an earlier state of the checkpoint and is left out of the card; \
                 `dbloss eval` scores the run again",
                folder.display()
            );
            None
        }
        _ => Some(folder),
    }
}

/// Returns the scores that were computed for a checkpoint.
fn scores(run: &RunDir, which: Checkpoint) -> Result<BTreeMap<String, Scores>> {
    let mut scores = BTreeMap::new();
    for set in Set::ALL {
        if let Some(folder) = current(run, set, which) {
            scores.insert(set.name().to_owned(), read_scores(&folder)?);
        }
    }
    Ok(scores)
}

fn read_scores(folder: &Path) -> Result<Scores> {
    let groups: Vec<GroupRow> = rows::read(&folder.join("groups.csv"))?;
    let metrics: Vec<MetricRow> = rows::read(&folder.join("scores.csv"))?;
    let map = groups
        .into_iter()
        .map(|row| (row.group.to_string(), row.map));
    let metrics = metrics.into_iter().map(|row| (row.metric, row.value));
    Ok(Scores {
        map: map.collect(),
        metrics: metrics.collect(),
    })
}

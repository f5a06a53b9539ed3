//! One trained model, or an ensemble of models whose probabilities are averaged.

use std::path::Path;

use super::thresholds;
use super::trained::{Opening, TrainedModel};
use crate::data::augment::TestTimeConfig;
use crate::data::split::Split;
use crate::error::{Error, Result};
use crate::predict::{Predictions, Scale, probability};
use crate::report::evaluation::fitted_thresholds;
use crate::run_dir::{Checkpoint, RunDir};
use crate::wording::first_named;

/// Trained models of the same classes. The scores of a single model are its logits, those of
/// several models the means of their probabilities.
pub struct Ensemble {
    members: Vec<Member>,
}

/// A model of an ensemble.
pub(super) struct Member {
    pub model: TrainedModel,
    /// For each class of the ensemble its index among the model's own classes.
    pub places: Vec<usize>,
}

impl Ensemble {
    /// Reads the models at `paths`, at least one; the classes are those of the first, in its order.
    ///
    /// # Errors
    /// As [`TrainedModel::open`]; also fails if two models have different classes.
    pub fn open(paths: &[&Path], opening: &Opening) -> Result<Self> {
        let mut members: Vec<Member> = Vec::with_capacity(paths.len());
        for path in paths {
            let model = TrainedModel::open(path, opening)?;
            let places = match members.first() {
                None => (0..model.classes.len()).collect(),
                Some(first) => places(&first.model, &model)?,
            };
            members.push(Member { model, places });
        }
        match members.is_empty() {
            true => Err(Error::input("ensemble", "names no model")),
            false => Ok(Ensemble { members }),
        }
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    fn first(&self) -> &TrainedModel {
        // There is at least one.
        &self.members[0].model
    }

    /// Returns the names of the classes, in the order of the scores.
    pub fn classes(&self) -> &[String] {
        &self.first().classes
    }

    /// Returns the scale of the scores.
    pub fn scale(&self) -> Scale {
        match self.members.len() {
            1 => Scale::Logits,
            _ => Scale::Probabilities,
        }
    }

    /// Applies `change` to each model's views of test-time augmentation.
    pub fn change_views(&mut self, change: impl Fn(&mut TestTimeConfig)) {
        for member in &mut self.members {
            change(&mut member.model.input.test_time);
        }
    }

    /// Returns for each class the score above which it counts as present, chosen for the best F1 on
    /// the validation part. `None`, for one class or all, if the validation part does not determine
    /// it.
    ///
    /// For several models the thresholds are fitted to the means over the validation part they all
    /// share.
    ///
    /// # Errors
    /// Fails if the predictions of a validation part do not match its labels.
    pub fn thresholds(&self, which: Checkpoint) -> Result<Option<Vec<Option<f64>>>> {
        let [first, others @ ..] = &self.members[..] else {
            return Ok(None);
        };
        let hash = &first.model.manifest.split_hash;
        // An exported file comes without the scores of the validation part.
        let is_shared = |member: &Member| {
            let model = &member.model;
            let is_run = model.path.is_dir() && model.thresholds.is_some();
            is_run && model.manifest.split_hash == *hash
        };
        match others {
            [] => Ok(first.model.thresholds.clone()),
            _ if !self.members.iter().all(is_shared) => Ok(None),
            _ => self.shared_thresholds(which),
        }
    }

    /// Returns the thresholds of several models trained on one split with a validation part.
    fn shared_thresholds(&self, which: Checkpoint) -> Result<Option<Vec<Option<f64>>>> {
        let folder = &self.first().manifest.split_folder;
        let split = match Split::is_in(folder) {
            true => Split::read(folder)?,
            false => return Ok(None),
        };
        let (Some(table), true) = (
            split.validation,
            split.hash == self.first().manifest.split_hash,
        ) else {
            return Ok(None);
        };
        let count = self.members.len() as f64;
        let mut scores = vec![0.0; table.len() * table.num_classes()];
        for member in &self.members {
            let path = thresholds::predictions(&RunDir::new(&member.model.path), which);
            let logits = Predictions::read(&path)?.align(&table, &path)?;
            let sums = scores.iter_mut().zip(logits);
            sums.for_each(|(sum, logit)| *sum += probability(logit) / count);
        }
        let predictions = Predictions {
            classes: table.classes().to_vec(),
            images: table.images().to_vec(),
            scores,
            scale: Some(Scale::Probabilities),
        };
        fitted_thresholds(&predictions, &table).map(Some)
    }
}

/// Returns for each class of `first` its index among those of `other`.
fn places(first: &TrainedModel, other: &TrainedModel) -> Result<Vec<usize>> {
    let (ours, theirs) = (&first.classes, &other.classes);
    let lacks = ours.iter().filter(|class| !theirs.contains(class));
    let more = theirs.iter().filter(|class| !ours.contains(class));
    let named = |verb: &str, classes: Vec<&str>| match classes.is_empty() {
        true => None,
        false => Some(format!("it {verb} {}", first_named(classes))),
    };
    let differences = [
        named("lacks", lacks.map(String::as_str).collect()),
        named("has beside them", more.map(String::as_str).collect()),
    ];
    let differences: Vec<String> = differences.into_iter().flatten().collect();
    if !differences.is_empty() {
        let problem = format!(
            "does not have the classes of {}: {}",
            first.path.display(),
            differences.join("; ")
        );
        return Err(Error::file(&other.path, problem)
            .hint("scores are averaged class by class: leave this model out"));
    }
    let place = |class: &String| theirs.iter().position(|other| other == class);
    Ok(ours.iter().filter_map(place).collect())
}

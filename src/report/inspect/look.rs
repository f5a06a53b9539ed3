//! What is inspected: scores, labels, thresholds.

use std::sync::Arc;

use crate::data::image::ImageRoot;
use crate::data::labels::{Group, LabelTable};
use crate::data::split::Set;
use crate::error::Result;
use crate::metrics::{Reliability, Scope, ScoreTable};
use crate::predict::{Predictions, Scale, probability};
use crate::report::evaluation::Evaluation;

/// Number of bins of a reliability curve.
pub(super) const BINS: usize = 15;

/// The set of pictures that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// A set of the split that the run was trained on.
    Own(Set),
    /// The training set of that split, scored by other trainings that did not see its pictures.
    HeldOut,
    /// Another data set, given by its name.
    Other(String),
}

/// The scored and labelled pictures of one set.
#[derive(Debug)]
pub struct Part {
    /// Which set they are.
    pub set: Shown,
    /// Their scores; rows and columns are those of `table`.
    pub predictions: Predictions,
    /// Their labels.
    pub table: Arc<LabelTable>,
    /// Where the image files are.
    pub root: ImageRoot,
}

impl Part {
    /// Returns the set in words.
    pub(super) fn name(&self) -> String {
        match &self.set {
            Shown::Own(Set::Train) => "training set".to_owned(),
            Shown::Own(Set::Validation) => "validation part".to_owned(),
            Shown::Own(Set::Test) => "test set".to_owned(),
            Shown::HeldOut => "training set".to_owned(),
            Shown::Other(name) => format!("{name}, another data set"),
        }
    }

    /// Returns whether this is `set` of the run's own split.
    pub(super) fn is(&self, set: Set) -> bool {
        self.set == Shown::Own(set)
    }

    /// Returns the same pictures restricted to the classes `known`, given by index in ascending
    /// order.
    pub fn only(self, known: &[usize]) -> Self {
        let count = self.table.num_classes();
        let keep: Vec<bool> = (0..count).map(|class| known.contains(&class)).collect();
        if !keep.contains(&false) {
            return self;
        }
        let table = self.table.only_classes(&keep);
        let rows = self.predictions.scores.chunks(count);
        let scores = rows.flat_map(|row| known.iter().map(|&class| row[class]));
        Part {
            predictions: Predictions {
                scores: scores.collect(),
                classes: table.classes().to_vec(),
                images: self.predictions.images.clone(),
                scale: self.predictions.scale,
            },
            table: table.into(),
            ..self
        }
    }

    /// Returns the scores as logits, images x classes.
    pub(super) fn logits(&self) -> Vec<f64> {
        let scores = self.predictions.scores.iter();
        match self.predictions.scale {
            Some(Scale::Probabilities) => {
                scores.map(|&p| Scale::Logits.of_probability(p)).collect()
            }
            _ => scores.copied().collect(),
        }
    }

    /// Returns the scores as probabilities, images x classes.
    pub(super) fn probabilities(&self) -> Vec<f64> {
        let scores = self.predictions.scores.iter();
        match self.predictions.scale {
            Some(Scale::Probabilities) => scores.copied().collect(),
            _ => scores.map(|&logit| probability(logit)).collect(),
        }
    }
}

/// What the page shows.
#[derive(Debug, Clone)]
pub struct Options {
    /// The title.
    pub title: String,
    /// Facts about the run: name and value.
    pub facts: Vec<(&'static str, String)>,
    /// Largest number of false positives and of false negatives shown for each class.
    pub per_class: usize,
    /// The classes to inspect, by index; empty means all.
    pub classes: Vec<usize>,
    /// The longest side of a picture on the page, in pixels.
    pub side: u32,
    /// Number of bytes of the page that pictures may take.
    pub most_bytes: usize,
}

/// The scores above which a class counts as present.
#[derive(Debug)]
pub(super) struct Thresholds {
    /// By class, as logits; `None` where none could be chosen.
    pub(super) fitted: Vec<Option<f64>>,
}

impl Thresholds {
    /// Returns the threshold of a class, as a logit.
    pub(super) fn of(&self, class: usize) -> f64 {
        self.fitted[class].unwrap_or(Scale::Logits.threshold())
    }

    /// Returns the thresholds of all classes.
    pub(super) fn all(&self) -> Vec<f64> {
        (0..self.fitted.len()).map(|class| self.of(class)).collect()
    }
}

/// Everything the page is made from.
pub(super) struct Look<'a> {
    /// The inspected part, the validation part if that is a different one, and the held-out
    /// training images if there are any.
    pub(super) parts: Vec<&'a Part>,
    /// Logits and targets of the inspected part.
    pub(super) scores: ScoreTable<'a, f64>,
    /// The same with probabilities.
    pub(super) calibrated: ScoreTable<'a, f64>,
    pub(super) thresholds: Thresholds,
    pub(super) evaluation: Evaluation,
    /// The group of each class.
    pub(super) groups: &'a [Group],
    /// The classes that are shown, by descending training count.
    pub(super) classes: Vec<usize>,
    /// Co-occurring errors of the classes that are shown.
    pub(super) pairs: Vec<crate::metrics::ErrorPair>,
    pub(super) options: &'a Options,
}

impl Look<'_> {
    /// Returns the inspected part.
    pub(super) fn part(&self) -> &Part {
        self.parts[0]
    }

    /// Returns the name of a class.
    pub(super) fn class(&self, class: usize) -> &str {
        &self.part().table.classes()[class]
    }

    /// Returns the reliability curve over all classes of a scope.
    pub(super) fn reliability(&self, scope: Scope) -> Result<Reliability> {
        let of_scope = |class: &usize| scope.holds(self.groups[*class]);
        let classes: Vec<usize> = (0..self.groups.len()).filter(of_scope).collect();
        Reliability::new(&self.calibrated, &classes, BINS)
    }
}

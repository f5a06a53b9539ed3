//! What is looked at: scores, labels, thresholds.

use std::sync::Arc;

use crate::data::image::ImageRoot;
use crate::data::labels::{Group, LabelTable};
use crate::data::split::Set;
use crate::error::Result;
use crate::metrics::{Reliability, Scope, ScoreTable};
use crate::predict::{Predictions, Scale, probability};
use crate::report::evaluation::Evaluation;

/// Intervals of a reliability curve.
pub(super) const BINS: usize = 15;

/// What is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// A set of the split that the run was trained on.
    Own(Set),
    /// The training set of that split, scored by other trainings, which did not see its pictures.
    HeldOut,
    /// Another data set, by its name.
    Other(String),
}

/// Scored and labelled pictures of a run.
#[derive(Debug)]
pub struct Part {
    /// What they are.
    pub set: Shown,
    /// Their scores; rows and columns are those of `table`.
    pub predictions: Predictions,
    /// Their labels.
    pub table: Arc<LabelTable>,
    /// Where they lie.
    pub root: ImageRoot,
}

impl Part {
    /// The set in words.
    pub(super) fn name(&self) -> String {
        match &self.set {
            Shown::Own(Set::Train) => "training set".to_owned(),
            Shown::Own(Set::Validation) => "validation part".to_owned(),
            Shown::Own(Set::Test) => "test set".to_owned(),
            Shown::HeldOut => "training set".to_owned(),
            Shown::Other(name) => format!("{name}, another data set"),
        }
    }

    /// Whether it is this set of the run's own split.
    pub(super) fn is(&self, set: Set) -> bool {
        self.set == Shown::Own(set)
    }

    /// The same pictures and the classes `known` alone, by index, in ascending order.
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

    /// Scores as logits, images x classes.
    pub(super) fn logits(&self) -> Vec<f64> {
        let scores = self.predictions.scores.iter();
        match self.predictions.scale {
            Some(Scale::Probabilities) => {
                scores.map(|&p| Scale::Logits.of_probability(p)).collect()
            }
            _ => scores.copied().collect(),
        }
    }

    /// Scores as probabilities, images x classes.
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
    /// What the run is: name and value.
    pub facts: Vec<(&'static str, String)>,
    /// False positives and false negatives of each class, at most.
    pub per_class: usize,
    /// The classes to look at, by index; all where there is none.
    pub classes: Vec<usize>,
    /// The longest side of a picture in the page, in pixels.
    pub side: u32,
    /// Bytes of the page that pictures may take.
    pub most_bytes: usize,
}

/// The score above which a class counts as present.
#[derive(Debug)]
pub(super) struct Thresholds {
    /// By class, as logits; `None` where none could be chosen.
    pub(super) fitted: Vec<Option<f64>>,
}

impl Thresholds {
    /// The one of a class, as a logit.
    pub(super) fn of(&self, class: usize) -> f64 {
        self.fitted[class].unwrap_or(Scale::Logits.threshold())
    }

    /// Those of all classes.
    pub(super) fn all(&self) -> Vec<f64> {
        (0..self.fitted.len()).map(|class| self.of(class)).collect()
    }
}

/// Everything that the page is made from.
pub(super) struct Look<'a> {
    /// What is looked at, the validation part where it is another, and the training images where they
    /// were held out.
    pub(super) parts: Vec<&'a Part>,
    /// Logits and targets of what is looked at.
    pub(super) scores: ScoreTable<'a, f64>,
    /// The same with probabilities.
    pub(super) calibrated: ScoreTable<'a, f64>,
    pub(super) thresholds: Thresholds,
    pub(super) evaluation: Evaluation,
    /// By class.
    pub(super) groups: &'a [Group],
    /// Those that are shown, by falling training count.
    pub(super) classes: Vec<usize>,
    /// Errors that come together, those of the classes that are shown.
    pub(super) pairs: Vec<crate::metrics::ErrorPair>,
    pub(super) options: &'a Options,
}

impl Look<'_> {
    /// What is looked at.
    pub(super) fn part(&self) -> &Part {
        self.parts[0]
    }

    /// The name of a class.
    pub(super) fn class(&self, class: usize) -> &str {
        &self.part().table.classes()[class]
    }

    /// The reliability curve over all classes of a scope.
    pub(super) fn reliability(&self, scope: Scope) -> Result<Reliability> {
        let of_scope = |class: &usize| scope.holds(self.groups[*class]);
        let classes: Vec<usize> = (0..self.groups.len()).filter(of_scope).collect();
        Reliability::new(&self.calibrated, &classes, BINS)
    }
}

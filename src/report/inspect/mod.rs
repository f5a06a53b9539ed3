//! A trained run looked at: one page with its worst errors in pictures, calibration, thresholds,
//! errors that come together and labels that are likely wrong.

mod classes;
mod page;
mod pictures;
mod plots;
mod suspects;

use std::sync::Arc;

use crate::data::image::ImageRoot;
use crate::data::labels::{Group, LabelTable};
use crate::data::split::{Set, Split};
use crate::error::Result;
use crate::metrics::{Reliability, Scope, ScoreTable, error_pairs};
use crate::predict::{Predictions, Scale, probability};
use crate::report::evaluation::{
    Evaluation, Options as EvaluationOptions, fitted_thresholds, targets,
};

/// Intervals of a reliability curve.
const BINS: usize = 15;

/// Scored and labelled pictures of a run.
#[derive(Debug)]
pub struct Part {
    /// Which of the split they are.
    pub set: Set,
    /// Their scores; rows and columns are those of `table`.
    pub predictions: Predictions,
    /// Their labels.
    pub table: Arc<LabelTable>,
    /// Where they lie.
    pub root: ImageRoot,
}

impl Part {
    /// The set in words.
    fn name(&self) -> &'static str {
        match self.set {
            Set::Train => "training set",
            Set::Validation => "validation part",
            Set::Test => "test set",
        }
    }

    /// Scores as logits, images x classes.
    fn logits(&self) -> Vec<f64> {
        let scores = self.predictions.scores.iter();
        match self.predictions.scale {
            Some(Scale::Probabilities) => {
                scores.map(|&p| Scale::Logits.of_probability(p)).collect()
            }
            _ => scores.copied().collect(),
        }
    }

    /// Scores as probabilities, images x classes.
    fn probabilities(&self) -> Vec<f64> {
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

/// The page on a run: `looked_at` is shown, by the class groups of `split`; `validation` chooses the
/// thresholds and is searched for wrong labels too. Without it thresholds are a probability of one
/// half, but those of a validation part that is looked at itself.
///
/// # Errors
/// Scores and labels do not fit, or the work is interrupted.
pub fn page(
    looked_at: &Part,
    validation: Option<&Part>,
    split: &Split,
    options: &Options,
) -> Result<String> {
    let fitted = match (validation, looked_at.set) {
        (Some(part), _) => Some(part),
        (None, Set::Validation) => Some(looked_at),
        (None, _) => None,
    };
    let fitted = fitted.map(|part| {
        let logits = Predictions {
            scores: part.logits(),
            scale: Some(Scale::Logits),
            ..part.predictions.clone()
        };
        fitted_thresholds(&logits, &part.table)
    });
    let fitted = fitted.transpose()?;
    let count = looked_at.table.num_classes();
    let thresholds = Thresholds {
        fitted: fitted.unwrap_or_else(|| vec![None; count]),
    };
    let (logits, targets) = (looked_at.logits(), targets(&looked_at.table));
    let scores = ScoreTable::new(&logits, &targets, count)?;
    let as_logits = Predictions {
        scores: logits.clone(),
        scale: Some(Scale::Logits),
        ..looked_at.predictions.clone()
    };
    let evaluation_options = EvaluationOptions {
        thresholds: thresholds.all(),
        ..EvaluationOptions::default()
    };
    let evaluation = Evaluation::new(&as_logits, &looked_at.table, split, &evaluation_options)?;
    let mut chosen = options.classes.clone();
    if chosen.is_empty() {
        chosen = (0..count).collect();
    }
    let train_counts = split.train.class_counts();
    chosen.sort_by_key(|&class| (std::cmp::Reverse(train_counts[class]), class));
    let probabilities = looked_at.probabilities();
    let calibrated = ScoreTable::new(&probabilities, &targets, count)?;
    let mut pairs = error_pairs(&scores, &thresholds.all());
    pairs.retain(|pair| pair.classes.iter().any(|class| chosen.contains(class)));
    let look = Look {
        parts: [Some(looked_at), validation]
            .into_iter()
            .flatten()
            .collect(),
        scores,
        calibrated,
        thresholds,
        evaluation,
        groups: &split.groups,
        classes: chosen,
        pairs,
        options,
    };
    page::render(&look)
}

/// The score above which a class counts as present.
#[derive(Debug)]
struct Thresholds {
    /// By class, as logits; `None` where none could be chosen.
    fitted: Vec<Option<f64>>,
}

impl Thresholds {
    /// The one of a class, as a logit.
    fn of(&self, class: usize) -> f64 {
        self.fitted[class].unwrap_or(Scale::Logits.threshold())
    }

    /// Those of all classes.
    fn all(&self) -> Vec<f64> {
        (0..self.fitted.len()).map(|class| self.of(class)).collect()
    }
}

/// Everything that the page is made from.
struct Look<'a> {
    /// What is looked at, and the validation part where it is another.
    parts: Vec<&'a Part>,
    /// Logits and targets of what is looked at.
    scores: ScoreTable<'a, f64>,
    /// The same with probabilities.
    calibrated: ScoreTable<'a, f64>,
    thresholds: Thresholds,
    evaluation: Evaluation,
    /// By class.
    groups: &'a [Group],
    /// Those that are shown, by falling training count.
    classes: Vec<usize>,
    /// Errors that come together, those of the classes that are shown.
    pairs: Vec<crate::metrics::ErrorPair>,
    options: &'a Options,
}

impl Look<'_> {
    /// What is looked at.
    fn part(&self) -> &Part {
        self.parts[0]
    }

    /// The name of a class.
    fn class(&self, class: usize) -> &str {
        &self.part().table.classes()[class]
    }

    /// The reliability curve over all classes of a scope.
    fn reliability(&self, scope: Scope) -> Result<Reliability> {
        let of_scope = |class: &usize| scope.holds(self.groups[*class]);
        let classes: Vec<usize> = (0..self.groups.len()).filter(of_scope).collect();
        Reliability::new(&self.calibrated, &classes, BINS)
    }
}

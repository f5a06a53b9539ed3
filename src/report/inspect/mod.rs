//! Inspection of a trained run: one page with its worst errors in pictures, its calibration,
//! thresholds, co-occurring errors, and labels that are probably wrong.

mod classes;
mod held_out;
mod look;
mod page;
mod pictures;
mod plots;
mod suspects;

use crate::data::split::Set;
use crate::error::Result;
use crate::metrics::{ScoreTable, error_pairs};
use crate::predict::{Predictions, Scale};
use crate::report::evaluation::{
    Evaluation, Options as EvaluationOptions, TrainedOn, fitted_thresholds, targets,
};

use look::{Look, Thresholds};
pub use look::{Options, Part, Shown};

/// Renders the page about a run: it shows `looked_at`, with the class groups of `trained_on`.
/// `validation` is used to choose the thresholds and is searched for wrong labels too, as is
/// `held_out`. Without `validation` the thresholds are a probability of one half, unless `looked_at`
/// is itself the validation part.
///
/// # Errors
/// Fails if scores and labels do not match, or if the work is interrupted.
pub fn page(
    looked_at: &Part,
    validation: Option<&Part>,
    held_out: Option<&Part>,
    trained_on: &TrainedOn,
    options: &Options,
) -> Result<String> {
    let fitted = match (validation, looked_at.is(Set::Validation)) {
        (Some(part), _) => Some(part),
        (None, true) => Some(looked_at),
        (None, false) => None,
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
    let evaluation = Evaluation::new(
        &as_logits,
        &looked_at.table,
        trained_on.clone(),
        &evaluation_options,
    )?;
    let mut chosen = options.classes.clone();
    if chosen.is_empty() {
        chosen = (0..count).collect();
    }
    chosen.sort_by_key(|&class| (std::cmp::Reverse(trained_on.counts[class]), class));
    let probabilities = looked_at.probabilities();
    let calibrated = ScoreTable::new(&probabilities, &targets, count)?;
    let mut pairs = error_pairs(&scores, &thresholds.all());
    pairs.retain(|pair| pair.classes.iter().any(|class| chosen.contains(class)));
    let look = Look {
        parts: [Some(looked_at), validation, held_out]
            .into_iter()
            .flatten()
            .collect(),
        scores,
        calibrated,
        thresholds,
        evaluation,
        groups: &trained_on.groups,
        classes: chosen,
        pairs,
        options,
    };
    page::render(&look)
}

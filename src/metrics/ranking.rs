//! The precision, recall and F1 of multi-label papers: by class (CP, CR, CF1) and overall (OP, OR,
//! OF1), at a threshold or for the k best scores of each image.

use serde::Serialize;

use super::score::Score;
use super::table::ScoreTable;
use super::threshold::{Counts, ThresholdScores};

/// CP, CR, CF1, OP, OR and OF1, each 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RankingScores {
    /// CP: the mean precision over classes with a prediction or a positive; 0 for a class without
    /// a prediction.
    pub class_precision: Option<f64>,
    /// CR: the mean recall over classes with a positive.
    pub class_recall: Option<f64>,
    /// CF1: the harmonic mean of CP and CR (not the mean F1 over the classes).
    pub class_f1: Option<f64>,
    /// OP: precision over all entries.
    pub overall_precision: Option<f64>,
    /// OR: recall over all entries.
    pub overall_recall: Option<f64>,
    /// OF1: the harmonic mean of OP and OR.
    pub overall_f1: Option<f64>,
}

impl RankingScores {
    /// Computes the scores from the counts of each class.
    pub fn from_counts(per_class: &[Counts]) -> Self {
        let class_precision = mean(
            (per_class.iter())
                .filter(|counts| counts.f1().is_some())
                .map(|counts| counts.precision().unwrap_or(0.0)),
        );
        let class_recall = mean(per_class.iter().filter_map(Counts::recall));
        let all = (per_class.iter()).fold(Counts::default(), |sum, &class| sum.plus(class));
        RankingScores {
            class_precision,
            class_recall,
            class_f1: harmonic(class_precision, class_recall),
            overall_precision: all.precision(),
            overall_recall: all.recall(),
            overall_f1: harmonic(all.precision(), all.recall()),
        }
    }
}

/// Returns CP, CR, CF1, OP, OR and OF1 at the thresholds of `scores`.
pub fn ranking_scores(scores: &ThresholdScores) -> RankingScores {
    RankingScores::from_counts(&scores.per_class)
}

/// Returns CP, CR, CF1, OP, OR and OF1 if each image is predicted to show the `k` classes with its
/// best scores; with `threshold`, only those of them above it. Ties go to the class with the lower
/// index.
pub fn top_k_scores<S: Score>(
    table: &ScoreTable<S>,
    k: usize,
    threshold: Option<f64>,
) -> RankingScores {
    let num_classes = table.num_classes();
    let mut per_class = vec![Counts::default(); num_classes];
    let mut order: Vec<usize> = Vec::with_capacity(num_classes);
    let mut predicted = vec![false; num_classes];
    let k = k.min(num_classes);
    for (scores, targets) in table.rows() {
        order.clear();
        order.extend(0..num_classes);
        let key = |&class: &usize| (scores[class].descending_key(), class);
        if k < num_classes {
            order.select_nth_unstable_by_key(k, key);
        }
        predicted.fill(false);
        for &class in &order[..k] {
            predicted[class] = threshold.is_none_or(|t| scores[class].to_f64() > t);
        }
        for (class, counts) in per_class.iter_mut().enumerate() {
            counts.add(predicted[class], targets[class] == 1);
        }
    }
    RankingScores::from_counts(&per_class)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), v| (sum + v, count + 1));
    (count > 0).then(|| sum / count as f64)
}

/// Returns 2 p r / (p + r); 0 if both are 0, undefined if one is undefined.
fn harmonic(precision: Option<f64>, recall: Option<f64>) -> Option<f64> {
    let (precision, recall) = (precision?, recall?);
    let sum = precision + recall;
    Some(if sum > 0.0 {
        2.0 * precision * recall / sum
    } else {
        0.0
    })
}

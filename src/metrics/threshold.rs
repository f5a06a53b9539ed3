//! Precision, recall, F1 and accuracy at thresholds.

use serde::Serialize;

use super::groups::PerGroup;
use super::order;
use super::score::{Entry, Score};
use super::table::ScoreTable;
use crate::data::labels::Group;
use crate::error::{Error, Result};

/// The confusion counts of a class, or of all classes, at a threshold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Predicted and present.
    pub true_positives: u64,
    /// Predicted but absent.
    pub false_positives: u64,
    /// Present but not predicted.
    pub false_negatives: u64,
    /// Neither predicted nor present.
    pub true_negatives: u64,
}

impl Counts {
    pub(super) fn add(&mut self, predicted: bool, target: bool) {
        match (predicted, target) {
            (true, true) => self.true_positives += 1,
            (true, false) => self.false_positives += 1,
            (false, true) => self.false_negatives += 1,
            (false, false) => self.true_negatives += 1,
        }
    }

    pub(super) fn plus(self, other: Counts) -> Counts {
        Counts {
            true_positives: self.true_positives + other.true_positives,
            false_positives: self.false_positives + other.false_positives,
            false_negatives: self.false_negatives + other.false_negatives,
            true_negatives: self.true_negatives + other.true_negatives,
        }
    }

    /// Returns TP / (TP + FP); `None` without a prediction.
    pub fn precision(&self) -> Option<f64> {
        ratio(
            self.true_positives,
            self.true_positives + self.false_positives,
        )
    }

    /// Returns TP / (TP + FN); `None` without a positive.
    pub fn recall(&self) -> Option<f64> {
        ratio(
            self.true_positives,
            self.true_positives + self.false_negatives,
        )
    }

    /// Returns 2 TP / (2 TP + FP + FN); `None` with neither a prediction nor a positive.
    pub fn f1(&self) -> Option<f64> {
        let twice = 2 * self.true_positives;
        ratio(twice, twice + self.false_positives + self.false_negatives)
    }

    /// Returns (TP + TN) / all; `None` without entries.
    pub fn accuracy(&self) -> Option<f64> {
        let right = self.true_positives + self.true_negatives;
        ratio(right, right + self.false_positives + self.false_negatives)
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Precision, recall and F1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// Precision, 0 to 1.
    pub precision: Option<f64>,
    /// Recall, 0 to 1.
    pub recall: Option<f64>,
    /// F1, 0 to 1.
    pub f1: Option<f64>,
}

/// All scores at a threshold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ThresholdScores {
    /// The counts of each class, from which its precision, recall, F1 and accuracy follow.
    pub per_class: Vec<Counts>,
    /// Rates over all entries together.
    pub micro: Rates,
    /// Means over the classes, where an undefined value counts as 0, the default of scikit-learn;
    /// `None` only if there are no classes.
    pub macro_average: Rates,
    /// Number of classes whose precision, recall and F1 are undefined and count as 0 in
    /// `macro_average`.
    pub undefined: [usize; 3],
    /// Share of entries (image, class) that are correct; equals the mean accuracy of the classes.
    pub accuracy: Option<f64>,
    /// Share of images for which every class is correct (subset accuracy).
    pub exact_match: Option<f64>,
}

/// F1 over some classes, 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct F1 {
    /// F1 over all their entries together; `None` with neither a positive nor a prediction.
    pub micro: Option<f64>,
    /// Mean over the classes, where an undefined value counts as 0, as in
    /// [`ThresholdScores::macro_average`]; `None` without classes.
    pub macro_average: Option<f64>,
}

impl ThresholdScores {
    /// Returns F1 over all classes and over each group; `groups` has one entry per class.
    pub fn f1_by_group(&self, groups: &[Group]) -> PerGroup<F1> {
        PerGroup::from_fn(|scope| {
            let own = || {
                let all = self.per_class.iter().zip(groups);
                all.filter(|(_, group)| scope.holds(**group))
                    .map(|(counts, _)| *counts)
            };
            let sum: f64 = own().map(|counts| counts.f1().unwrap_or(0.0)).sum();
            let classes = own().count();
            F1 {
                micro: own().fold(Counts::default(), Counts::plus).f1(),
                macro_average: (classes > 0).then(|| sum / classes as f64),
            }
        })
    }
}

/// Computes the scores at thresholds. A class is predicted if its score is above its threshold; an
/// equal score does not count. `thresholds` holds one value for all classes or one per class, on
/// the scale of the scores (0.5 for probabilities, 0 for logits).
pub fn threshold_scores<S: Score>(
    table: &ScoreTable<S>,
    thresholds: &[f64],
) -> Result<ThresholdScores> {
    let num_classes = table.num_classes();
    let thresholds = match thresholds {
        [one] => vec![*one; num_classes],
        many if many.len() == num_classes => many.to_vec(),
        many => {
            return Err(Error::input(
                "thresholds",
                format_args!(
                    "{} for {num_classes} classes, expected 1 or one per class",
                    many.len()
                ),
            ));
        }
    };
    let mut per_class = vec![Counts::default(); num_classes];
    let mut exact = 0;
    for (scores, targets) in table.rows() {
        let mut wrong = 0;
        for (class, (score, &target)) in scores.iter().zip(targets).enumerate() {
            let predicted = score.to_f64() > thresholds[class];
            per_class[class].add(predicted, target == 1);
            wrong += u32::from(predicted != (target == 1));
        }
        exact += u64::from(wrong == 0);
    }
    let all = (per_class.iter()).fold(Counts::default(), |sum, &class| sum.plus(class));
    let mut undefined = [0; 3];
    let mut mean = |slot: usize, value: fn(&Counts) -> Option<f64>| {
        undefined[slot] = per_class.iter().filter(|c| value(c).is_none()).count();
        let sum: f64 = per_class.iter().map(|c| value(c).unwrap_or(0.0)).sum();
        Some(sum / num_classes as f64)
    };
    let macro_average = Rates {
        precision: mean(0, Counts::precision),
        recall: mean(1, Counts::recall),
        f1: mean(2, Counts::f1),
    };
    Ok(ThresholdScores {
        micro: Rates {
            precision: all.precision(),
            recall: all.recall(),
            f1: all.f1(),
        },
        macro_average,
        undefined,
        accuracy: all.accuracy(),
        exact_match: ratio(exact, table.num_images() as u64),
        per_class,
    })
}

/// Returns the counts of one class at each of `thresholds` (ascending), on the scale of the scores,
/// which show how precision, recall and F1 depend on the threshold.
pub fn threshold_curve<S: Score>(
    table: &ScoreTable<S>,
    class: usize,
    thresholds: &[f64],
) -> Vec<Counts> {
    let mut scores = [Vec::new(), Vec::new()];
    for (score, target) in table.class(class) {
        scores[usize::from(target)].push(score.to_f64());
    }
    scores.iter_mut().for_each(|of| of.sort_by(f64::total_cmp));
    // The number of scores at or below a threshold, and the number above it.
    let parted = |of: &[f64], threshold: f64| {
        let below = of.partition_point(|score| *score <= threshold);
        (below as u64, (of.len() - below) as u64)
    };
    let counts = |&threshold: &f64| {
        let (true_negatives, false_positives) = parted(&scores[0], threshold);
        let (false_negatives, true_positives) = parted(&scores[1], threshold);
        Counts {
            true_positives,
            false_positives,
            false_negatives,
            true_negatives,
        }
    };
    thresholds.iter().map(counts).collect()
}

/// Returns for each class the threshold with the best F1 on `table`, halfway between two scores;
/// the highest of equally good ones. `None` for a class without positives. Fit it on validation
/// data: on the test set the result would be too optimistic.
pub fn fit_thresholds<S: Score>(table: &ScoreTable<S>) -> Vec<Option<f64>> {
    let classes: Vec<usize> = (0..table.num_classes()).collect();
    let order = order::for_each_class(
        table,
        |image, _| image as u32,
        |entries| {
            entries
                .iter()
                .map(|entry| entry.payload())
                .collect::<Vec<_>>()
        },
    );
    (classes.into_iter().zip(order))
        .map(|(class, order)| {
            let at = |k: usize| {
                let i = order[k] as usize * table.num_classes() + class;
                (table.scores()[i].to_f64(), u64::from(table.targets()[i]))
            };
            let positives: u64 = (0..order.len()).map(|k| at(k).1).sum();
            let (mut found, mut best, mut threshold) = (0, 0.0, None);
            for k in 0..order.len() {
                let (score, target) = at(k);
                found += target;
                let next = (k + 1 < order.len()).then(|| at(k + 1).0);
                if next == Some(score) {
                    continue;
                }
                let f1 = 2.0 * found as f64 / (positives + k as u64 + 1) as f64;
                if f1 > best {
                    best = f1;
                    threshold = Some(between(next.unwrap_or(f64::NEG_INFINITY), score));
                }
            }
            threshold
        })
        .collect()
}

/// Returns a number at or above `low` and below `high`, halfway between them if possible.
fn between(low: f64, high: f64) -> f64 {
    let middle = low / 2.0 + high / 2.0;
    if low.is_finite() && middle < high {
        middle.max(low)
    } else if low.is_finite() {
        low
    } else {
        high.next_down()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values from sklearn.metrics.f1_score(targets[:, c], scores[:, c] > 0.5,
    /// average="micro" and "macro", zero_division=0) for the columns of each group; the last class
    /// has neither a positive nor a prediction.
    #[test]
    fn f1_by_group_is_that_of_scikit_learn() {
        let scores = [
            0.9, 0.1, 0.8, 0.0, 0.7, 0.6, 0.2, 0.1, 0.2, 0.9, 0.3, 0.0, 0.6, 0.4, 0.9, 0.2, 0.1,
            0.8, 0.7, 0.3,
        ];
        let targets = [1, 0, 1, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 1, 1, 0, 0];
        let table = ScoreTable::new(&scores, &targets, 4).unwrap();
        let groups = [Group::Head, Group::Head, Group::Tail, Group::Tail];
        let found = threshold_scores(&table, &[0.5])
            .unwrap()
            .f1_by_group(&groups);
        let near = |own: Option<f64>, expected: f64| {
            assert!(
                (own.unwrap() - expected).abs() < 1e-12,
                "{own:?} {expected}"
            );
        };
        near(found.total.micro, 7.0 / 9.0);
        near(found.total.macro_average, 0.5809523809523809);
        near(found.head.micro, 10.0 / 13.0);
        near(found.head.macro_average, 0.7619047619047619);
        near(found.tail.micro, 0.8);
        near(found.tail.macro_average, 0.4);
        assert_eq!(found.medium, F1::default());
    }

    #[test]
    fn a_curve_is_the_counts_at_each_threshold() {
        let scores = [0.1, 0.4, 0.4, 0.8, -0.0, 0.9, 0.3, 0.2];
        let targets = [0, 1, 0, 1, 1, 0, 1, 0];
        let table = ScoreTable::new(&scores, &targets, 2).unwrap();
        let at = [-1.0, 0.0, 0.1, 0.35, 0.4, 2.0];
        for class in 0..2 {
            let curve = threshold_curve(&table, class, &at);
            for (threshold, counts) in at.iter().zip(curve) {
                let expected = threshold_scores(&table, &[*threshold]).unwrap();
                assert_eq!(counts, expected.per_class[class], "{class} {threshold}");
            }
        }
    }
}

//! Means over all classes and over head, medium and tail.

use serde::Serialize;

use crate::data::labels::Group;

/// The mean of a per-class metric over all classes and over each group (paper, section 4.1).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupScores {
    /// Mean over all defined classes; `None` where there is none.
    pub total: Option<f64>,
    /// Mean over the defined head classes.
    pub head: Option<f64>,
    /// Mean over the defined medium classes.
    pub medium: Option<f64>,
    /// Mean over the defined tail classes.
    pub tail: Option<f64>,
    /// Classes in all, head, medium, tail: the defined ones and the others.
    pub counts: [usize; 4],
    /// Classes without a value (no positive in the test set), left out of the means; in the order
    /// of `counts`.
    pub undefined: [usize; 4],
}

impl GroupScores {
    /// The names of the columns, in the order of [`means`](Self::means).
    pub const NAMES: [&str; 4] = ["total", "head", "medium", "tail"];

    /// Means of `values` (one a class) by `groups` (one a class, of the training counts).
    pub fn new(values: &[Option<f64>], groups: &[Group]) -> Self {
        let mut sums = [0.0; 4];
        let mut counts = [0; 4];
        let mut undefined = [0; 4];
        for (value, group) in values.iter().zip(groups) {
            for slot in [0, slot(*group)] {
                counts[slot] += 1;
                match value {
                    Some(value) => sums[slot] += value,
                    None => undefined[slot] += 1,
                }
            }
        }
        let mean = |slot: usize| {
            let defined = counts[slot] - undefined[slot];
            (defined > 0).then(|| sums[slot] / defined as f64)
        };
        GroupScores {
            total: mean(0),
            head: mean(1),
            medium: mean(2),
            tail: mean(3),
            counts,
            undefined,
        }
    }

    /// Total, head, medium, tail.
    pub fn means(&self) -> [Option<f64>; 4] {
        [self.total, self.head, self.medium, self.tail]
    }
}

/// The place of a group in arrays of total, head, medium, tail.
pub(super) fn slot(group: Group) -> usize {
    match group {
        Group::Head => 1,
        Group::Medium => 2,
        Group::Tail => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undefined_classes_are_counted_and_left_out() {
        use Group::*;
        let values = [Some(0.5), None, Some(1.0), None, Some(0.3)];
        let scores = GroupScores::new(&values, &[Head, Head, Head, Medium, Tail]);
        assert_eq!(scores.head, Some(0.75));
        assert_eq!(scores.medium, None);
        assert_eq!(scores.tail, Some(0.3));
        assert_eq!(scores.total, Some((0.5 + 1.0 + 0.3) / 3.0));
        assert_eq!(scores.counts, [5, 3, 1, 1]);
        assert_eq!(scores.undefined, [2, 1, 1, 0]);
    }
}

//! Means over all classes and over head, medium and tail.

use std::fmt;
use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

use crate::data::labels::Group;

/// The set of classes that a metric is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// All classes.
    Total,
    /// The head classes.
    Head,
    /// The medium classes, between head and tail.
    Medium,
    /// The tail classes.
    Tail,
}

impl Scope {
    /// All scopes, in the order used by every table.
    pub const ALL: [Scope; 4] = [Scope::Total, Scope::Head, Scope::Medium, Scope::Tail];

    /// Returns the name used in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Total => "total",
            Scope::Head => "head",
            Scope::Medium => "medium",
            Scope::Tail => "tail",
        }
    }

    /// Returns the group that the scope is limited to; `None` for all classes.
    pub fn group(self) -> Option<Group> {
        match self {
            Scope::Total => None,
            Scope::Head => Some(Group::Head),
            Scope::Medium => Some(Group::Medium),
            Scope::Tail => Some(Group::Tail),
        }
    }

    /// Returns whether the scope includes classes of `group`.
    pub fn holds(self, group: Group) -> bool {
        self.group().is_none_or(|own| own == group)
    }
}

impl From<Group> for Scope {
    fn from(group: Group) -> Self {
        match group {
            Group::Head => Scope::Head,
            Group::Medium => Scope::Medium,
            Group::Tail => Scope::Tail,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One value over all classes and one for each group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerGroup<T> {
    /// Over all classes.
    pub total: T,
    /// Over the head classes.
    pub head: T,
    /// Over the medium classes.
    pub medium: T,
    /// Over the tail classes.
    pub tail: T,
}

impl<T> PerGroup<T> {
    /// Computes the value of each scope.
    #[inline(always)]
    pub fn from_fn(mut value: impl FnMut(Scope) -> T) -> Self {
        PerGroup {
            total: value(Scope::Total),
            head: value(Scope::Head),
            medium: value(Scope::Medium),
            tail: value(Scope::Tail),
        }
    }

    /// Iterates over the values with their scopes, total first.
    pub fn iter(&self) -> impl Iterator<Item = (Scope, &T)> {
        Scope::ALL.into_iter().map(|scope| (scope, &self[scope]))
    }
}

impl<T> Index<Scope> for PerGroup<T> {
    type Output = T;

    #[inline(always)]
    fn index(&self, scope: Scope) -> &T {
        match scope {
            Scope::Total => &self.total,
            Scope::Head => &self.head,
            Scope::Medium => &self.medium,
            Scope::Tail => &self.tail,
        }
    }
}

impl<T> IndexMut<Scope> for PerGroup<T> {
    #[inline(always)]
    fn index_mut(&mut self, scope: Scope) -> &mut T {
        match scope {
            Scope::Total => &mut self.total,
            Scope::Head => &mut self.head,
            Scope::Medium => &mut self.medium,
            Scope::Tail => &mut self.tail,
        }
    }
}

/// The means of a per-class metric over all classes and over each group (paper, section 4.1).
#[derive(Debug, Clone, PartialEq)]
pub struct GroupScores {
    /// Means over the classes with a defined value; `None` where there are none.
    pub means: PerGroup<Option<f64>>,
    /// Number of classes, with or without a defined value.
    pub counts: PerGroup<usize>,
    /// Number of classes without a value (no positive in the test set), left out of the means.
    pub undefined: PerGroup<usize>,
}

impl GroupScores {
    /// Averages `values` (one per class) by `groups` (one per class, from the training counts).
    pub fn new(values: &[Option<f64>], groups: &[Group]) -> Self {
        let mut sums = PerGroup::<f64>::default();
        let mut counts = PerGroup::<usize>::default();
        let mut undefined = PerGroup::<usize>::default();
        for (value, group) in values.iter().zip(groups) {
            for scope in [Scope::Total, (*group).into()] {
                counts[scope] += 1;
                match value {
                    Some(value) => sums[scope] += value,
                    None => undefined[scope] += 1,
                }
            }
        }
        let means = PerGroup::from_fn(|scope| {
            let defined = counts[scope] - undefined[scope];
            (defined > 0).then(|| sums[scope] / defined as f64)
        });
        GroupScores {
            means,
            counts,
            undefined,
        }
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
        assert_eq!(scores.means.head, Some(0.75));
        assert_eq!(scores.means.medium, None);
        assert_eq!(scores.means.tail, Some(0.3));
        assert_eq!(scores.means.total, Some((0.5 + 1.0 + 0.3) / 3.0));
        let numbers = |of: &PerGroup<usize>| of.iter().map(|(_, n)| *n).collect::<Vec<_>>();
        assert_eq!(numbers(&scores.counts), [5, 3, 1, 1]);
        assert_eq!(numbers(&scores.undefined), [2, 1, 1, 0]);
    }
}

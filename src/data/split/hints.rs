//! Messages about a newly built split.

use crate::data::labels::{Group, GroupThresholds};
use crate::wording::is_or_are;

use super::Split;

impl Split {
    /// Reports how many images the draw left out.
    pub(super) fn tell_what_was_drawn(&self, pool: usize, drawn: usize) {
        if drawn < pool {
            tracing::info!(
                "{drawn} of the pool's {pool} images {} drawn, {} {} left out; `--distribution as-is` takes all",
                is_or_are(drawn),
                pool - drawn,
                is_or_are(pool - drawn)
            );
        }
    }

    /// Reports empty class groups and suggests bounds that fill them.
    pub(super) fn hint_at_bounds(&self) {
        let is_empty = |group: &Group| !self.groups.contains(group);
        let empty: Vec<String> = (Group::ALL.iter().filter(|group| is_empty(group)))
            .map(Group::to_string)
            .collect();
        let counts = self.train.class_counts();
        if empty.is_empty() {
            return;
        }
        let remedy = thirds(&counts).map(|bounds| {
            let (head, medium) = (bounds.head, bounds.medium);
            format!("; `--head {head} --medium {medium}` divides the classes into thirds")
        });
        tracing::warn!(
            "no class is in {} with the bounds {} and {} (training images per class: {} to {}){}",
            empty.join(" or "),
            self.thresholds.head,
            self.thresholds.medium,
            counts.iter().min().unwrap_or(&0),
            counts.iter().max().unwrap_or(&0),
            remedy.unwrap_or_default()
        );
    }
}

/// Returns bounds that divide the classes into three groups of about equal size, or `None` if there
/// are too few distinct counts.
fn thirds(counts: &[usize]) -> Option<GroupThresholds> {
    let mut counts = counts.to_vec();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let mut distinct = counts.clone();
    distinct.dedup();
    if distinct.len() < 3 {
        return None;
    }
    // The bound of a group is its smallest count; every group keeps at least one distinct count.
    let third = |k: usize| counts[(counts.len() * k).div_ceil(3) - 1];
    let place = |count: usize| distinct.iter().position(|&c| c == count).unwrap_or(0);
    let head = place(third(1)).min(distinct.len() - 3);
    let medium = place(third(2)).clamp(head + 1, distinct.len() - 2);
    Some(GroupThresholds {
        head: distinct[head],
        medium: distinct[medium],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggested_bounds_leave_no_group_empty() {
        let cases: [&[usize]; 6] = [
            &[9, 7, 5],
            &[40, 15, 5],
            &[3, 3, 3, 2, 1],
            &[9, 1, 1, 1, 2],
            &[5, 4, 3, 2, 1, 0],
            &[7, 7, 7, 7, 6, 5],
        ];
        for counts in cases {
            let bounds = thirds(counts).unwrap();
            let groups: Vec<Group> = counts.iter().map(|&n| bounds.group(n)).collect();
            assert!(
                Group::ALL.iter().all(|g| groups.contains(g)),
                "{counts:?} {bounds:?}"
            );
        }
        assert_eq!(thirds(&[4, 4, 2]), None);
        let (head, medium) = (7, 4);
        assert_eq!(
            thirds(&[9, 8, 7, 6, 5, 4, 3, 2, 1]),
            Some(GroupThresholds { head, medium })
        );
    }
}

//! The expected scores of a random order of the evaluated images, shown as a row beside the
//! methods.

use super::collect::Run;
use crate::data::labels::Group;
use crate::metrics::{GroupScores, PerGroup, expected_average_precision};

/// The name of the row in the tables.
pub(super) const NAME: &str = "chance";

/// Expected scores of a random order.
#[derive(Debug, Clone, PartialEq)]
pub struct Chance {
    /// Expected AP of each class; `None` for a class without images.
    pub classes: Vec<Option<f64>>,
    /// Expected mAP over all classes and over each group, with the groups of each training subset,
    /// averaged over the subsets.
    pub means: PerGroup<Option<f64>>,
}

impl Chance {
    /// Computes the expectation over `images` evaluated images. Returns `None` if the APs are not
    /// areas under the step curve, the only kind whose expectation is known here.
    pub(super) fn new(runs: &[Run], images: usize) -> Option<Self> {
        let classes = &runs.first()?.classes;
        let is_area = |run: &Run| {
            let mut scored = run.classes.iter().filter(|c| c.average_precision.is_some());
            // Only the area has an interval.
            scored.all(|class| class.low.is_some())
        };
        if !runs.iter().all(is_area) {
            return None;
        }
        let expected: Vec<Option<f64>> = (classes.iter())
            .map(|class| expected_average_precision(images, class.positives))
            .collect();
        let mut subsets: Vec<&Run> = Vec::new();
        for run in runs {
            let is_same = |other: &&Run| other.manifest.split_hash == run.manifest.split_hash;
            if !subsets.iter().any(is_same) {
                subsets.push(run);
            }
        }
        let of_subset: Vec<PerGroup<Option<f64>>> = (subsets.iter())
            .map(|run| {
                let groups: Vec<Group> = run.classes.iter().map(|class| class.group).collect();
                GroupScores::new(&expected, &groups).means
            })
            .collect();
        let mean = |scope| {
            let values: Option<Vec<f64>> = of_subset.iter().map(|means| means[scope]).collect();
            crate::metrics::significance::mean_and_deviation(&values?).0
        };
        Some(Chance {
            means: PerGroup::from_fn(mean),
            classes: expected,
        })
    }
}

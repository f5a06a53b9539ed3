//! The images of every class ranked by score: sorted once, read many times.

use super::order;
use super::score::{Entry, Score};
use super::table::ScoreTable;
use crate::error::{Error, Result};

/// The images of a set of predictions by descending score, class by class.
#[derive(Debug, Clone)]
pub struct Ranked {
    classes: Vec<Vec<Step>>,
    num_images: usize,
}

/// An image of a class's ranking, packed: the image's index, whether it is a positive, and whether
/// the next image has a different score.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step(u32);

impl Step {
    pub(super) fn image(self) -> usize {
        (self.0 >> 2) as usize
    }

    pub(super) fn positive(self) -> bool {
        self.0 & 2 != 0
    }

    pub(super) fn ends_tie(self) -> bool {
        self.0 & 1 != 0
    }
}

impl Ranked {
    /// Sorts the scores of every class.
    pub fn new<S: Score>(table: &ScoreTable<S>) -> Result<Self> {
        if table.num_images() >= 1 << 30 {
            return Err(Error::input("ranking", "more than 1,073,741,823 images"));
        }
        let classes = order::for_each_class(
            table,
            |image, target| (image as u32) << 1 | u32::from(target),
            |entries| {
                (0..entries.len())
                    .map(|k| {
                        let next = entries.get(k + 1);
                        let ends_tie = next.is_none_or(|next| next.key() != entries[k].key());
                        Step(entries[k].payload() << 1 | u32::from(ends_tie))
                    })
                    .collect()
            },
        );
        Ok(Ranked {
            classes,
            num_images: table.num_images(),
        })
    }

    /// Returns the number of images, N.
    pub fn num_images(&self) -> usize {
        self.num_images
    }

    /// Returns the ranking of every class.
    pub(super) fn classes(&self) -> &[Vec<Step>] {
        &self.classes
    }

    /// Returns for every class the precision at each of `recalls` (ascending, in [0, 1]): that of
    /// the highest threshold that reaches the recall. The mean over evenly spaced recalls
    /// approximates AP. `None` for a class without positives.
    pub fn precision_at(&self, recalls: &[f64]) -> Vec<Option<Vec<f64>>> {
        (self.classes.iter())
            .map(|steps| {
                let positives = steps.iter().filter(|step| step.positive()).count();
                if positives == 0 {
                    return None;
                }
                let mut precisions = Vec::with_capacity(recalls.len());
                let mut found = 0;
                for (k, step) in steps.iter().enumerate() {
                    found += usize::from(step.positive());
                    if !step.ends_tie() || found == 0 {
                        continue;
                    }
                    let recall = found as f64 / positives as f64;
                    while precisions.len() < recalls.len() && recalls[precisions.len()] <= recall {
                        precisions.push(found as f64 / (k + 1) as f64);
                    }
                }
                Some(precisions)
            })
            .collect()
    }
}

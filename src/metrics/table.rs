//! Scores with their targets, validated once.

use super::score::Score;
use crate::error::{Error, Result};

/// Scores and targets of N images over C classes.
#[derive(Debug, Clone, Copy)]
pub struct ScoreTable<'a, S> {
    scores: &'a [S],
    targets: &'a [u8],
    num_classes: usize,
}

impl<'a, S: Score> ScoreTable<'a, S> {
    /// Makes a table of scores (logits or probabilities, larger for more likely) and targets (0 or
    /// 1), both images x `num_classes`. Mismatched lengths, a score that is NaN, and a target other
    /// than 0 or 1 are errors that name the entry.
    pub fn new(scores: &'a [S], targets: &'a [u8], num_classes: usize) -> Result<Self> {
        if scores.len() != targets.len() {
            return Err(Error::input(
                "scores",
                format_args!("{} scores with {} targets", scores.len(), targets.len()),
            ));
        }
        if num_classes == 0 || !scores.len().is_multiple_of(num_classes) {
            return Err(Error::input(
                "scores",
                format_args!(
                    "{} scores are not rows of {num_classes} classes",
                    scores.len()
                ),
            ));
        }
        let entry = |i: usize| format!("image {}, class {}", i / num_classes, i % num_classes);
        if let Some(i) = scores.iter().position(|score| score.to_f64().is_nan()) {
            return Err(
                Error::input("scores", format_args!("not a number at {}", entry(i)))
                    .hint("the model diverged, or the file is damaged"),
            );
        }
        if let Some(i) = targets.iter().position(|&target| target > 1) {
            return Err(Error::input(
                "targets",
                format_args!("{} at {}, expected 0 or 1", targets[i], entry(i)),
            ));
        }
        Ok(ScoreTable {
            scores,
            targets,
            num_classes,
        })
    }

    /// Returns the scores, images x classes.
    pub fn scores(&self) -> &'a [S] {
        self.scores
    }

    /// Returns the targets, 0 or 1, images x classes.
    pub fn targets(&self) -> &'a [u8] {
        self.targets
    }

    /// Returns the number of images, N.
    pub fn num_images(&self) -> usize {
        self.scores.len() / self.num_classes
    }

    /// Returns the number of classes, C.
    pub fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// Iterates over the scores and targets of each image.
    pub fn rows(&self) -> impl Iterator<Item = (&'a [S], &'a [u8])> {
        (self.scores.chunks(self.num_classes)).zip(self.targets.chunks(self.num_classes))
    }

    /// Iterates over the scores and targets of one class, image by image.
    pub fn class(&self, class: usize) -> impl Iterator<Item = (S, u8)> + 'a {
        let scores = self.scores.iter().skip(class).step_by(self.num_classes);
        let targets = self.targets.iter().skip(class).step_by(self.num_classes);
        scores.copied().zip(targets.copied())
    }
}

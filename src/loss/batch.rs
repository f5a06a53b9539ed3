//! The input of a loss.

use crate::error::{Error, Result};

/// Logits and labels of a batch of images.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    logits: &'a [f64],
    targets: &'a [f32],
    num_classes: usize,
    epoch: usize,
}

impl<'a> Batch<'a> {
    /// Creates a batch of at least one image.
    ///
    /// `logits` and `targets` are images x `num_classes` in row-major order; `epoch` counts from 0.
    /// Targets are 0 or 1. Between the two, element-wise losses blend the loss of a positive and
    /// that of a negative, and weights count a target above 0.5 as a positive. An error says which
    /// length is wrong.
    pub fn new(
        logits: &'a [f64],
        targets: &'a [f32],
        num_classes: usize,
        epoch: usize,
    ) -> Result<Self> {
        if logits.len() != targets.len() {
            return Err(Error::input(
                "loss",
                format_args!("{} logits with {} targets", logits.len(), targets.len()),
            ));
        }
        if logits.is_empty() || num_classes == 0 || !logits.len().is_multiple_of(num_classes) {
            return Err(Error::input(
                "loss",
                format_args!(
                    "{} logits are not rows of {num_classes} classes",
                    logits.len()
                ),
            ));
        }
        Ok(Batch {
            logits,
            targets,
            num_classes,
            epoch,
        })
    }

    /// Returns the logits, images x classes.
    pub fn logits(&self) -> &'a [f64] {
        self.logits
    }

    /// Returns the labels (0 or 1), images x classes.
    pub fn targets(&self) -> &'a [f32] {
        self.targets
    }

    /// Returns the number of classes, C.
    pub fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// Returns the number of images, at least 1.
    pub fn num_images(&self) -> usize {
        self.logits.len() / self.num_classes
    }

    /// Returns the epoch, counted from 0.
    pub fn epoch(&self) -> usize {
        self.epoch
    }
}

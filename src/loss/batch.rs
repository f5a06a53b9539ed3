//! What a loss is taken of.

use crate::error::{Error, Result};

/// Logits and labels of some images.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    logits: &'a [f64],
    targets: &'a [f32],
    num_classes: usize,
    epoch: usize,
}

impl<'a> Batch<'a> {
    /// A batch of at least one image: `logits` and `targets` (0 or 1; element-wise losses blend
    /// for what lies between, weights count a target above 0.5) are images x `num_classes`,
    /// row by row; `epoch` counts from 0. An error says which length is wrong.
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

    /// Logits, images x classes.
    pub fn logits(&self) -> &'a [f64] {
        self.logits
    }

    /// Labels 0 or 1, images x classes.
    pub fn targets(&self) -> &'a [f32] {
        self.targets
    }

    /// C.
    pub fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// Images in the batch, at least 1.
    pub fn num_images(&self) -> usize {
        self.logits.len() / self.num_classes
    }

    /// The epoch, from 0.
    pub fn epoch(&self) -> usize {
        self.epoch
    }
}

//! The interface of all losses.

use super::batch::Batch;
use super::elementwise::Elementwise;
use crate::error::{Error, Result};

/// A loss prepared for a training set: a pure function of a batch.
pub trait Loss: Send + Sync {
    /// Returns the number of classes it was built for, or `None` if it accepts any number.
    fn num_classes(&self) -> Option<usize> {
        None
    }

    /// Returns the value and overwrites `gradient` with d value / d logit (images x classes);
    /// `gradient` has the length of the batch. Callers use [`evaluate`](Loss::evaluate), which
    /// checks the lengths.
    fn value_and_gradient(&self, batch: &Batch, gradient: &mut [f64]) -> f64;

    /// Returns the value of the loss and overwrites `gradient` with d value / d logit (images x
    /// classes).
    fn evaluate(&self, batch: &Batch, gradient: &mut [f64]) -> Result<f64> {
        if let Some(num_classes) = self.num_classes()
            && num_classes != batch.num_classes()
        {
            return Err(Error::input(
                "loss",
                format_args!(
                    "was built for {num_classes} classes, the batch has {}",
                    batch.num_classes()
                ),
            ));
        }
        if gradient.len() != batch.logits().len() {
            return Err(Error::input(
                "loss",
                format_args!(
                    "{} logits with room for {} gradients",
                    batch.logits().len(),
                    gradient.len()
                ),
            ));
        }
        Ok(self.value_and_gradient(batch, gradient))
    }

    /// Returns the element-wise implementation (weights, shifts and the loss of a single logit), or
    /// `None` if the loss is not a sum over single logits.
    fn elementwise(&self) -> Option<&Elementwise> {
        None
    }
}

impl Loss for Elementwise {
    fn num_classes(&self) -> Option<usize> {
        Some(self.classes())
    }

    fn elementwise(&self) -> Option<&Elementwise> {
        Some(self)
    }

    fn value_and_gradient(&self, batch: &Batch, gradient: &mut [f64]) -> f64 {
        self.sum_over(batch, gradient)
    }
}

//! What every loss can do.

use super::batch::Batch;
use super::elementwise::Elementwise;
use crate::error::{Error, Result};

/// A loss that is ready for a training set: a pure function of a batch.
pub trait Loss: Send + Sync {
    /// The number of classes it was built for; `None` where any will do.
    fn num_classes(&self) -> Option<usize> {
        None
    }

    /// The value; writes d value / d logit (images x classes) over `gradient`, of the batch's
    /// length. Called through [`evaluate`](Loss::evaluate), which checks the lengths.
    fn value_and_gradient(&self, batch: &Batch, gradient: &mut [f64]) -> f64;

    /// The value of the loss; writes d value / d logit (images x classes) over `gradient`.
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

    /// Weights, shifts and the loss of a single logit, where the loss is a sum of such.
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

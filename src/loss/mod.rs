//! Losses for long-tailed multi-label classification.
//!
//! Most are element-wise and made of the same few parts ([`composition`]); a named loss is a
//! preset of parts. The others implement [`Loss`] themselves. All are listed in one table below:
//! it drives parsing, `dbloss loss list`, the documentation pages and the tests.

use std::sync::Arc;

use crate::data::labels::ClassFrequency;
use crate::error::{Error, Result};

pub mod chance;
pub mod composition;
pub mod config;
pub mod definition;
pub mod dual;
pub mod elementwise;
pub mod frequency;
pub mod graph;
pub mod kernel;
pub mod pages;
pub mod part;
pub mod profile;
pub mod weight;

pub use chance::chance_loss;
pub use config::LossConfig;
pub use definition::{Definition, Form};
pub use elementwise::Elementwise;
pub use graph::apply;

/// Declares the files of the losses and gathers what each defines, in the order of every list.
macro_rules! losses {
    ($($file:ident),+ $(,)?) => {
        $(pub mod $file;)+
        /// Every named loss.
        pub fn definitions() -> Vec<&'static Definition> {
            [$($file::DEFINITIONS),+].into_iter().flatten().collect()
        }
    };
}

// Adding a loss: write its file and name it here.
losses! {
    bce,
    reweighted,
    focal,
    class_balanced,
    rebalanced,
    tolerant,
    distribution_balanced,
    ldam,
    logit_adjusted,
    asymmetric,
    hill,
    splc,
    two_way,
    zlpr,
}

/// The names of all losses, in the order of every list; `composed` comes on top of these.
pub fn names() -> Vec<&'static str> {
    definitions().iter().map(|loss| loss.name).collect()
}

/// The definition of the loss `name`, unless there is none.
pub fn definition(name: &str) -> Option<&'static Definition> {
    definitions().into_iter().find(|loss| loss.name == name)
}

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

/// Builds the loss `name` with its defaults; a shorthand for tests and benchmarks.
pub fn build(name: &str, frequency: &ClassFrequency) -> Result<Arc<dyn Loss>> {
    LossConfig::named(name)?.build(frequency)
}

#[cfg(test)]
mod tests;

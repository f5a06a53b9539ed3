//! The CPU engine: runs an [`Architecture`] forward with the kernels of [`crate::ops`], channels
//! last, and keeps what the backward pass (`backward`) needs.
//!
//! A batch norm with fixed statistics is folded into the convolution before it: with
//! s = gamma / sqrt(variance + epsilon) the weights become W * s and the bias beta - mean * s, so
//! that no activation-sized work is left of it.

mod backward;
mod batch_statistics;
mod clock;
mod grouped;
mod network;
mod transposed;
mod weight_sums;

use std::sync::Arc;

use candle_core::{Tensor, Var};

use super::architecture::Architecture;
use super::config::BackboneConfig;
use super::layers::Layer;
use crate::error::Result;
use network::Network;

pub use backward::EngineTape;
pub use clock::{NodeTime, Phase};

/// The executor; clones share everything.
#[derive(Debug, Clone)]
pub struct Engine(Arc<Network>);

impl Engine {
    /// An executor for an architecture with its layers.
    pub fn new(config: &BackboneConfig, architecture: Architecture, layers: Vec<Layer>) -> Self {
        Engine(Arc::new(Network::new(config, architecture, layers)))
    }

    /// Features in evaluation mode.
    ///
    /// # Errors
    /// If the parameters cannot be read.
    pub fn features(&self, images: &Tensor) -> Result<Tensor> {
        let (features, _) = self.0.forward(images, false)?;
        Ok(features)
    }

    /// Features in training mode, as a variable, and the tape for the backward pass.
    ///
    /// # Errors
    /// If the parameters cannot be read.
    pub fn forward_train(&self, images: &Tensor) -> Result<(Tensor, EngineTape)> {
        // The optimiser is about to change what learns.
        self.0.forget(|stage| self.0.config.changes(stage));
        let (features, records) = self.0.forward(images, true)?;
        self.0.forget(|stage| self.0.config.changes(stage));
        let features = Var::from_tensor(&features)?.into_inner();
        let tape = EngineTape::new(self.0.clone(), images.clone(), records, features.clone());
        Ok((features, tape))
    }

    /// Time of every node since the last call, in the network's order: of all threads together
    /// where they work on pictures of their own.
    pub fn take_times(&self) -> Vec<NodeTime> {
        self.0.clock.take(&self.0.architecture)
    }

    /// Forgets everything that was derived from parameters.
    pub fn weights_changed(&self) {
        self.0.forget(|_| true);
    }
}

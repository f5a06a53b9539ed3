//! The CPU engine: runs an [`Architecture`] forward with the kernels of [`crate::ops`], channels
//! last, and keeps what the backward pass (`backward`) needs.
//!
//! A batch norm with fixed statistics is folded into the convolution before it: with
//! s = gamma / sqrt(variance + epsilon) the weights become W * s and the bias beta - mean * s, so
//! that no activation-sized work is left of it.

mod backward;
mod batch_statistics;
mod clock;
mod folded;
mod grouped;
mod network;
mod transposed;
mod values;
mod weight_sums;
mod work;

use std::sync::Arc;

use candle_core::{Tensor, Var};

use super::architecture::Architecture;
use super::config::BackboneConfig;
use super::interface::{Backbone, NodeTime, Tape, check_images};
use super::layers::Layer;
use crate::error::Result;
use backward::EngineTape;
use network::Network;

pub use clock::Phase;

/// The executor; clones share everything.
#[derive(Debug, Clone)]
pub struct Engine(Arc<Network>);

impl Engine {
    /// An executor for an architecture with its layers.
    pub fn new(config: &BackboneConfig, architecture: Architecture, layers: Vec<Layer>) -> Self {
        Engine(Arc::new(Network::new(config, architecture, layers)))
    }
}

impl Backbone for Engine {
    fn num_features(&self) -> usize {
        self.0.architecture.num_features()
    }

    fn features(&self, images: &Tensor) -> Result<Tensor> {
        check_images(images)?;
        let (maps, _) = self.0.forward(images, false)?;
        Ok(Tensor::from_vec(maps.values, maps.shape, images.device())?)
    }

    fn forward_train(&self, images: &Tensor) -> Result<(Tensor, Box<dyn Tape>)> {
        check_images(images)?;
        let (maps, records) = self.0.forward(images, true)?;
        // The optimiser is about to change what learns: its packed weights are of no more use.
        self.0.release_changing();
        let maps = Var::from_vec(maps.values, maps.shape, images.device())?.into_inner();
        let tape = EngineTape::new(self.0.clone(), images.clone(), records, maps.clone());
        Ok((maps, Box::new(tape)))
    }

    fn take_times(&self) -> Vec<NodeTime> {
        self.0.clock.take(&self.0.architecture)
    }
}

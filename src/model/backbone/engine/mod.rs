//! The CPU engine: runs an [`Architecture`] forward with the kernels of [`crate::ops`], channels
//! last, and keeps what the backward pass (`backward`) needs.
//!
//! A batch norm with fixed statistics is folded into the convolution before it: with
//! s = gamma / sqrt(variance + epsilon), the weights become W * s and the bias beta - mean * s, so
//! that no work proportional to the activations remains.

mod backward;
mod batch_statistics;
mod clock;
mod folded;
mod grouped;
mod low_rank;
mod network;
mod positioned;
mod transposed;
mod values;
mod weight_sums;
mod work;

use std::sync::Arc;

use candle_core::{Tensor, Var};

use super::architecture::Architecture;
use super::config::BackboneConfig;
use super::interface::{Backbone, InGraph, NodeTime, Parts, Tape, check_images};
use super::layers::Layer;
use crate::error::Result;
use crate::model::pooling::{Features, Pooler};
use backward::EngineTape;
use network::Network;

pub use clock::Phase;

/// The executor; clones share everything.
#[derive(Debug, Clone)]
pub struct Engine {
    network: Arc<Network>,
    pooler: Arc<dyn Pooler>,
}

impl Engine {
    /// Creates an executor for an architecture with its layers.
    pub fn new(
        config: &BackboneConfig,
        architecture: Architecture,
        layers: Vec<Layer>,
        pooler: Arc<dyn Pooler>,
    ) -> Self {
        Engine {
            network: Arc::new(Network::new(config, architecture, layers)),
            pooler,
        }
    }
}

impl Backbone for Engine {
    fn num_pooled(&self) -> usize {
        self.network.architecture.num_pooled()
    }

    fn num_map_features(&self) -> usize {
        self.network.architecture.num_map_features()
    }

    fn features(&self, images: &Tensor) -> Result<Features> {
        let size = check_images(images, self.network.architecture.patch())?;
        let (maps, _) = self.network.forward(images, false)?;
        let maps = Tensor::from_vec(maps.values, maps.shape, images.device())?;
        Ok(Features::new(maps, size, self.pooler.clone()))
    }

    fn forward_train(&self, images: &Tensor) -> Result<(Features, Box<dyn Tape>)> {
        let size = check_images(images, self.network.architecture.patch())?;
        let (maps, records) = self.network.forward(images, true)?;
        // The optimiser is about to change the trainable parameters, so their packed weights become
        // useless.
        self.network.release_changing();
        let maps = Var::from_vec(maps.values, maps.shape, images.device())?.into_inner();
        let features = Features::new(maps.clone(), size, self.pooler.clone());
        let pooling = InGraph::of(self.pooler.parameters());
        let network = self.network.clone();
        let tape = EngineTape::new(network, images.clone(), records, maps, pooling);
        Ok((features, Box::new(tape)))
    }

    fn parts(&self) -> Option<Parts<'_>> {
        Some(Parts {
            architecture: &self.network.architecture,
            layers: &self.network.layers,
            pooler: &*self.pooler,
        })
    }

    fn take_times(&self) -> Vec<NodeTime> {
        self.network.clock.take(&self.network.architecture)
    }
}

//! The operation of a node on a few images, with its weights prepared; common to both forward
//! passes.

use std::sync::Arc;

use super::super::architecture::{ConvNode, MaxPoolNode};
use super::super::layers::{ConvParameters, Layer, NormParameters};
use super::network::{Network, Packed};
use super::positioned::Positioned;
use super::values::values;
use crate::error::Result;
use crate::ops::attention::{self, AttentionShape};
use crate::ops::average_pool::{self, AveragePoolShape};
use crate::ops::{Activation, elementwise, gate, layer_norm, pool, tokens};

/// A node's operation, ready to run.
pub(super) enum Work<'a> {
    Conv(Arc<Packed>, Activation),
    MaxPool(&'a MaxPoolNode),
    AveragePool(AveragePoolShape),
    LayerNorm {
        epsilon: f32,
        gamma: Vec<f32>,
        beta: Vec<f32>,
    },
    /// The number of channels.
    Average(usize),
    /// The number of channels.
    Gate(usize),
    Tokens(Positioned),
    Attention(AttentionShape),
}

/// The inputs of a node.
pub(super) struct Read<'a> {
    pub input: &'a [f32],
    /// Batch, height and width of the input.
    pub dims: (usize, usize, usize),
    /// A residual branch, or the factors of a gate.
    pub second: Option<&'a [f32]>,
}

/// The outputs of a node.
pub(super) struct Written<'a> {
    pub output: &'a mut [f32],
    /// The derivatives of the activation, if they are kept.
    pub slope: Option<&'a mut [f32]>,
    /// The index of the maximum in each pooling window, if it is kept.
    pub winners: Option<&'a mut [u8]>,
}

impl<'a> Work<'a> {
    /// Prepares the operation of `layer` for an input of `size` (height and width); `weights`
    /// returns the packed weights of a convolution and the activation that follows it.
    pub(super) fn new(
        layer: &'a Layer,
        size: (usize, usize),
        weights: impl FnOnce(&ConvNode, &ConvParameters) -> Result<(Arc<Packed>, Activation)>,
    ) -> Result<Self> {
        Ok(match layer {
            Layer::Conv(node, parameters) => {
                let (weights, activation) = weights(node, parameters)?;
                Work::Conv(weights, activation)
            }
            Layer::MaxPool(pool) => Work::MaxPool(pool),
            Layer::AveragePool(pool) => Work::AveragePool(pool.shape),
            Layer::LayerNorm(norm, NormParameters { gamma, beta }) => Work::LayerNorm {
                epsilon: norm.epsilon as f32,
                gamma: values(&gamma.var)?,
                beta: values(&beta.var)?,
            },
            Layer::Average(average) => Work::Average(average.channels),
            Layer::Gate(gate) => Work::Gate(gate.channels),
            Layer::Tokens(node, parameters) => {
                Work::Tokens(Positioned::new(node, parameters, size)?)
            }
            Layer::Attention(attention) => Work::Attention(attention.shape),
        })
    }

    /// Runs the operation.
    pub(super) fn run(&self, network: &Network, read: Read, written: Written) {
        let isa = network.isa;
        let Read {
            input,
            dims,
            second,
        } = read;
        let Written {
            output,
            slope,
            winners,
        } = written;
        let pixels = dims.1 * dims.2;
        match self {
            Work::Conv(weights, activation) => match slope {
                None => network.convolve(dims, input, weights, second, *activation, output),
                Some(slope) => {
                    network.convolve(dims, input, weights, second, Activation::None, slope);
                    elementwise::activate(isa, *activation, slope, output);
                }
            },
            Work::MaxPool(node) => pool::max_pool(isa, &node.shape, dims, input, output, winners),
            Work::AveragePool(shape) => average_pool::forward(isa, shape, dims, input, output),
            Work::LayerNorm {
                epsilon,
                gamma,
                beta,
            } => layer_norm::forward(isa, gamma.len(), *epsilon, input, gamma, beta, output),
            Work::Average(channels) => {
                pool::global_average(isa, input, pixels, *channels, output);
            }
            Work::Gate(channels) => {
                let factors = second.unwrap_or_default();
                gate::forward(isa, pixels, *channels, input, factors, output);
            }
            Work::Tokens(Positioned { first, places, .. }) => {
                tokens::forward(isa, input, first, places, output);
            }
            Work::Attention(shape) => attention::forward(isa, shape, pixels, input, output),
        }
    }
}

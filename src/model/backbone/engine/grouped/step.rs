//! The parts of a node's backward pass that all groups of images share, and the gradients of its
//! parameters.

use super::super::super::architecture::{
    AttentionNode, AveragePoolNode, ConvNode, GateNode, LayerNormNode, Source, TokensNode,
};
use super::super::super::layers::{ConvParameters, Layer, NormParameters, TokensParameters};
use super::super::folded::{Folded, keep};
use super::super::low_rank::Narrow;
use super::super::network::Network;
use super::super::positioned::Positioned;
use super::super::transposed::Transposed;
use super::super::values::{values, with_values};
use super::super::weight_sums;
use crate::error::Result;
use crate::model::parameters::Gradients;

/// A node that has trainable parameters, or passes a gradient on to one that does.
pub(super) struct Step<'a> {
    pub index: usize,
    /// The start of its gradient in the sums.
    pub start: usize,
    pub len: usize,
    pub kind: Kind<'a>,
}

/// The trainable parameters of a convolution.
pub(super) enum Learning<'a> {
    /// The weights, and what is folded into them.
    All(&'a ConvParameters, Folded<'a>),
    /// The low-rank update of the weights.
    Narrow(Narrow<'a>),
    Nothing,
}

/// The operation of a node, with what its backward pass needs.
#[allow(
    clippy::large_enum_variant,
    reason = "there is one for each node, and most are convolutions"
)]
pub(super) enum Kind<'a> {
    Conv {
        node: &'a ConvNode,
        parameters: Learning<'a>,
        /// The weights packed for the gradient of its input, if that is wanted.
        weights: Option<Transposed>,
    },
    LayerNorm {
        node: &'a LayerNormNode,
        parameters: &'a NormParameters,
        gamma: Vec<f32>,
    },
    AveragePool(&'a AveragePoolNode),
    Average {
        input: usize,
    },
    Gate(&'a GateNode),
    Tokens {
        node: &'a TokensNode,
        parameters: &'a TokensParameters,
        positioned: Positioned,
    },
    Attention(&'a AttentionNode),
    /// No gradient is passed on from here.
    End,
}

impl<'a> Step<'a> {
    /// Creates the step of node `index`, whose input has this height and width and whose sums begin
    /// at `start`.
    pub(super) fn new(
        network: &'a Network,
        index: usize,
        size: (usize, usize),
        start: usize,
    ) -> Result<Self> {
        let (len, kind) = match &network.layers[index] {
            Layer::Conv(node, parameters) => {
                let folded = Folded::new(parameters)?;
                let scale = folded.scale.as_deref();
                let weights = match node.input {
                    Source::Node(input) if network.learns(input) => {
                        Some(Transposed::pack(network, node, size, parameters, scale)?)
                    }
                    _ => None,
                };
                let (len, parameters) = match (&node.low_rank, &parameters.low_rank) {
                    _ if !network.has_learning(index) => (0, Learning::Nothing),
                    (Some(low_rank), Some(own)) => {
                        let narrow = Narrow::pack(network, node, low_rank, own, scale)?;
                        (narrow.len(), Learning::Narrow(narrow))
                    }
                    _ => (weight_sums::len(node), Learning::All(parameters, folded)),
                };
                let kind = Kind::Conv {
                    node,
                    parameters,
                    weights,
                };
                (len, kind)
            }
            Layer::LayerNorm(node, parameters) => {
                let gamma = values(&parameters.gamma.var)?;
                let kind = Kind::LayerNorm {
                    node,
                    parameters,
                    gamma,
                };
                let learning = usize::from(network.has_learning(index));
                (learning * 2 * node.channels, kind)
            }
            Layer::AveragePool(node) => (0, Kind::AveragePool(node)),
            Layer::Average(node) => (0, Kind::Average { input: node.input }),
            Layer::Gate(node) => (0, Kind::Gate(node)),
            Layer::Tokens(node, parameters) => {
                let positioned = Positioned::new(node, parameters, size)?;
                let kind = Kind::Tokens {
                    node,
                    parameters,
                    positioned,
                };
                let (rows, columns) = size;
                let tokens = node.first_tokens() + rows * columns;
                (tokens * node.channels, kind)
            }
            Layer::Attention(node) => (0, Kind::Attention(node)),
            Layer::MaxPool(_) => (0, Kind::End),
        };
        Ok(Step {
            index,
            start,
            len,
            kind,
        })
    }

    /// Stores the gradients contained in the sums in `result`.
    pub(super) fn keep(
        &self,
        network: &Network,
        sums: &[f32],
        result: &mut Gradients,
    ) -> Result<()> {
        match &self.kind {
            Kind::Conv {
                node, parameters, ..
            } => match parameters {
                Learning::All(parameters, folded) => {
                    let scale = folded.scale.as_deref();
                    let parts = with_values(&parameters.weight.var, |weight| {
                        weight_sums::unpack(network.isa, node, sums, weight, scale)
                    })?;
                    folded.keep(&parameters.weight, parts, result)
                }
                Learning::Narrow(narrow) => narrow.keep(network.isa, sums, result),
                Learning::Nothing => Ok(()),
            },
            Kind::LayerNorm { .. } if sums.is_empty() => Ok(()),
            Kind::LayerNorm { parameters, .. } => {
                let (gamma, beta) = sums.split_at(sums.len() / 2);
                keep(&parameters.gamma, gamma.to_vec(), result)?;
                keep(&parameters.beta, beta.to_vec(), result)
            }
            Kind::Tokens {
                node,
                parameters,
                positioned,
            } => positioned.keep(node, parameters, sums, result),
            Kind::AveragePool(_)
            | Kind::Average { .. }
            | Kind::Gate(_)
            | Kind::Attention(_)
            | Kind::End => Ok(()),
        }
    }
}

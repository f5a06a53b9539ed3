//! The gradient of a convolution's input: weights packed for it, and the call of the kernel.

use super::super::architecture::{ConvNode, Geometry};
use super::super::layers::ConvParameters;
use super::network::Network;
use super::values::with_values;
use crate::error::Result;
use crate::ops::conv;
use crate::ops::depthwise::{self, DepthwiseShape, DepthwiseWeights};
use crate::ops::grouped::{self, GroupedShape};
use crate::ops::{Activation, BackwardWeights, ConvShape, Isa};

/// Weights of one convolution, packed for the gradient of its input.
pub(super) enum Transposed {
    Dense(ConvShape, BackwardWeights),
    Depthwise(DepthwiseShape, DepthwiseWeights),
    Grouped(GroupedShape, grouped::BackwardWeights),
}

impl Transposed {
    /// Packs the weights of `node`, whose input has this height and width, multiplied by `scale`
    /// (one value per output channel).
    pub(super) fn pack(
        network: &Network,
        node: &ConvNode,
        size: (usize, usize),
        parameters: &ConvParameters,
        scale: Option<&[f32]>,
    ) -> Result<Self> {
        with_values(&parameters.whole_weight()?, |weight| {
            match node.geometry() {
                Geometry::Depthwise(shape) => {
                    let weights = DepthwiseWeights::pack(&shape, weight, scale, None);
                    Transposed::Depthwise(shape, weights)
                }
                Geometry::Grouped(shape) => {
                    let arena = (network.isa, &network.arena);
                    let weights = grouped::BackwardWeights::pack(arena, &shape, weight, scale);
                    Transposed::Grouped(shape, weights)
                }
                Geometry::Dense(shape) => {
                    let algorithm = network.algorithm(&shape, size);
                    let arena = (network.isa, &network.arena);
                    let weights = BackwardWeights::pack(arena, &shape, algorithm, weight, scale);
                    Transposed::Dense(shape, weights)
                }
            }
        })
    }

    /// Writes the gradient of an input of `dims` (batch, height, width) to `out`, or adds it; see
    /// [`conv::input_gradient`].
    pub(super) fn apply(
        &self,
        isa: Isa,
        dims: (usize, usize, usize),
        gradient: &[f32],
        add: bool,
        mask: Option<(&[f32], Activation)>,
        out: &mut [f32],
    ) {
        match self {
            Transposed::Dense(shape, weights) => {
                conv::input_gradient(isa, shape, dims, gradient, weights, add, mask, out);
            }
            Transposed::Depthwise(shape, weights) => {
                depthwise::input_gradient(isa, shape, dims, gradient, weights, add, mask, out);
            }
            Transposed::Grouped(shape, weights) => {
                grouped::input_gradient(isa, shape, dims, gradient, weights, add, mask, out);
            }
        }
    }
}

//! Partial sums of the gradient of a convolution's weights, dense or depthwise.

use super::super::architecture::ConvNode;
use crate::ops::Isa;
use crate::ops::depthwise;
use crate::ops::weight_gradient::{self, WeightGradientParts};

/// Values of one partial sum.
pub(super) fn len(node: &ConvNode) -> usize {
    if node.depthwise {
        depthwise::gradient_len(&node.per_channel())
    } else {
        weight_gradient::gradient_len(&node.dense())
    }
}

/// Writes the sum over a few pictures, whose input has `dims` (batch, height, width), on the
/// calling thread.
pub(super) fn write(
    isa: Isa,
    node: &ConvNode,
    dims: (usize, usize, usize),
    input: &[f32],
    gradient: &[f32],
    sums: &mut [f32],
) {
    if node.depthwise {
        depthwise::partial_sums(isa, &node.per_channel(), dims, input, gradient, sums);
    } else {
        weight_gradient::partial_sums(isa, &node.dense(), dims, input, gradient, 1, sums);
    }
}

/// The gradients that a whole sum holds; see [`weight_gradient::unpack`].
pub(super) fn unpack(
    isa: Isa,
    node: &ConvNode,
    sums: &[f32],
    weight: &[f32],
    scale: Option<&[f32]>,
) -> WeightGradientParts {
    if node.depthwise {
        depthwise::unpack(&node.per_channel(), sums, weight, scale)
    } else {
        weight_gradient::unpack(isa, &node.dense(), sums, weight, scale)
    }
}

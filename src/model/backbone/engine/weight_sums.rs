//! The gradient of a convolution's weights, dense or depthwise: partial sums, and what becomes of
//! them.

use candle_core::Tensor;

use super::super::architecture::ConvNode;
use super::super::layers::ConvParameters;
use crate::error::Result;
use crate::model::parameters::Gradients;
use crate::ops::Isa;
use crate::ops::depthwise;
use crate::ops::weight_gradient::{self, WeightGradientParts};

/// Puts the gradients of a convolution and its batch norm into `result`.
pub(super) fn keep(
    result: &mut Gradients,
    parameters: &ConvParameters,
    weight: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
) -> Result<()> {
    for (parameter, values) in [
        (&parameters.weight, weight),
        (&parameters.gamma, gamma),
        (&parameters.beta, beta),
    ] {
        let var = &parameter.var;
        result.set(
            parameter,
            Tensor::from_vec(values, var.dims(), var.device())?,
        );
    }
    Ok(())
}

/// Values of one partial sum.
pub(super) fn len(node: &ConvNode) -> usize {
    if node.depthwise {
        depthwise::gradient_len(&node.per_channel())
    } else {
        weight_gradient::Layout::new(&node.dense()).len()
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

//! The gradient of a convolution's weights (dense, depthwise or grouped): partial sums, and their
//! conversion to gradients.

use super::super::architecture::{ConvNode, Geometry};
use crate::ops::depthwise;
use crate::ops::grouped;
use crate::ops::weight_gradient::{self, WeightGradientParts};
use crate::ops::{Arena, Isa};

/// Returns the number of values in one partial sum.
pub(super) fn len(node: &ConvNode) -> usize {
    match node.geometry() {
        Geometry::Dense(shape) => weight_gradient::Layout::new(&shape).len(),
        Geometry::Depthwise(shape) => depthwise::gradient_len(&shape),
        Geometry::Grouped(shape) => grouped::gradient_len(&shape),
    }
}

/// Writes the sum over a few images, whose input has `dims` (batch, height, width), on the calling
/// thread.
pub(super) fn write(
    (isa, arena): (Isa, &Arena),
    node: &ConvNode,
    dims: (usize, usize, usize),
    input: &[f32],
    gradient: &[f32],
    sums: &mut [f32],
) {
    match node.geometry() {
        Geometry::Dense(shape) => {
            weight_gradient::partial_sums(isa, &shape, dims, input, gradient, 1, sums);
        }
        Geometry::Depthwise(shape) => {
            depthwise::partial_sums(isa, &shape, dims, input, gradient, sums);
        }
        Geometry::Grouped(shape) => {
            grouped::partial_sums(isa, &shape, dims, input, gradient, arena, sums);
        }
    }
}

/// Returns the gradients contained in a complete sum; see [`weight_gradient::unpack`].
pub(super) fn unpack(
    isa: Isa,
    node: &ConvNode,
    sums: &[f32],
    weight: &[f32],
    scale: Option<&[f32]>,
) -> WeightGradientParts {
    match node.geometry() {
        Geometry::Dense(shape) => weight_gradient::unpack(isa, &shape, sums, weight, scale),
        Geometry::Depthwise(shape) => depthwise::unpack(&shape, sums, weight, scale),
        Geometry::Grouped(shape) => grouped::unpack(isa, &shape, sums, weight, scale),
    }
}

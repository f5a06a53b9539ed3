//! Convolution with groups so narrow that a vector holds several: like a depthwise convolution in
//! which an output sees every channel of its group, each through separate taps.
//!
//! Groups have the same number of outputs and inputs: 1, 2, 4 or 8. Weights are
//! `[position in the group][tap][channel]`; in the other direction, position and channel are
//! exchanged.

use super::super::activation::Activation;
use super::super::correlate::{Addend, Epilogue};
use super::super::isa::Isa;
use super::blocked::Correlation;
use super::blocked_gradient::{add_rows, knows};
use super::shape::DepthwiseShape;

/// Returns whether there is code for groups of this width.
pub(crate) fn suits(shape: &DepthwiseShape, group: usize) -> bool {
    let apart = shape.kernel / shape.stride.max(1)..=shape.kernel.div_ceil(shape.stride.max(1));
    matches!(group, 2 | 4 | 8)
        && knows(shape.kernel, shape.stride)
        && apart.clone().all(|columns| Correlation::knows(columns, 1))
}

/// Like [`super::super::conv::forward`].
#[allow(clippy::too_many_arguments)]
pub(crate) fn forward(
    isa: Isa,
    (shape, group): (&DepthwiseShape, usize),
    dims: (usize, usize, usize),
    input: &[f32],
    (weights, bias): (&[f32], Option<&[f32]>),
    residual: Option<&[f32]>,
    activation: Activation,
    output: &mut [f32],
) {
    let epilogue = Epilogue {
        bias,
        addend: residual.map_or(Addend::None, Addend::Tensor),
        activation,
        mask: None,
    };
    let pass = Correlation::forward(&shape.grid(dims), group, false);
    pass.run(isa, input, weights, output, &epilogue);
}

/// Like [`super::super::conv::input_gradient`].
#[allow(clippy::too_many_arguments)]
pub(crate) fn input_gradient(
    isa: Isa,
    (shape, group): (&DepthwiseShape, usize),
    dims: (usize, usize, usize),
    output_gradient: &[f32],
    weights: &[f32],
    accumulate: bool,
    mask: Option<(&[f32], Activation)>,
    input_gradient: &mut [f32],
) {
    let epilogue = Epilogue {
        addend: if accumulate {
            Addend::Destination
        } else {
            Addend::None
        },
        mask,
        ..Epilogue::PLAIN
    };
    for pass in Correlation::backward(&shape.grid(dims), group) {
        pass.run(isa, output_gradient, weights, input_gradient, &epilogue);
    }
}

/// Writes the gradient of weights and bias, `[position in the group][tap][channel]` followed by the
/// bias, on the calling thread.
pub(crate) fn sums(
    isa: Isa,
    (shape, group): (&DepthwiseShape, usize),
    dims: (usize, usize, usize),
    input: &[f32],
    output_gradient: &[f32],
    sums: &mut [f32],
) {
    sums.fill(0.0);
    let grid = shape.grid(dims);
    for n in 0..grid.batch {
        let rows = (n, 0..grid.rows);
        add_rows(isa, (&grid, group), rows, input, output_gradient, sums);
    }
}

//! Convolution in groups so narrow that a vector holds several: like a depthwise one, where an
//! output sees every channel of its group by taps of its own.
//!
//! Groups have as many outputs as inputs: 1, 2, 4 or 8. Weights are `[place in the group][tap]
//! [channel]`: those of the other direction change place and channel.

use super::super::activation::Activation;
use super::super::correlate::{Addend, Epilogue};
use super::super::isa::Isa;
use super::blocked::Correlation;
use super::blocked_gradient::{add_rows, knows};
use super::shape::DepthwiseShape;

/// Whether there is code for groups of this width.
pub(crate) fn suits(shape: &DepthwiseShape, group: usize) -> bool {
    let apart = shape.kernel / shape.stride.max(1)..=shape.kernel.div_ceil(shape.stride.max(1));
    matches!(group, 2 | 4 | 8)
        && knows(shape.kernel, shape.stride)
        && apart.clone().all(|columns| Correlation::knows(columns, 1))
}

/// As [`super::super::conv::forward`].
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

/// As [`super::super::conv::input_gradient`].
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

/// Writes the gradient of weights and bias: `[place in the group][tap][channel]`, then the bias, on
/// the calling thread.
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

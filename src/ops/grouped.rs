//! Convolution in groups: the channels are cut into groups, each with filters of its own.
//!
//! Neighbouring groups are bundled into blocks of about [`BLOCK`] channels, and a block is a dense
//! convolution whose filters are zero between groups: narrow groups alone would leave most lanes of
//! the register tiles empty. Kernels read and write the channels of a block where they are; only the
//! gradient of the weights copies them.

use rayon::prelude::*;

use super::activation::Activation;
use super::buffer::{Arena, Buffer};
use super::conv::{self, Algorithm, Channels};
use super::isa::Isa;
use super::shape::ConvShape;
use super::tile::PANEL;
use super::weight_gradient::{self, Layout, WeightGradientParts};

/// Channels of a block, at most, unless a single group has more.
const BLOCK: usize = PANEL;
/// Partial sums of a gradient of the weights, at most.
const CHUNKS: usize = 8;

/// A convolution in groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupedShape {
    /// Its geometry, with the channels of all groups together.
    pub conv: ConvShape,
    /// Number of groups, which divides both numbers of channels.
    pub groups: usize,
}

/// A few groups.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// As a dense convolution.
    shape: ConvShape,
    groups: usize,
    input: Channels,
    output: Channels,
}

impl GroupedShape {
    /// Number of weights, in the order `[out, in / groups, kernel, kernel]`.
    pub fn weight_len(&self) -> usize {
        self.conv.out_channels * self.filter_len()
    }

    /// Output rows (or columns) for an input of `size`.
    pub fn output_size(&self, size: usize) -> usize {
        self.conv.output_size(size)
    }

    /// Weights of an output channel.
    fn filter_len(&self) -> usize {
        self.conv.depth() / self.groups
    }

    /// The blocks in order.
    ///
    /// # Panics
    /// If the groups do not divide the channels.
    fn blocks(&self) -> impl Iterator<Item = Block> + use<> {
        let GroupedShape { conv, groups } = *self;
        assert!(groups > 0 && conv.in_channels.is_multiple_of(groups));
        assert!(conv.out_channels.is_multiple_of(groups));
        let (inputs, outputs) = (conv.in_channels / groups, conv.out_channels / groups);
        let bundle = (BLOCK / inputs.max(outputs).max(1)).max(1);
        (0..groups).step_by(bundle).map(move |first| {
            let groups = bundle.min(groups - first);
            Block {
                shape: ConvShape {
                    in_channels: groups * inputs,
                    out_channels: groups * outputs,
                    ..conv
                },
                groups,
                input: Channels {
                    first: first * inputs,
                    pitch: conv.in_channels,
                },
                output: Channels {
                    first: first * outputs,
                    pitch: conv.out_channels,
                },
            }
        })
    }
}

impl Block {
    /// Its output channels among all.
    fn outputs<'a, T>(&self, values: &'a [T]) -> &'a [T] {
        &values[self.output.first..][..self.shape.out_channels]
    }

    /// Calls `visit(weight, dense)` for every output channel: where its filter lies in the weights
    /// of the block, and where in the dense ones, which are zero elsewhere.
    fn filters(&self, mut visit: impl FnMut(std::ops::Range<usize>, std::ops::Range<usize>)) {
        let (depth, filter) = (self.shape.depth(), self.shape.depth() / self.groups);
        let outputs = self.shape.out_channels / self.groups;
        for out in 0..self.shape.out_channels {
            let dense = out * depth + out / outputs * filter;
            visit(out * filter..(out + 1) * filter, dense..dense + filter);
        }
    }

    /// Its weights as those of a dense convolution.
    fn dense(&self, weight: &[f32]) -> Vec<f32> {
        let start = self.output.first * self.shape.depth() / self.groups;
        let mut all = vec![0.0; self.shape.weight_len()];
        self.filters(|filter, dense| {
            let filter = start + filter.start..start + filter.end;
            all[dense].copy_from_slice(&weight[filter]);
        });
        all
    }
}

/// Weights packed for the forward pass, with the bias that goes with them: by block.
#[derive(Debug)]
pub struct ForwardWeights(Vec<conv::ForwardWeights>);

impl ForwardWeights {
    /// Packs `weight` `[out, in / groups, kernel, kernel]`, multiplied by `scale` (one value an
    /// output channel).
    ///
    /// # Panics
    /// If a length does not fit the shape.
    pub fn pack(
        (isa, arena): (Isa, &Arena),
        shape: &GroupedShape,
        weight: &[f32],
        scale: Option<&[f32]>,
        bias: Option<Vec<f32>>,
    ) -> Self {
        assert_eq!(weight.len(), shape.weight_len());
        let pack = |block: Block| {
            conv::ForwardWeights::pack(
                (isa, arena),
                &block.shape,
                Algorithm::Direct,
                &block.dense(weight),
                scale.map(|scale| block.outputs(scale)),
                bias.as_ref().map(|bias| block.outputs(bias).to_vec()),
            )
        };
        ForwardWeights(shape.blocks().map(pack).collect())
    }
}

/// Weights packed for the gradient of the input: by block.
#[derive(Debug)]
pub struct BackwardWeights(Vec<conv::BackwardWeights>);

impl BackwardWeights {
    /// Packs `weight`, multiplied by `scale` (one value an output channel).
    ///
    /// # Panics
    /// If a length does not fit the shape.
    pub fn pack(
        (isa, arena): (Isa, &Arena),
        shape: &GroupedShape,
        weight: &[f32],
        scale: Option<&[f32]>,
    ) -> Self {
        assert_eq!(weight.len(), shape.weight_len());
        let pack = |block: Block| {
            conv::BackwardWeights::pack(
                (isa, arena),
                &block.shape,
                Algorithm::Direct,
                &block.dense(weight),
                scale.map(|scale| block.outputs(scale)),
            )
        };
        BackwardWeights(shape.blocks().map(pack).collect())
    }
}

/// Convolution of `input` `[batch, height, width, in]` into `output`, plus residual, then the
/// activation.
///
/// # Panics
/// If a slice does not have the length that the shapes ask for.
#[allow(clippy::too_many_arguments)]
pub fn forward(
    isa: Isa,
    shape: &GroupedShape,
    dims: (usize, usize, usize),
    input: &[f32],
    weights: &ForwardWeights,
    residual: Option<&[f32]>,
    activation: Activation,
    output: &mut [f32],
) {
    for (block, weights) in shape.blocks().zip(&weights.0) {
        conv::forward_part(
            isa,
            &block.shape,
            dims,
            (input, block.input),
            weights,
            residual,
            activation,
            (&mut *output, block.output),
        );
    }
}

/// Gradient of the input; `accumulate` and `mask` as in [`conv::input_gradient`].
///
/// # Panics
/// If a slice does not have the length that the shapes ask for.
#[allow(clippy::too_many_arguments)]
pub fn input_gradient(
    isa: Isa,
    shape: &GroupedShape,
    dims: (usize, usize, usize),
    output_gradient: &[f32],
    weights: &BackwardWeights,
    accumulate: bool,
    mask: Option<(&[f32], Activation)>,
    input_gradient: &mut [f32],
) {
    for (block, weights) in shape.blocks().zip(&weights.0) {
        conv::input_gradient_part(
            isa,
            &block.shape,
            dims,
            (output_gradient, block.output),
            weights,
            accumulate,
            mask,
            (&mut *input_gradient, block.input),
        );
    }
}

/// Values of the gradient of weights and bias in the kernels' own order.
pub fn gradient_len(shape: &GroupedShape) -> usize {
    let blocks = shape.blocks();
    blocks.map(|block| Layout::new(&block.shape).len()).sum()
}

/// Gradient of weights and bias from the input and the output's gradient, in the kernels' own
/// order: the first `gradient_len` values of what is returned, see [`unpack`].
///
/// # Panics
/// If a slice does not have the length that the shapes ask for.
pub fn weight_gradient(
    isa: Isa,
    shape: &GroupedShape,
    dims: (usize, usize, usize),
    input: &[f32],
    output_gradient: &[f32],
    arena: &Arena,
) -> Buffer {
    let len = gradient_len(shape);
    let chunks = dims.0.clamp(1, CHUNKS);
    let mut partial = arena.take(chunks * len);
    let gradient = output_gradient;
    partial_sums(isa, shape, dims, input, gradient, arena, &mut partial);
    weight_gradient::sum_partial(&mut partial, len);
    partial
}

/// Writes the gradient as partial sums (`gradient_len` values each, whatever they hold): the pictures
/// are cut into as many chunks as there are partial sums.
///
/// # Panics
/// If a slice does not have the length that the shapes ask for.
pub fn partial_sums(
    isa: Isa,
    shape: &GroupedShape,
    (batch, height, width): (usize, usize, usize),
    input: &[f32],
    output_gradient: &[f32],
    arena: &Arena,
    partial: &mut [f32],
) {
    let len = gradient_len(shape);
    let (seen, made) = (
        height * width,
        shape.output_size(height) * shape.output_size(width),
    );
    assert_eq!(input.len(), batch * seen * shape.conv.in_channels);
    assert_eq!(
        output_gradient.len(),
        batch * made * shape.conv.out_channels
    );
    assert!(partial.len().is_multiple_of(len.max(1)));
    let chunks = partial.len() / len.max(1);
    let mut parts = Vec::new();
    for (chunk, mut sums) in partial.chunks_exact_mut(len.max(1)).enumerate() {
        let pictures = batch * chunk / chunks..batch * (chunk + 1) / chunks;
        for block in shape.blocks() {
            let (own, rest) = sums.split_at_mut(Layout::new(&block.shape).len());
            sums = rest;
            parts.push((pictures.clone(), block, own));
        }
    }
    parts.into_par_iter().for_each(|(pictures, block, sums)| {
        let gather = |values: &[f32], pixels: usize, from: Channels, channels: usize| {
            let range = pictures.start * pixels * from.pitch..pictures.end * pixels * from.pitch;
            let mut some = arena.take(pictures.len() * pixels * channels);
            let pixels = values[range].chunks_exact(from.pitch.max(1));
            for (to, pixel) in some.chunks_exact_mut(channels.max(1)).zip(pixels) {
                to.copy_from_slice(&pixel[from.first..][..channels]);
            }
            some
        };
        let shape = &block.shape;
        let input = gather(input, seen, block.input, shape.in_channels);
        let gradient = gather(output_gradient, made, block.output, shape.out_channels);
        let dims = (pictures.len(), height, width);
        weight_gradient::partial_sums(isa, shape, dims, &input, &gradient, 1, sums);
    });
}

/// Reorders a gradient, the first `gradient_len` values of `sums`: see
/// [`weight_gradient::unpack`]. The weights' is `[out, in / groups, kernel, kernel]`.
///
/// # Panics
/// If a length does not fit the shape.
pub fn unpack(
    isa: Isa,
    shape: &GroupedShape,
    sums: &[f32],
    weight: &[f32],
    scale: Option<&[f32]>,
) -> WeightGradientParts {
    assert_eq!(weight.len(), shape.weight_len());
    let mut sums = &sums[..gradient_len(shape)];
    let mut all = WeightGradientParts {
        weight: Vec::with_capacity(weight.len()),
        dot: Vec::with_capacity(shape.conv.out_channels),
        bias: Vec::with_capacity(shape.conv.out_channels),
    };
    for block in shape.blocks() {
        let (own, rest) = sums.split_at(Layout::new(&block.shape).len());
        sums = rest;
        let scale = scale.map(|scale| block.outputs(scale));
        let parts = weight_gradient::unpack(isa, &block.shape, own, &block.dense(weight), scale);
        block.filters(|_, dense| all.weight.extend_from_slice(&parts.weight[dense]));
        all.dot.extend(parts.dot);
        all.bias.extend(parts.bias);
    }
    all
}

#[cfg(test)]
#[path = "grouped_tests.rs"]
mod tests;

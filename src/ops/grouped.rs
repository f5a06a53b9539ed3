//! Grouped convolution: the channels are split into groups, each with its own filters.
//!
//! Groups of up to 8 channels are handled like depthwise convolution, see `depthwise::mixed`. Wider
//! groups are bundled into blocks of about [`BLOCK`] channels, and each block is computed as a
//! dense convolution whose weights are zero between different groups: single groups would leave
//! lanes of the register tiles unused. Kernels read and write the channels of a block in place;
//! only the gradient of the weights copies them.

use rayon::prelude::*;

use super::activation::Activation;
use super::buffer::{Arena, Buffer};
use super::conv::{self, Algorithm, Channels};
use super::depthwise::{DepthwiseShape, mixed};
use super::isa::Isa;
use super::shape::ConvShape;
use super::tile::PANEL;
use super::weight_gradient::{self, Layout, WeightGradientParts};

/// Maximum number of channels of a block, unless a single group has more.
const BLOCK: usize = PANEL;
/// Maximum number of partial sums of a weight gradient.
const CHUNKS: usize = 8;

/// A grouped convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupedShape {
    /// Geometry, with the channels of all groups together.
    pub conv: ConvShape,
    /// Number of groups, which divides both numbers of channels.
    pub groups: usize,
}

/// A block of consecutive groups.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// Geometry of the block as a dense convolution.
    shape: ConvShape,
    groups: usize,
    input: Channels,
    output: Channels,
}

impl GroupedShape {
    /// Returns the number of weights, in the order `[out, in / groups, kernel, kernel]`.
    pub fn weight_len(&self) -> usize {
        self.conv.out_channels * self.filter_len()
    }

    /// Returns the number of output rows (or columns) for an input of `size`.
    pub fn output_size(&self, size: usize) -> usize {
        self.conv.output_size(size)
    }

    /// Returns the number of weights of one output channel.
    fn filter_len(&self) -> usize {
        self.conv.depth() / self.groups
    }

    /// Returns the per-channel geometry and the width of the groups, if they are narrow enough for
    /// `depthwise::mixed`.
    fn narrow(&self) -> Option<(DepthwiseShape, usize)> {
        let conv = self.conv;
        let group = conv.in_channels / self.groups.max(1);
        let shape = DepthwiseShape {
            channels: conv.out_channels,
            kernel: conv.kernel,
            stride: conv.stride,
            padding: conv.padding,
        };
        let square =
            conv.in_channels == conv.out_channels && group * self.groups == conv.in_channels;
        (square && mixed::suits(&shape, group)).then_some((shape, group))
    }

    /// For narrow groups: calls `visit(weight, mixed, output channel)` for every weight with its
    /// index in PyTorch's order and in `[position in the group][tap][channel]`. If `transposed`,
    /// the position is that of the output and the channel that of the input.
    fn mixed(&self, group: usize, transposed: bool, mut visit: impl FnMut(usize, usize, usize)) {
        let (channels, area) = (self.conv.out_channels, self.conv.kernel * self.conv.kernel);
        for out in 0..channels {
            for place in 0..group {
                let (j, channel) = if transposed {
                    (out % group, out - out % group + place)
                } else {
                    (place, out)
                };
                for tap in 0..area {
                    let weight = (out * group + place) * area + tap;
                    visit(weight, (j * area + tap) * channels + channel, out);
                }
            }
        }
    }

    /// Returns the weights of narrow groups, reordered and multiplied by `scale`.
    fn mix(
        &self,
        group: usize,
        transposed: bool,
        weight: &[f32],
        scale: Option<&[f32]>,
    ) -> Vec<f32> {
        let mut all = vec![0.0; weight.len()];
        self.mixed(group, transposed, |from, to, out| {
            all[to] = weight[from] * scale.map_or(1.0, |scale| scale[out]);
        });
        all
    }

    /// Returns the blocks in order.
    ///
    /// # Panics
    /// If the number of groups does not divide the numbers of channels.
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
    /// Returns the part of `values` (one per output channel) that belongs to this block.
    fn outputs<'a, T>(&self, values: &'a [T]) -> &'a [T] {
        &values[self.output.first..][..self.shape.out_channels]
    }

    /// Calls `visit(weight, dense)` for every output channel with the range of its filter in the
    /// weights of the block and in the dense weights, which are zero elsewhere.
    fn filters(&self, mut visit: impl FnMut(std::ops::Range<usize>, std::ops::Range<usize>)) {
        let (depth, filter) = (self.shape.depth(), self.shape.depth() / self.groups);
        let outputs = self.shape.out_channels / self.groups;
        for out in 0..self.shape.out_channels {
            let dense = out * depth + out / outputs * filter;
            visit(out * filter..(out + 1) * filter, dense..dense + filter);
        }
    }

    /// Returns the weights of the block as those of a dense convolution.
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

/// Weights packed for the forward pass, together with the bias.
#[derive(Debug)]
pub struct ForwardWeights(Forward);

#[derive(Debug)]
enum Forward {
    Blocks(Vec<conv::ForwardWeights>),
    Narrow(Vec<f32>, Option<Vec<f32>>),
}

impl ForwardWeights {
    /// Packs `weight` `[out, in / groups, kernel, kernel]`, multiplied by `scale` (one value per
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
        if let Some((_, group)) = shape.narrow() {
            let mixed = shape.mix(group, false, weight, scale);
            return ForwardWeights(Forward::Narrow(mixed, bias));
        }
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
        ForwardWeights(Forward::Blocks(shape.blocks().map(pack).collect()))
    }
}

/// Weights packed for the gradient of the input.
#[derive(Debug)]
pub struct BackwardWeights(Backward);

#[derive(Debug)]
enum Backward {
    Blocks(Vec<conv::BackwardWeights>),
    Narrow(Vec<f32>),
}

impl BackwardWeights {
    /// Packs `weight`, multiplied by `scale` (one value per output channel).
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
        if let Some((_, group)) = shape.narrow() {
            let mixed = shape.mix(group, true, weight, scale);
            return BackwardWeights(Backward::Narrow(mixed));
        }
        let pack = |block: Block| {
            conv::BackwardWeights::pack(
                (isa, arena),
                &block.shape,
                Algorithm::Direct,
                &block.dense(weight),
                scale.map(|scale| block.outputs(scale)),
            )
        };
        BackwardWeights(Backward::Blocks(shape.blocks().map(pack).collect()))
    }
}

/// Writes the convolution of `input` `[batch, height, width, in]` to `output`, plus the residual,
/// followed by the activation.
///
/// # Panics
/// If the length of a slice does not match the shapes.
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
    let weights = match (&weights.0, shape.narrow()) {
        (Forward::Narrow(mixed, bias), Some((shape, group))) => {
            let weights = (mixed.as_slice(), bias.as_deref());
            return mixed::forward(
                isa,
                (&shape, group),
                dims,
                input,
                weights,
                residual,
                activation,
                output,
            );
        }
        (Forward::Blocks(blocks), _) => blocks,
        (Forward::Narrow(..), None) => panic!("weights that were packed for another shape"),
    };
    for (block, weights) in shape.blocks().zip(weights) {
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

/// Computes the gradient of the input; `accumulate` and `mask` are as in [`conv::input_gradient`].
///
/// # Panics
/// If the length of a slice does not match the shapes.
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
    let weights = match (&weights.0, shape.narrow()) {
        (Backward::Narrow(mixed), Some((shape, group))) => {
            return mixed::input_gradient(
                isa,
                (&shape, group),
                dims,
                output_gradient,
                mixed,
                accumulate,
                mask,
                input_gradient,
            );
        }
        (Backward::Blocks(blocks), _) => blocks,
        (Backward::Narrow(_), None) => panic!("weights that were packed for another shape"),
    };
    for (block, weights) in shape.blocks().zip(weights) {
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

/// Returns the number of values of the gradient of weights and bias in the kernels' own order.
pub fn gradient_len(shape: &GroupedShape) -> usize {
    if shape.narrow().is_some() {
        return shape.weight_len() + shape.conv.out_channels;
    }
    let blocks = shape.blocks();
    blocks.map(|block| Layout::new(&block.shape).len()).sum()
}

/// Returns the gradient of weights and bias from the input and the output's gradient, in the
/// kernels' own order: the first `gradient_len` values of the result, see [`unpack`].
///
/// # Panics
/// If the length of a slice does not match the shapes.
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

/// Writes the gradient as partial sums of `gradient_len` values each, overwriting their contents:
/// the pictures are split into as many chunks as there are partial sums.
///
/// # Panics
/// If the length of a slice does not match the shapes.
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
    if let Some((narrow, group)) = shape.narrow() {
        let sums = partial.par_chunks_exact_mut(len.max(1)).enumerate();
        return sums.for_each(|(chunk, sums)| {
            let pictures = batch * chunk / chunks..batch * (chunk + 1) / chunks;
            let dims = (pictures.len(), height, width);
            let part = |values: &[f32], pixels: usize| {
                let size = pixels * shape.conv.in_channels;
                pictures.start * size..(pictures.end * size).min(values.len())
            };
            let input = &input[part(input, seen)];
            let gradient = &output_gradient[part(output_gradient, made)];
            mixed::sums(isa, (&narrow, group), dims, input, gradient, sums);
        });
    }
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

/// Reorders a gradient, the first `gradient_len` values of `sums`, see [`weight_gradient::unpack`].
/// The weights' gradient is returned as `[out, in / groups, kernel, kernel]`.
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
    if let Some((_, group)) = shape.narrow() {
        let mut parts = WeightGradientParts {
            weight: vec![0.0; weight.len()],
            dot: vec![0.0; shape.conv.out_channels],
            bias: sums[weight.len()..].to_vec(),
        };
        shape.mixed(group, false, |to, from, out| {
            parts.weight[to] = sums[from] * scale.map_or(1.0, |scale| scale[out]);
            if scale.is_some() {
                parts.dot[out] += sums[from] * weight[to];
            }
        });
        return parts;
    }
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

//! Dense convolution: the forward pass and the gradient of the input.
//!
//! Weights are given in PyTorch's order `[out, in, kernel, kernel]` and are packed separately for
//! each direction. A batch norm with fixed statistics that follows is folded in while packing: its
//! scale multiplies the weights.

use std::cell::Cell;

use super::activation::Activation;
use super::buffer::{AlignedVec, Arena};
use super::correlate::{Addend, Epilogue, Panels, Scatter, correlate};
use super::isa::Isa;
use super::shape::ConvShape;
use super::tile::PANEL;
use super::window::Window;
use super::winograd::{self, PointWeights, Tiling};

/// Number of filters that are packed together.
const PACKED: usize = 16;

/// How a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Direct summation.
    Direct,
    /// Winograd's F(4x4, 3x3): a quarter of the multiplications, with a rounding error a few times
    /// larger.
    Winograd,
}

impl Algorithm {
    /// Returns the faster algorithm for pictures of this size. `winograd` says whether Winograd is
    /// allowed.
    pub fn choose(shape: &ConvShape, (height, width): (usize, usize), winograd: bool) -> Self {
        if winograd && winograd::pays(shape, height, width) {
            Algorithm::Winograd
        } else {
            Algorithm::Direct
        }
    }
}

/// Weights packed for the forward pass, together with the bias.
#[derive(Debug)]
pub struct ForwardWeights {
    packed: Forward,
    bias: Option<Vec<f32>>,
}

#[derive(Debug)]
enum Forward {
    Direct(Panels),
    Winograd(PointWeights),
}

impl ForwardWeights {
    /// Returns the algorithm that the weights are packed for.
    pub fn algorithm(&self) -> Algorithm {
        match self.packed {
            Forward::Direct(_) => Algorithm::Direct,
            Forward::Winograd(_) => Algorithm::Winograd,
        }
    }

    fn epilogue<'a>(&'a self, residual: Option<&'a [f32]>, activation: Activation) -> Epilogue<'a> {
        Epilogue {
            bias: self.bias.as_deref(),
            addend: residual.map_or(Addend::None, Addend::Tensor),
            activation,
            mask: None,
        }
    }

    /// Packs `weight`, multiplied by `scale` (one value per output channel).
    ///
    /// # Panics
    /// If a length does not fit the shape.
    pub fn pack(
        (isa, arena): (Isa, &Arena),
        shape: &ConvShape,
        algorithm: Algorithm,
        weight: &[f32],
        scale: Option<&[f32]>,
        bias: Option<Vec<f32>>,
    ) -> Self {
        assert_eq!(weight.len(), shape.weight_len());
        let packed = match algorithm {
            Algorithm::Direct => Forward::Direct(Self::pack_direct(arena, shape, weight, scale)),
            Algorithm::Winograd => {
                let arena = (isa, arena);
                Forward::Winograd(PointWeights::pack(arena, shape, false, weight, scale))
            }
        };
        ForwardWeights { packed, bias }
    }

    fn pack_direct(
        arena: &Arena,
        shape: &ConvShape,
        weight: &[f32],
        scale: Option<&[f32]>,
    ) -> Panels {
        let (channels, area) = (shape.in_channels, shape.kernel * shape.kernel);
        let depth = shape.depth();
        Panels::pack(arena, depth, shape.out_channels, |outs, panel| {
            // In a panel, the values of all filters at one position are adjacent, so the filters
            // are read in parallel.
            let scales = outs
                .clone()
                .map(|out| scale.map_or(1.0, |scale| scale[out]));
            let scales: Vec<f32> = scales.collect();
            let filters = &weight[outs.start * depth..outs.end * depth];
            // A few filters at a time: more would evict each other from the L1 cache.
            for first in (0..outs.len()).step_by(PACKED) {
                let some = first..(first + PACKED).min(outs.len());
                let filters = &filters[first * depth..];
                let scales = &scales[some.clone()];
                for channel in 0..channels {
                    for tap in 0..area {
                        let at = channel * area + tap;
                        let line = &mut panel[(tap * channels + channel) * PANEL..][some.clone()];
                        let values = filters[at..].iter().step_by(depth).zip(scales);
                        for (place, (&value, &scale)) in line.iter_mut().zip(values) {
                            *place = value * scale;
                        }
                    }
                }
            }
        })
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
    shape: &ConvShape,
    (batch, height, width): (usize, usize, usize),
    input: &[f32],
    weights: &ForwardWeights,
    residual: Option<&[f32]>,
    activation: Activation,
    output: &mut [f32],
) {
    let epilogue = weights.epilogue(residual, activation);
    let panels = match &weights.packed {
        Forward::Direct(panels) => panels,
        Forward::Winograd(weights) => {
            let tiling = Tiling::new(shape, (batch, height, width));
            return winograd::correlate(isa, &tiling, input, weights, output, &epilogue);
        }
    };
    let mut padded = PADDED.take();
    let (window, input) = padded_window(shape, (batch, height, width), input, &mut padded);
    let scatter = Scatter::whole(&window, 0, shape.out_channels);
    correlate(isa, &window, input, panels, &scatter, output, &epilogue);
    PADDED.set(padded);
}

/// A range of the channels of a tensor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Channels {
    /// Index of the first channel.
    pub first: usize,
    /// Total number of channels of the tensor.
    pub pitch: usize,
}

/// Applies [`forward`] to a range of channels of `input` and writes to a range of channels of
/// `output`; the weights must be packed for [`Algorithm::Direct`].
#[allow(clippy::too_many_arguments)]
pub(super) fn forward_part(
    isa: Isa,
    shape: &ConvShape,
    (batch, height, width): (usize, usize, usize),
    (input, from): (&[f32], Channels),
    weights: &ForwardWeights,
    residual: Option<&[f32]>,
    activation: Activation,
    (output, to): (&mut [f32], Channels),
) {
    let Forward::Direct(panels) = &weights.packed else {
        unreachable!("packed for parts by the direct sum");
    };
    let window = Window {
        first: from.first,
        pitch: from.pitch,
        ..shape.window(batch, height, width)
    };
    let scatter = Scatter::whole(&window, to.first, to.pitch);
    let epilogue = weights.epilogue(residual, activation);
    correlate(isa, &window, input, panels, &scatter, output, &epilogue);
}

thread_local! {
    /// Buffer for padded copies of pictures; taken out while in use.
    pub(super) static PADDED: Cell<AlignedVec> = Cell::default();
}

/// Returns the window of the forward pass and the source that it slides over. Pictures with few
/// channels are copied with their padding, so that a row of the window is contiguous.
pub(super) fn padded_window<'a>(
    shape: &ConvShape,
    (batch, height, width): (usize, usize, usize),
    input: &'a [f32],
    padded: &'a mut AlignedVec,
) -> (Window, &'a [f32]) {
    let window = shape.window(batch, height, width);
    assert_eq!(input.len(), window.source_len());
    let channels = shape.in_channels;
    let ((top, bottom), (left, right)) = (shape.zeros(height), shape.zeros(width));
    if channels >= 16 || top + bottom + left + right == 0 || window.positions() == 0 {
        return (window, input);
    }
    let (rows, columns) = (height + top + bottom, width + left + right);
    padded.resize(batch * rows * columns * channels);
    let (line, border) = (columns * channels, left * channels);
    for (index, row) in padded.chunks_exact_mut(line).enumerate() {
        let y = (index % rows).wrapping_sub(top);
        if y < height {
            let from = (index / rows * height + y) * width * channels;
            let pixels = border..border + width * channels;
            row[..border].fill(0.0);
            row[pixels.clone()].copy_from_slice(&input[from..from + width * channels]);
            row[pixels.end..].fill(0.0);
        } else {
            row.fill(0.0);
        }
    }
    let window = Window {
        height: rows,
        width: columns,
        top: 0,
        left: 0,
        ..window
    };
    (window, padded)
}

/// Weights packed for the gradient of the input: with a strided kernel, different input pixels are
/// reached by different taps, so there is one set for each class of input pixels.
#[derive(Debug)]
pub struct BackwardWeights(Backward);

#[derive(Debug)]
enum Backward {
    /// Indexed by the first tap of the rows, then of the columns.
    Direct(Vec<Panels>),
    Winograd(PointWeights),
}

/// The taps in one dimension whose distance is a multiple of the stride: those that reach the input
/// rows (or columns) with a given remainder modulo the stride.
#[derive(Debug, Clone, Copy)]
struct Class {
    /// The first tap; the others follow at intervals of the stride.
    first: usize,
    /// Number of taps; may be 0.
    count: usize,
}

impl Class {
    fn new(shape: &ConvShape, first: usize) -> Self {
        let count = shape.kernel.saturating_sub(first).div_ceil(shape.stride);
        Class { first, count }
    }

    /// Returns the kernel tap at position `index` of the window, which traverses the taps in
    /// reverse.
    fn tap(&self, index: usize, stride: usize) -> usize {
        self.first + stride * (self.count - 1 - index)
    }
}

/// The input rows (or columns) with a given remainder modulo the stride.
#[derive(Debug, Clone, Copy)]
struct Strided {
    /// The remainder.
    remainder: usize,
    /// Number of these rows (or columns).
    pixels: usize,
    /// The taps that reach them.
    class: Class,
    /// Output row that the last tap connects with input row `remainder`.
    start: isize,
}

impl Strided {
    fn new(shape: &ConvShape, size: usize, remainder: usize) -> Self {
        // Input row i = remainder + stride * t contributes to output row o through tap k where
        // i + padding = o * stride + k, hence k = first + stride * j and
        // o = t + (remainder + padding - first) / stride - j.
        let (padding, _) = shape.zeros(size);
        let class = Class::new(shape, (remainder + padding) % shape.stride);
        let zeroth = ((remainder + padding) / shape.stride) as isize;
        Strided {
            remainder,
            pixels: size.saturating_sub(remainder).div_ceil(shape.stride),
            class,
            start: zeroth - (class.count as isize - 1),
        }
    }
}

impl BackwardWeights {
    /// Packs `weight`, multiplied by `scale` (one value per output channel).
    ///
    /// # Panics
    /// If a length does not fit the shape.
    pub fn pack(
        (isa, arena): (Isa, &Arena),
        shape: &ConvShape,
        algorithm: Algorithm,
        weight: &[f32],
        scale: Option<&[f32]>,
    ) -> Self {
        assert_eq!(weight.len(), shape.weight_len());
        BackwardWeights(match algorithm {
            Algorithm::Direct => Backward::Direct(Self::pack_direct(arena, shape, weight, scale)),
            Algorithm::Winograd => {
                let arena = (isa, arena);
                Backward::Winograd(PointWeights::pack(arena, shape, true, weight, scale))
            }
        })
    }

    fn pack_direct(
        arena: &Arena,
        shape: &ConvShape,
        weight: &[f32],
        scale: Option<&[f32]>,
    ) -> Vec<Panels> {
        let (kernel, area) = (shape.kernel, shape.kernel * shape.kernel);
        let mut classes = Vec::new();
        for y in (0..shape.stride).map(|first| Class::new(shape, first)) {
            for x in (0..shape.stride).map(|first| Class::new(shape, first)) {
                let depth = y.count * x.count * shape.out_channels;
                let panels = Panels::pack(arena, depth, shape.in_channels, |channels, panel| {
                    for out in 0..shape.out_channels {
                        let scale = scale.map_or(1.0, |scale| scale[out]);
                        let start = (out * shape.in_channels + channels.start) * area;
                        let filters = &weight[start..start + channels.len() * area];
                        for row in 0..y.count {
                            for column in 0..x.count {
                                let tap =
                                    y.tap(row, shape.stride) * kernel + x.tap(column, shape.stride);
                                let k = (row * x.count + column) * shape.out_channels + out;
                                let line = &mut panel[k * PANEL..][..PANEL];
                                let values = filters[tap..].iter().step_by(area);
                                for (place, &value) in line.iter_mut().zip(values) {
                                    *place = value * scale;
                                }
                            }
                        }
                    }
                });
                classes.push(panels);
            }
        }
        classes
    }
}

/// Computes the gradient of the input from that of the output. With `accumulate`, the result is
/// added to the contents of `input_gradient`. `mask` holds the activation that produced the input
/// and the values from which its derivative is obtained (see [`Activation::mask`]); it turns the
/// result into the gradient before that activation.
///
/// # Panics
/// If the length of a slice does not match the shapes.
#[allow(clippy::too_many_arguments)]
pub fn input_gradient(
    isa: Isa,
    shape: &ConvShape,
    dims: (usize, usize, usize),
    output_gradient: &[f32],
    weights: &BackwardWeights,
    accumulate: bool,
    mask: Option<(&[f32], Activation)>,
    input_gradient: &mut [f32],
) {
    let all = |pitch| Channels { first: 0, pitch };
    input_gradient_part(
        isa,
        shape,
        dims,
        (output_gradient, all(shape.out_channels)),
        weights,
        accumulate,
        mask,
        (input_gradient, all(shape.in_channels)),
    );
}

/// Applies [`input_gradient`] to a range of channels; weights packed for Winograd need all
/// channels.
#[allow(clippy::too_many_arguments)]
pub(super) fn input_gradient_part(
    isa: Isa,
    shape: &ConvShape,
    (batch, height, width): (usize, usize, usize),
    (output_gradient, from): (&[f32], Channels),
    weights: &BackwardWeights,
    accumulate: bool,
    mask: Option<(&[f32], Activation)>,
    (input_gradient, to): (&mut [f32], Channels),
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
    let classes = match &weights.0 {
        Backward::Direct(classes) => classes,
        Backward::Winograd(weights) => {
            let tiling = Tiling::transposed(shape, (batch, height, width));
            let gradient = output_gradient;
            return winograd::correlate(isa, &tiling, gradient, weights, input_gradient, &epilogue);
        }
    };
    let rows = (0..shape.stride).map(|remainder| Strided::new(shape, height, remainder));
    for y in rows {
        let columns = (0..shape.stride).map(|remainder| Strided::new(shape, width, remainder));
        for x in columns {
            let window = Window {
                batch,
                height: shape.output_size(height),
                width: shape.output_size(width),
                channels: shape.out_channels,
                first: from.first,
                pitch: from.pitch,
                grid_height: y.pixels,
                grid_width: x.pixels,
                step: 1,
                top: y.start,
                left: x.start,
                kernel_height: y.class.count,
                kernel_width: x.class.count,
            };
            let scatter = Scatter {
                height,
                width,
                step: shape.stride,
                top: y.remainder,
                left: x.remainder,
                first: to.first,
                pitch: to.pitch,
            };
            correlate(
                isa,
                &window,
                output_gradient,
                &classes[y.class.first * shape.stride + x.class.first],
                &scatter,
                input_gradient,
                &epilogue,
            );
        }
    }
}

#[cfg(test)]
#[path = "conv_tests.rs"]
mod tests;

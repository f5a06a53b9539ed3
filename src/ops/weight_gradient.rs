//! Gradient of a dense convolution's weights and bias.
//!
//! The sum runs over pixels. Where the gradient is small it stays in cache and the pixels are cut
//! into chunks, whose number depends on the shape alone, each with a partial sum of its own;
//! where it is large the gradient itself is divided. No two threads add to the same place and the
//! order of summation never changes.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::buffer::{AlignedVec, Arena, Buffer};
use super::conv::{Algorithm, ConvShape, PADDED, padded_window};
use super::disjoint::Disjoint;
use super::isa::{Arithmetic, Isa, Op};
use super::tile::{Outer, PANEL};
use super::window::Window;
use super::winograd;

/// Input and output gradient (in values) of a block of pixels, which stay in the L2 cache.
const BLOCK_LEN: usize = 160 * 1024;
/// Pixels of a block.
const PIXELS: Range<usize> = 64..128;
/// A task's part of the gradient (in values), which stays in L2 as well.
const TASK_LEN: usize = 160 * 1024;
/// The work is cut into at least about so many tasks, if the pixels allow.
const TASKS: usize = 8;
/// Channels of the input of one call of the kernel, at most: what keeps a piece in L1.
const CHANNELS: usize = 56;

/// The gradient with respect to the folded weights, in the kernels' own order.
pub struct WeightGradient {
    shape: ConvShape,
    /// `[depth + 1][out]`, rows filled up to whole panels; the last row is the bias.
    data: Buffer,
}

/// The gradient in PyTorch's order.
pub struct WeightGradientParts {
    /// `[out, in, kernel, kernel]`.
    pub weight: Vec<f32>,
    /// Sum over each filter of its gradient times its weight, before the scale is applied: what the
    /// scale of a folded batch norm needs. Zeros without a scale.
    pub dot: Vec<f32>,
    /// `[out]`.
    pub bias: Vec<f32>,
}

thread_local! {
    /// What the pixels of a block see; a panel of their output gradients.
    static SCRATCH: RefCell<(Vec<*const f32>, AlignedVec)> = RefCell::default();
}

/// Values of the gradient in the kernels' own order.
pub fn gradient_len(shape: &ConvShape) -> usize {
    (shape.depth() + 1) * shape.out_channels.next_multiple_of(PANEL)
}

/// Computes the gradient from the input and the output's gradient.
///
/// # Panics
/// If a slice does not have the length that the shapes ask for.
pub fn weight_gradient(
    isa: Isa,
    shape: &ConvShape,
    algorithm: Algorithm,
    dims: (usize, usize, usize),
    input: &[f32],
    output_gradient: &[f32],
    arena: &Arena,
) -> WeightGradient {
    let len = gradient_len(shape);
    if algorithm == Algorithm::Winograd {
        let mut data = arena.take(len);
        winograd::weight_gradient(isa, shape, dims, input, output_gradient, arena, &mut data);
        return WeightGradient {
            shape: *shape,
            data,
        };
    }
    let window = shape.window(dims.0, dims.1, dims.2);
    let chunks = if len <= TASK_LEN {
        TASKS.min(window.positions().div_ceil(PIXELS.start)).max(1)
    } else {
        1
    };
    let mut partial = arena.zeros(chunks * len);
    accumulate(
        isa,
        shape,
        dims,
        input,
        output_gradient,
        TASKS,
        &mut partial,
    );
    sum_partial(&mut partial, len);
    WeightGradient {
        shape: *shape,
        data: partial,
    }
}

/// Adds the gradient to partial sums (`gradient_len` values each): the pixels are cut into as many
/// chunks as there are partial sums. The work is cut into about `tasks` pieces, if possible.
///
/// # Panics
/// If a slice does not have the length that the shapes ask for.
pub fn accumulate(
    isa: Isa,
    shape: &ConvShape,
    (batch, height, width): (usize, usize, usize),
    input: &[f32],
    output_gradient: &[f32],
    tasks: usize,
    partial: &mut [f32],
) {
    let mut padded = PADDED.take();
    let (window, input) = padded_window(shape, (batch, height, width), input, &mut padded);
    let positions = window.positions();
    let columns = shape.out_channels;
    assert_eq!(output_gradient.len(), positions * columns);
    let len = gradient_len(shape);
    assert!(partial.len().is_multiple_of(len));
    let chunks = partial.len() / len;
    let panels = columns.div_ceil(PANEL);
    let stride = panels * PANEL;

    // Parts of the gradient: first by pieces of what a pixel sees, then by channels in a piece.
    let (taps, run) = (window.taps(), window.run());
    let wanted = tasks.div_ceil(chunks).max(len.div_ceil(TASK_LEN));
    let (tap_parts, run_parts) = if chunks > 1 || taps == 0 {
        (1, 1)
    } else {
        let tap_parts = wanted.min(taps);
        (
            tap_parts,
            wanted.div_ceil(tap_parts).min(run.div_ceil(14)).max(1),
        )
    };
    let shared = Disjoint::new(partial);
    let task = Task {
        isa,
        window: &window,
        input,
        output_gradient,
        columns,
        stride,
        zeros: &vec![0.0; run],
        gradient: &shared,
    };
    (0..chunks * tap_parts * run_parts)
        .into_par_iter()
        .for_each(|index| {
            let (chunk, part) = (
                index / (tap_parts * run_parts),
                index % (tap_parts * run_parts),
            );
            let cut = |size: usize, part: usize, parts: usize| {
                size * part / parts..size * (part + 1) / parts
            };
            SCRATCH.with_borrow_mut(|(pointers, panel)| {
                task.run(
                    chunk * len,
                    cut(positions, chunk, chunks),
                    cut(taps, part / run_parts, tap_parts),
                    cut(run, part % run_parts, run_parts),
                    part == 0,
                    pointers,
                    panel,
                );
            });
        });
    PADDED.set(padded);
}

#[derive(Clone, Copy)]
struct Task<'a> {
    isa: Isa,
    window: &'a Window,
    input: &'a [f32],
    output_gradient: &'a [f32],
    columns: usize,
    stride: usize,
    zeros: &'a [f32],
    gradient: &'a Disjoint<'a>,
}

impl Task<'_> {
    /// Adds the sum over `positions` to the rows of `taps` times `channels`, and to the bias.
    #[allow(clippy::too_many_arguments)]
    fn run(
        self,
        start: usize,
        positions: Range<usize>,
        taps: Range<usize>,
        channels: Range<usize>,
        bias: bool,
        pointers: &mut Vec<*const f32>,
        panel: &mut AlignedVec,
    ) {
        let run = self.window.run();
        let block = (BLOCK_LEN / (channels.len() + self.columns)).clamp(PIXELS.start, PIXELS.end);
        let mut position = self.window.position(positions.start);
        for first in positions.clone().step_by(block) {
            let pixels = (positions.end - first).min(block);
            pointers.clear();
            pointers.resize(taps.len() * pixels, std::ptr::null());
            if self.window.is_identity() {
                let channels = self.window.channels;
                let seen = &self.input[first * channels..(first + pixels) * channels];
                for (place, seen) in pointers.iter_mut().zip(seen.chunks_exact(channels)) {
                    *place = seen.as_ptr();
                }
            }
            for pixel in (0..pixels).take_while(|_| !self.window.is_identity()) {
                self.window
                    .taps_of(self.input, self.zeros, position, |tap, seen| {
                        if taps.contains(&tap) {
                            pointers[(tap - taps.start) * pixels + pixel] = seen.as_ptr();
                        }
                    });
                position = self.window.next(position);
            }
            if self.window.is_identity() {
                // The next block's inputs: later they are read channel by channel, in strides that
                // no hardware prefetcher follows.
                let channels = self.window.channels;
                let next = (first + pixels) * channels;
                prefetch(&self.input[next..(next + pixels * channels).min(self.input.len())]);
            }
            panel.resize(pixels * PANEL);
            for column in (0..self.columns).step_by(PANEL) {
                let wanted = (self.columns - column).min(PANEL);
                let bias_at = start + self.window.depth() * self.stride + column;
                self.isa.run(Load {
                    gradient: &self.output_gradient[first * self.columns..]
                        [..pixels * self.columns],
                    columns: self.columns,
                    first: column,
                    panel,
                    // SAFETY: the bias of a chunk belongs to its first task.
                    bias: bias.then(|| unsafe { self.gradient.range(bias_at, PANEL) }),
                });
                for tap in taps.clone() {
                    for from in channels.clone().step_by(CHANNELS) {
                        let rows = (channels.end - from).min(CHANNELS);
                        for row in 0..rows {
                            let at = start + (tap * run + from + row) * self.stride + column;
                            // SAFETY: a row of a chunk belongs to one task. The slice is used for
                            // the check of its bounds alone.
                            let _ = unsafe { self.gradient.range(at, PANEL) };
                        }
                        let at = start + (tap * run + from) * self.stride + column;
                        let outer = Outer {
                            pixels: &pointers[(tap - taps.start) * pixels..][..pixels],
                            from,
                            rows,
                            columns: panel,
                            // SAFETY: `range` checks the bounds.
                            gradient: unsafe { self.gradient.range(at, PANEL) }.as_mut_ptr(),
                            stride: self.stride,
                            wanted,
                        };
                        // SAFETY: the pointers come from slices of `run` values, of which `from`
                        // to `from + rows` lie in `channels`; the rows of the gradient were
                        // checked above and belong to this task.
                        unsafe { outer.run(self.isa) };
                    }
                }
            }
        }
    }
}

/// Asks for values to be brought to the L2 cache.
fn prefetch(values: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(16) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch does not access memory as the language sees it, and every x86-64
        // processor has the instruction.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// Copies one panel of channels of the output gradient of a block of pixels, with zeros where it
/// has less; adds their sum to the bias.
struct Load<'a> {
    gradient: &'a [f32],
    columns: usize,
    first: usize,
    panel: &'a mut [f32],
    bias: Option<&'a mut [f32]>,
}

impl Op for Load<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let count = (self.columns - self.first).min(PANEL);
        let rows = self.gradient.chunks_exact(self.columns);
        let mut sums = [0.0f32; PANEL];
        for (row, line) in rows.zip(self.panel.chunks_exact_mut(PANEL)) {
            let row = &row[self.first..self.first + count];
            if count == PANEL {
                line.copy_from_slice(&row[..PANEL]);
            } else {
                line[..count].copy_from_slice(row);
                line[count..].fill(0.0);
            }
            for (s, &v) in sums.iter_mut().zip(line.iter()) {
                *s += v;
            }
        }
        if let Some(bias) = self.bias {
            for (b, s) in bias.iter_mut().zip(sums) {
                *b += s;
            }
        }
    }
}

/// Adds all partial sums to the first, in order.
pub fn sum_partial(partial: &mut [f32], len: usize) {
    const CHUNK: usize = 4096;
    let (data, rest) = partial.split_at_mut(len);
    if rest.is_empty() {
        return;
    }
    data.par_chunks_mut(CHUNK).enumerate().for_each(|(i, sum)| {
        for other in rest.chunks_exact(len) {
            for (s, &o) in sum.iter_mut().zip(&other[i * CHUNK..]) {
                *s += o;
            }
        }
    });
}

impl WeightGradient {
    /// See [`unpack`].
    ///
    /// # Panics
    /// If a length does not fit the shape.
    pub fn unpack(&self, isa: Isa, weight: &[f32], scale: Option<&[f32]>) -> WeightGradientParts {
        unpack(isa, &self.shape, &self.data, weight, scale)
    }
}

/// Reorders a gradient, the first `gradient_len` values of `data`; that of the weights is
/// multiplied by `scale` (one value an output channel), `weight` are the weights before the scale.
///
/// # Panics
/// If a length does not fit the shape.
pub fn unpack(
    isa: Isa,
    shape: &ConvShape,
    data: &[f32],
    weight: &[f32],
    scale: Option<&[f32]>,
) -> WeightGradientParts {
    let depth = shape.depth();
    assert_eq!(weight.len(), shape.weight_len());
    let data = &data[..gradient_len(shape)];
    let stride = shape.out_channels.next_multiple_of(PANEL);
    let bias = &data[depth * stride..][..shape.out_channels];
    let mut parts = WeightGradientParts {
        weight: vec![0.0; shape.weight_len()],
        dot: vec![0.0; shape.out_channels],
        bias: bias.to_vec(),
    };
    if depth == 0 {
        return parts;
    }
    parts
        .weight
        .par_chunks_mut(depth * UNPACK)
        .zip(parts.dot.par_chunks_mut(UNPACK))
        .zip(weight.par_chunks(depth * UNPACK))
        .enumerate()
        .for_each(|(index, ((filters, dots), weight))| {
            isa.run(Unpack {
                shape: *shape,
                data,
                stride,
                first: index * UNPACK,
                filters,
                dots,
                weight,
                scale: scale.map(|scale| &scale[index * UNPACK..]),
            });
        });
    parts
}

/// Filters that are unpacked side by side.
const UNPACK: usize = 16;

struct Unpack<'a> {
    shape: ConvShape,
    data: &'a [f32],
    stride: usize,
    first: usize,
    filters: &'a mut [f32],
    dots: &'a mut [f32],
    weight: &'a [f32],
    scale: Option<&'a [f32]>,
}

impl Op for Unpack<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let (shape, data, stride) = (&self.shape, self.data, self.stride);
        let (channels, area) = (shape.in_channels, shape.kernel * shape.kernel);
        let depth = shape.depth();
        for channel in 0..channels {
            for tap in 0..area {
                let row = &data[(tap * channels + channel) * stride + self.first..];
                let places = self.filters[channel * area + tap..]
                    .iter_mut()
                    .step_by(depth);
                for (place, &value) in places.zip(row) {
                    *place = value;
                }
            }
        }
        let Some(scale) = self.scale else {
            return;
        };
        let filters = self.filters.chunks_exact_mut(depth).zip(scale);
        let rows = self.weight.chunks_exact(depth).zip(self.dots);
        for ((filter, &scale), (weight, dot)) in filters.zip(rows) {
            let mut sums = [0.0f64; 16];
            for (filter, weight) in filter.chunks_mut(16).zip(weight.chunks(16)) {
                for ((sum, gradient), &w) in sums.iter_mut().zip(filter).zip(weight) {
                    *sum += f64::from(*gradient) * f64::from(w);
                    *gradient *= scale;
                }
            }
            *dot = sums.iter().sum::<f64>() as f32;
        }
    }
}

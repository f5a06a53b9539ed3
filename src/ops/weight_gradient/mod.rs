//! Gradient of a dense convolution's weights and bias.
//!
//! The sum runs over pixels. Where the gradient is small it stays in cache and the pixels are cut
//! into chunks, whose number depends on the shape alone, each with a partial sum of its own;
//! where it is large the gradient itself is divided. No two threads add to the same place and the
//! order of summation never changes.

mod unpack;

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::buffer::{AlignedVec, Arena, Buffer};
use super::conv::{Algorithm, ConvShape, PADDED, padded_window};
use super::disjoint::Disjoint;
use super::isa::{Arithmetic, Isa, Op};
use super::tile::{Outer, PANEL};
use super::window::{Position, Window};
use super::winograd;

pub use unpack::{WeightGradientParts, unpack};

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
/// From so many columns on it pays to copy what the pixels see.
const COPIED_COLUMNS: usize = 128;

/// What a task writes for itself.
#[derive(Default)]
struct Scratch {
    /// Where the values are that the pixels of a block see.
    pointers: Vec<*const f32>,
    /// Copies of them.
    copies: AlignedVec,
    /// A panel of the pixels' output gradients.
    panel: AlignedVec,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Values of the gradient in the kernels' own order, `[depth + 1][out]`, rows filled up to whole
/// panels; the last row is the bias.
pub fn gradient_len(shape: &ConvShape) -> usize {
    (shape.depth() + 1) * shape.out_channels.next_multiple_of(PANEL)
}

/// The gradient from the input and the output's gradient, in the kernels' own order: the first
/// `gradient_len` values of what is returned, see [`unpack`].
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
) -> Buffer {
    let len = gradient_len(shape);
    if algorithm == Algorithm::Winograd {
        let mut data = arena.take(len);
        winograd::weight_gradient(isa, shape, dims, input, output_gradient, arena, &mut data);
        return data;
    }
    let window = shape.window(dims.0, dims.1, dims.2);
    let chunks = if len <= TASK_LEN {
        TASKS.min(window.positions().div_ceil(PIXELS.start)).max(1)
    } else {
        1
    };
    let mut partial = arena.take(chunks * len);
    partial_sums(
        isa,
        shape,
        dims,
        input,
        output_gradient,
        TASKS,
        &mut partial,
    );
    sum_partial(&mut partial, len);
    partial
}

/// Writes the gradient as partial sums (`gradient_len` values each, whatever they hold): the pixels
/// are cut into as many chunks as there are partial sums. The work is cut into about `tasks`
/// pieces, if possible.
///
/// # Panics
/// If a slice does not have the length that the shapes ask for.
#[allow(clippy::too_many_arguments)]
pub fn partial_sums(
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

    // Parts of the gradient: by rows (first by taps, then by channels) and by columns.
    let (taps, run) = (window.taps(), window.run());
    let wanted = tasks.div_ceil(chunks).max(len.div_ceil(TASK_LEN));
    let (down, column_parts) = if chunks > 1 {
        (1, 1)
    } else {
        parts(taps * run, panels, wanted)
    };
    let tap_parts = down.min(taps).max(1);
    let run_parts = down.div_ceil(tap_parts).min(run.div_ceil(14)).max(1);
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
    let parts = tap_parts * run_parts * column_parts;
    (0..chunks * parts).into_par_iter().for_each(|index| {
        let (chunk, part) = (index / parts, index % parts);
        let (rows, across) = (part / column_parts, part % column_parts);
        let cut =
            |size: usize, part: usize, parts: usize| size * part / parts..size * (part + 1) / parts;
        let wide = cut(panels, across, column_parts);
        SCRATCH.with_borrow_mut(|scratch| {
            task.run(
                chunk * len,
                cut(positions, chunk, chunks),
                (
                    cut(taps, rows / run_parts, tap_parts),
                    cut(run, rows % run_parts, run_parts),
                ),
                wide.start * PANEL..(wide.end * PANEL).min(columns),
                rows == 0,
                scratch,
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
    /// Writes the sum over `positions` to the rows of `taps` times `channels`, and to the bias.
    #[allow(clippy::too_many_arguments)]
    fn run(
        self,
        start: usize,
        positions: Range<usize>,
        (taps, channels): (Range<usize>, Range<usize>),
        columns: Range<usize>,
        bias: bool,
        scratch: &mut Scratch,
    ) {
        let part = self.part(taps, channels, columns);
        self.clear(start, &part, bias);
        let seen = (part.taps.len() * part.channels.len()).max(1);
        let block = (BLOCK_LEN / (seen + part.columns.len())).clamp(PIXELS.start, PIXELS.end);
        let mut position = self.window.position(positions.start);
        for first in positions.clone().step_by(block) {
            let pixels = (positions.end - first).min(block);
            position = self.find(&part, position, first, pixels, scratch);
            let Scratch {
                pointers, panel, ..
            } = scratch;
            panel.resize(pixels * PANEL);
            for column in part.columns.clone().step_by(PANEL) {
                let wanted = (self.columns - column).min(PANEL);
                let bias_at = start + self.window.depth() * self.stride + column;
                self.isa.run(Load {
                    gradient: &self.output_gradient[first * self.columns..]
                        [..pixels * self.columns],
                    columns: self.columns,
                    first: column,
                    panel,
                    // SAFETY: these columns of the bias of a chunk belong to one task.
                    bias: bias.then(|| unsafe { self.gradient.range(bias_at, PANEL) }),
                });
                for (piece, pointers) in pointers.chunks_exact(pixels).enumerate() {
                    let tap = part.taps.start + piece / part.pieces;
                    let channels = part.piece(piece % part.pieces);
                    let row = |channel| {
                        let row = tap * self.window.run() + channel;
                        let at = start + row * self.stride + column;
                        // SAFETY: these columns of a row of a chunk belong to one task.
                        unsafe { self.gradient.range(at, PANEL) }
                    };
                    // Checks the bounds of every row.
                    for channel in channels.clone() {
                        let _ = row(channel);
                    }
                    let outer = Outer {
                        pixels: pointers,
                        from: 0,
                        rows: channels.len(),
                        columns: panel,
                        gradient: row(channels.start).as_mut_ptr(),
                        stride: self.stride,
                        wanted,
                    };
                    // SAFETY: the pointers lead to slices of as many values as there are channels
                    // in the piece; the rows of the gradient were checked above and belong to this
                    // task.
                    unsafe { outer.run(self.isa) };
                }
            }
        }
    }

    /// Fills a part of the gradient with zeros.
    fn clear(&self, start: usize, part: &Part, bias: bool) {
        let rows = part.taps.clone().flat_map(|tap| {
            let row = tap * self.window.run();
            row + part.channels.start..row + part.channels.end
        });
        let width = part.columns.len().next_multiple_of(PANEL);
        for row in rows.chain(bias.then_some(self.window.depth())) {
            let at = start + row * self.stride + part.columns.start;
            // SAFETY: these columns of a row of a chunk belong to one task, as do those of the
            // bias to the first task of its columns.
            unsafe { self.gradient.range(at, width) }.fill(0.0);
        }
    }

    fn part(&self, taps: Range<usize>, channels: Range<usize>, columns: Range<usize>) -> Part {
        Part {
            pieces: channels.len().div_ceil(CHANNELS).max(1),
            copied: columns.len() >= COPIED_COLUMNS,
            taps,
            channels,
            columns,
        }
    }

    /// For each tap, piece of channels and pixel: where its values are. Where they are used for
    /// many columns they are copied first: whole rows of pixels lie at distances at which they
    /// would drive each other out of the cache.
    fn find(
        &self,
        part: &Part,
        mut position: Position,
        first: usize,
        pixels: usize,
        scratch: &mut Scratch,
    ) -> Position {
        let (pieces, taps) = (part.pieces, &part.taps);
        let Scratch {
            pointers, copies, ..
        } = scratch;
        pointers.clear();
        pointers.resize(taps.len() * pieces * pixels, std::ptr::null());
        if part.copied {
            copies.resize(pointers.len() * CHANNELS);
        }
        let mut keep = |tap: usize, pixel: usize, seen: &[f32]| {
            for piece in 0..pieces {
                let values = &seen[part.piece(piece)];
                let place = ((tap - taps.start) * pieces + piece) * pixels + pixel;
                pointers[place] = if part.copied {
                    let copy = &mut copies[place * CHANNELS..][..values.len()];
                    copy.copy_from_slice(values);
                    copy.as_ptr()
                } else {
                    values.as_ptr()
                };
            }
        };
        if self.window.is_identity() {
            let channels = self.window.channels;
            let seen = &self.input[first * channels..(first + pixels) * channels];
            for (pixel, seen) in seen.chunks_exact(channels).enumerate() {
                keep(0, pixel, seen);
            }
            return position;
        }
        for pixel in 0..pixels {
            self.window
                .taps_of(self.input, self.zeros, position, |tap, seen| {
                    if taps.contains(&tap) {
                        keep(tap, pixel, seen);
                    }
                });
            position = self.window.next(position);
        }
        position
    }
}

/// A part of the gradient.
struct Part {
    taps: Range<usize>,
    channels: Range<usize>,
    columns: Range<usize>,
    /// Into how many pieces the channels are cut, each small enough for the L1 cache.
    pieces: usize,
    /// Whether what pixels see is copied.
    copied: bool,
}

impl Part {
    fn piece(&self, index: usize) -> Range<usize> {
        let cut = |index: usize| self.channels.start + self.channels.len() * index / self.pieces;
        cut(index)..cut(index + 1)
    }
}

/// How many parts a gradient of `rows` x `panels` panels is cut into, in both directions, if there
/// are to be at least `wanted`: in such a way that least is read in all.
fn parts(rows: usize, panels: usize, wanted: usize) -> (usize, usize) {
    let candidates = (1..=panels.min(wanted)).map(|across| (wanted.div_ceil(across), across));
    candidates
        .min_by_key(|&(down, across)| rows.div_ceil(down) + panels.div_ceil(across) * PANEL)
        .unwrap_or((1, 1))
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

//! Gradient of a dense convolution's weights and bias.
//!
//! The gradient is a sum over pixels. The pixels are split into chunks, each with its own partial
//! sum, and the gradient into parts, in a way that depends on the shape alone: no two threads add
//! to the same element, and the order of summation never changes. A task processes its pixels in
//! blocks that stay in cache, copied so that the register tiles read consecutive cache lines.

mod block;
mod unpack;

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};

use rayon::prelude::*;

use super::buffer::{AlignedVec, Arena, Buffer};
use super::conv::{Algorithm, PADDED, padded_window};
use super::disjoint::Disjoint;
use super::isa::Isa;
use super::shape::ConvShape;
use super::tile::{Outer, PANEL};
use super::winograd;
use block::{AddRows, Ahead, Copy, Load, Part, Pixels, apart};

pub use unpack::{WeightGradientParts, unpack};

/// Number of values of input and output gradient of a block of pixels, which stay in the L2 cache.
const BLOCK_LEN: usize = 160 * 1024;
/// Number of pixels of a block.
const PIXELS: Range<usize> = 64..128;
/// Number of values of a task's part of the gradient, which stays in L2 as well.
const TASK_LEN: usize = 160 * 1024;
/// The work is split into at least about this many tasks, if there are enough pixels.
const TASKS: usize = 8;

/// Scratch memory of a task.
#[derive(Default)]
struct Scratch {
    /// The inputs of the pixels of a block.
    copies: AlignedVec,
    /// Their output gradients.
    panels: AlignedVec,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The kernels' own order of a gradient: `[panels][depth + 1][PANEL]`, where the last row of a
/// panel of output channels is the bias. A register tile is a contiguous piece of it.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    panels: usize,
    depth: usize,
}

impl Layout {
    /// Returns the layout of the gradient of a convolution's weights and bias.
    pub fn new(shape: &ConvShape) -> Self {
        Layout {
            panels: shape.out_channels.div_ceil(PANEL),
            depth: shape.depth(),
        }
    }

    /// Returns the total number of values.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.panels * (self.depth + 1) * PANEL
    }

    /// Returns the offset of a row of a panel; row `depth` is the bias.
    pub(super) fn at(&self, panel: usize, row: usize) -> usize {
        (panel * (self.depth + 1) + row) * PANEL
    }
}

/// Returns the gradient from the input and the output's gradient, in the kernels' own order: see
/// [`Layout`] and [`unpack`]. The result may be longer than the layout.
///
/// # Panics
/// If the length of a slice does not match the shapes.
pub fn weight_gradient(
    isa: Isa,
    shape: &ConvShape,
    algorithm: Algorithm,
    dims: (usize, usize, usize),
    input: &[f32],
    output_gradient: &[f32],
    arena: &Arena,
) -> Buffer {
    let len = Layout::new(shape).len();
    if algorithm == Algorithm::Winograd {
        let mut data = arena.take(len);
        winograd::weight_gradient(isa, shape, dims, input, output_gradient, arena, &mut data);
        return data;
    }
    let positions = shape.window(dims.0, dims.1, dims.2).positions();
    let most = TASKS.min(positions.div_ceil(PIXELS.start)).max(1);
    let cut = Cut::best(shape, positions, TASKS, 1..=most);
    let mut partial = arena.take(cut.chunks * len);
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

/// Writes the gradient as partial sums, each in its [`Layout`], overwriting their contents: the
/// pixels are split into as many chunks as there are partial sums. The work is split into about
/// `tasks` pieces, if possible.
///
/// # Panics
/// If the length of a slice does not match the shapes.
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
    let layout = Layout::new(shape);
    let len = layout.len();
    assert!(partial.len().is_multiple_of(len));
    let chunks = partial.len() / len;
    let panels = layout.panels;

    // Parts of the gradient: by rows (first by taps, then by channels) and by columns.
    let (taps, run) = (window.taps(), window.run());
    let cut = Cut::best(shape, positions, tasks, chunks..=chunks);
    let tap_parts = cut.down.min(taps).max(1);
    let run_parts = cut.down.div_ceil(tap_parts).min(run.div_ceil(14)).max(1);
    let column_parts = cut.across;
    let shared = Disjoint::new(partial);
    let task = Task {
        isa,
        all: Pixels {
            window: &window,
            input,
            zeros: &vec![0.0; run],
            output_gradient,
            columns,
        },
        layout,
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
    all: Pixels<'a>,
    layout: Layout,
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
        Scratch { copies, panels }: &mut Scratch,
    ) {
        let part = Part {
            tiles: channels.len().div_ceil(self.isa.rows()).max(1),
            taps,
            channels,
            columns,
        };
        self.clear(start, &part, bias);
        let pitch = self.isa.pitch();
        let seen = part.taps.len() * part.tiles * pitch;
        let block =
            (BLOCK_LEN / (seen + part.columns.len()).max(1)).clamp(PIXELS.start, PIXELS.end);
        let mut position = self.all.window.position(positions.start);
        for first in positions.clone().step_by(block) {
            let pixels = (positions.end - first).min(block);
            copies.resize(part.taps.len() * part.tiles * apart(pixels, pitch));
            position = self.isa.run(Copy {
                window: self.all.window,
                input: self.all.input,
                zeros: self.all.zeros,
                part: &part,
                position,
                pixels,
                copies,
            });
            panels.resize(part.columns.len().div_ceil(PANEL) * apart(pixels, PANEL));
            self.isa.run(Load {
                gradient: &self.all.output_gradient[first * self.all.columns..]
                    [..pixels * self.all.columns],
                columns: self.all.columns,
                part: &part,
                panels,
            });
            let mut ahead = Ahead {
                all: self.all,
                part: &part,
                position,
                tap: self
                    .all
                    .window
                    .tap_places()
                    .filter(|t| part.taps.contains(&t.index))
                    .last(),
                next: first + pixels,
                end: (first + pixels + block).min(positions.end),
                calls: part.columns.len().div_ceil(PANEL) * part.tiles * part.taps.len(),
            };
            let panels = panels.chunks_exact(apart(pixels, PANEL));
            for (column, panel) in part.columns.clone().step_by(PANEL).zip(panels) {
                let panel = &panel[..pixels * PANEL];
                let wanted = (self.all.columns - column).min(PANEL);
                if bias {
                    let at = start + self.layout.at(column / PANEL, self.layout.depth);
                    self.isa.run(AddRows {
                        panel,
                        // SAFETY: these columns of the bias of a chunk belong to one task.
                        sums: unsafe { self.gradient.range(at, PANEL) },
                    });
                }
                let tiles = part
                    .taps
                    .clone()
                    .flat_map(|tap| part.cut().map(move |c| (tap, c)));
                for (values, (tap, channels)) in
                    copies.chunks_exact(apart(pixels, pitch)).zip(tiles)
                {
                    let row = tap * self.all.window.run() + channels.start;
                    let rows = channels.len();
                    ahead.step();
                    let at = start + self.layout.at(column / PANEL, row);
                    let outer = Outer {
                        values: &values[..pixels * pitch],
                        pitch,
                        rows,
                        columns: panel,
                        // SAFETY: these rows of a chunk's panel belong to one task.
                        gradient: unsafe { self.gradient.range(at, rows * PANEL) },
                        wanted,
                    };
                    outer.run(self.isa);
                }
            }
        }
    }

    /// Fills a part of the gradient with zeros.
    fn clear(&self, start: usize, part: &Part, bias: bool) {
        let panels = part.columns.start / PANEL..part.columns.end.div_ceil(PANEL);
        for panel in panels {
            let pieces = part.taps.clone().map(|tap| {
                let row = tap * self.all.window.run() + part.channels.start;
                (row, part.channels.len())
            });
            for (row, rows) in pieces.chain(bias.then_some((self.layout.depth, 1))) {
                let at = start + self.layout.at(panel, row);
                // SAFETY: these rows of a chunk's panel belong to one task, as does the bias to the
                // first task of its columns.
                unsafe { self.gradient.range(at, rows * PANEL) }.fill(0.0);
            }
        }
    }
}

/// The split of the work: chunks of pixels with a partial sum each, times parts of the gradient.
#[derive(Debug, Clone, Copy)]
struct Cut {
    chunks: usize,
    /// Number of parts by rows.
    down: usize,
    /// Number of parts by columns.
    across: usize,
}

impl Cut {
    /// Returns the split into at least about `tasks` pieces, each with a gradient that fits in the
    /// cache, with the least memory traffic: every part reads its pixels, and partial sums are
    /// written and added.
    fn best(
        shape: &ConvShape,
        positions: usize,
        tasks: usize,
        chunks: RangeInclusive<usize>,
    ) -> Self {
        let layout = Layout::new(shape);
        let (rows, panels) = (layout.depth, layout.panels);
        let cuts = chunks.flat_map(|chunks| {
            let wanted = tasks.div_ceil(chunks).max(layout.len().div_ceil(TASK_LEN));
            (1..=panels.min(wanted)).map(move |across| Cut {
                chunks,
                down: wanted.div_ceil(across),
                across,
            })
        });
        cuts.min_by_key(|cut| {
            let seen = rows * cut.across + panels * PANEL * cut.down;
            positions * seen + 2 * cut.chunks * layout.len()
        })
        .unwrap_or(Cut {
            chunks: 1,
            down: 1,
            across: 1,
        })
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

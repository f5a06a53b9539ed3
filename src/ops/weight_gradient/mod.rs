//! Gradient of a dense convolution's weights and bias.
//!
//! The sum runs over pixels. Where the gradient is small it stays in cache and the pixels are cut
//! into chunks, whose number depends on the shape alone, each with a partial sum of its own;
//! where it is large the gradient itself is divided. No two threads add to the same place and the
//! order of summation never changes.

mod unpack;

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};

use rayon::prelude::*;

use super::buffer::{AlignedVec, Arena, Buffer};
use super::conv::{Algorithm, ConvShape, PADDED, padded_window};
use super::disjoint::Disjoint;
use super::isa::{Arithmetic, Isa, Op};
use super::tile::{self, Outer, PANEL};
use super::vector::{self, LINE, Vector};
use super::window::{Position, Tap, Window};
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

/// What a task writes for itself.
#[derive(Default)]
struct Scratch {
    /// What the pixels of a block see.
    copies: AlignedVec,
    /// Their output gradients.
    panels: AlignedVec,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The kernels' own order of a gradient: `[panels][depth + 1][PANEL]`, where the last row of a panel
/// of output channels is the bias. A register tile is one contiguous piece of it.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    panels: usize,
    depth: usize,
}

impl Layout {
    /// Of a convolution's weights and bias.
    pub fn new(shape: &ConvShape) -> Self {
        Layout {
            panels: shape.out_channels.div_ceil(PANEL),
            depth: shape.depth(),
        }
    }

    /// Values in all.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.panels * (self.depth + 1) * PANEL
    }

    /// Where a row of a panel begins; row `depth` is the bias.
    pub(super) fn at(&self, panel: usize, row: usize) -> usize {
        (panel * (self.depth + 1) + row) * PANEL
    }
}

/// The gradient from the input and the output's gradient, in the kernels' own order: see [`Layout`]
/// and [`unpack`]. What is returned may be longer.
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

/// Writes the gradient as partial sums (each in its [`Layout`], whatever they hold): the pixels
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
        window: &window,
        input,
        output_gradient,
        columns,
        layout,
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
    layout: Layout,
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
        let mut position = self.window.position(positions.start);
        for first in positions.clone().step_by(block) {
            let pixels = (positions.end - first).min(block);
            copies.resize(part.taps.len() * part.tiles * (pixels * pitch + LINE));
            position = self.isa.run(Copy {
                window: self.window,
                input: self.input,
                zeros: self.zeros,
                part: &part,
                position,
                pixels,
                copies,
            });
            panels.resize(part.columns.len().div_ceil(PANEL) * (pixels * PANEL + LINE));
            self.isa.run(Load {
                gradient: &self.output_gradient[first * self.columns..][..pixels * self.columns],
                columns: self.columns,
                part: &part,
                panels,
            });
            let mut ahead = Ahead {
                task: &self,
                part: &part,
                position,
                tap: self
                    .window
                    .tap_places()
                    .filter(|t| part.taps.contains(&t.index))
                    .last(),
                next: first + pixels,
                end: (first + pixels + block).min(positions.end),
                calls: part.columns.len().div_ceil(PANEL) * part.tiles * part.taps.len(),
            };
            let panels = panels.chunks_exact(pixels * PANEL + LINE);
            for (column, panel) in part.columns.clone().step_by(PANEL).zip(panels) {
                let panel = &panel[..pixels * PANEL];
                let wanted = (self.columns - column).min(PANEL);
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
                    copies.chunks_exact(pixels * pitch + LINE).zip(tiles)
                {
                    let row = tap * self.window.run() + channels.start;
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
                let row = tap * self.window.run() + part.channels.start;
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

/// Asks, bit by bit, for what the next block of pixels will need, so that it is there when this
/// block is done.
struct Ahead<'a> {
    task: &'a Task<'a>,
    part: &'a Part,
    /// Of pixel `next`.
    position: Position,
    /// The piece to ask for: of what neighbours share it is the one that is seen first.
    tap: Option<Tap>,
    /// The next pixel to ask for.
    next: usize,
    /// The end of the next block.
    end: usize,
    /// How often `step` will still be called.
    calls: usize,
}

impl Ahead<'_> {
    fn step(&mut self) {
        let Task {
            window,
            input,
            zeros,
            output_gradient,
            columns,
            ..
        } = *self.task;
        let pixels = (self.end - self.next).div_ceil(self.calls.max(1));
        self.calls = self.calls.saturating_sub(1);
        for pixel in self.next..self.next + pixels {
            vector::prefetch(&output_gradient[pixel * columns..][self.part.columns.clone()]);
            if let Some(tap) = self.tap {
                let seen = window.piece(input, zeros, self.position, tap);
                vector::prefetch(&seen[self.part.channels.clone()]);
            }
            self.position = window.next(self.position);
        }
        self.next += pixels;
    }
}

/// A part of the gradient.
struct Part {
    taps: Range<usize>,
    channels: Range<usize>,
    columns: Range<usize>,
    /// Into how many register tiles the channels are cut.
    tiles: usize,
}

impl Part {
    /// The channels of every tile: of equal size, so that no last one is nearly empty.
    #[inline(always)]
    fn cut(&self) -> impl Iterator<Item = Range<usize>> {
        let (size, larger) = (
            self.channels.len() / self.tiles,
            self.channels.len() % self.tiles,
        );
        let mut end = self.channels.start;
        (0..self.tiles).map(move |tile| {
            let start = end;
            end += size + usize::from(tile < larger);
            start..end
        })
    }
}

/// Copies what a block of pixels sees to `[taps][tiles][pixels][pitch]`, so that a tile reads one
/// cache line after the other: in a picture its values lie whole pixels apart, at distances at which
/// they would drive each other out of the cache. Returns the position after the last.
struct Copy<'a> {
    window: &'a Window,
    input: &'a [f32],
    zeros: &'a [f32],
    part: &'a Part,
    position: Position,
    pixels: usize,
    copies: &'a mut [f32],
}

impl Op for Copy<'_> {
    type Output = Position;
    #[inline(always)]
    fn run<A: Arithmetic>(self) -> Position {
        let Copy {
            window,
            part,
            pixels,
            copies,
            ..
        } = self;
        let pitch = tile::pitch::<A::Vector>();
        let taps = &part.taps;
        assert_eq!(
            copies.len(),
            taps.len() * part.tiles * (pixels * pitch + LINE)
        );
        let mut after = self.position;
        for tap in window.tap_places().filter(|tap| taps.contains(&tap.index)) {
            let mut position = self.position;
            let first = (tap.index - taps.start) * part.tiles;
            for pixel in 0..pixels {
                let seen = window.piece(self.input, self.zeros, position, tap);
                for (tile, channels) in part.cut().enumerate() {
                    let from = &seen[channels];
                    let place = (first + tile) * (pixels * pitch + LINE) + pixel * pitch;
                    let to = &mut copies[place..][..pitch];
                    for lane in (0..pitch).step_by(A::Vector::LANES) {
                        let from = &from[lane.min(from.len())..];
                        // SAFETY: as many values as the slice has are read, and a whole vector of
                        // the pitch is written.
                        unsafe {
                            let values = A::Vector::load(from.as_ptr(), from.len());
                            values.store(to.as_mut_ptr().add(lane), A::Vector::LANES);
                        }
                    }
                }
                position = window.next(position);
            }
            after = position;
        }
        after
    }
}

/// How the work is cut: chunks of pixels, with a partial sum each, times parts of the gradient.
#[derive(Debug, Clone, Copy)]
struct Cut {
    chunks: usize,
    /// Parts by rows.
    down: usize,
    /// Parts by columns.
    across: usize,
}

impl Cut {
    /// The cut into at least about `tasks` pieces, each with a gradient that fits into the cache,
    /// that reads and writes least: every part reads its pixels, and partial sums are written and
    /// added.
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

/// Copies the output gradient of a block of pixels to `[panels][pixels][PANEL]`, with zeros where
/// there are no more columns. A pixel's values are read in one go: pieces that lie whole pixels
/// apart would each be waited for.
struct Load<'a> {
    gradient: &'a [f32],
    columns: usize,
    part: &'a Part,
    panels: &'a mut [f32],
}

impl Op for Load<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let columns = self.part.columns.clone();
        let pixels = self.gradient.len() / self.columns.max(1);
        for (pixel, row) in self.gradient.chunks_exact(self.columns).enumerate() {
            for (panel, from) in row[columns.clone()].chunks(PANEL).enumerate() {
                let to =
                    &mut self.panels[panel * (pixels * PANEL + LINE) + pixel * PANEL..][..PANEL];
                for lane in (0..PANEL).step_by(A::Vector::LANES) {
                    let from = &from[lane.min(from.len())..];
                    // SAFETY: as many values as the slice has are read, and a whole vector of the
                    // panel's row is written.
                    unsafe {
                        let values = A::Vector::load(from.as_ptr(), from.len());
                        values.store(to.as_mut_ptr().add(lane), A::Vector::LANES);
                    }
                }
            }
        }
    }
}

/// Adds the rows of a panel to `sums` (`PANEL` values).
struct AddRows<'a> {
    panel: &'a [f32],
    sums: &'a mut [f32],
}

impl Op for AddRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let mut sums = [0.0f32; PANEL];
        for row in self.panel.as_chunks::<PANEL>().0 {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
        for (sum, add) in self.sums.iter_mut().zip(sums) {
            *sum += add;
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

//! Kernels of known width: several adjacent outputs in registers, computed from a copy of a few
//! channels.
//!
//! A task takes a band of rows of one picture. It copies one vector of channels after another to a
//! separate picture, in which pixels are adjacent and surrounded by zeros: the register blocks read
//! it at strides known at compile time, and it stays in cache while the window passes over it.

use std::ops::Range;

use rayon::prelude::*;

use super::super::correlate::{Epilogue, Scatter};
use super::super::disjoint::Disjoint;
use super::super::isa::{Arithmetic, Isa, Op};
use super::super::vector::Vector;
use super::blocks::Row;
use super::ending::{Ending, check};
use super::frame::{Frame, SCRATCH, Scratch, block};
use super::shape::Grid;

/// Number of values of the copies of a task, which should stay in the L2 cache.
const COPY_LEN: usize = 24 * 1024;
/// Maximum number of vectors of channels that are copied at once.
const VECTORS: usize = 4;
/// Tasks get channels in multiples of this: whole vectors of every instruction set.
const WHOLE: usize = 16;
/// A problem is split into at least this many tasks, if it is large enough.
const TASKS: usize = 8;

/// A window over pictures with separate weights for each channel. Output `(y, x)` covers the rows
/// `y * step + top ..` and columns `x * step + left ..`; outside the picture there are zeros.
pub(super) struct Correlation {
    pub batch: usize,
    pub channels: usize,
    /// Rows of a source picture.
    pub height: usize,
    /// Columns of a source picture.
    pub width: usize,
    pub rows: usize,
    pub columns: usize,
    pub step: usize,
    pub top: isize,
    pub left: isize,
    pub kernel_rows: usize,
    pub kernel_columns: usize,
    /// Number of the tap at each position in the window.
    pub taps: Vec<usize>,
    /// Width of the groups of neighbouring channels: an output sees all channels of its group, so 1
    /// is plain depthwise convolution. It divides the number of lanes of every instruction set.
    pub group: usize,
    /// Where the outputs are written.
    pub scatter: Scatter,
}

impl Correlation {
    /// Returns whether there is code for a window with this many columns and this step.
    pub(super) fn knows(kernel_columns: usize, step: usize) -> bool {
        matches!((kernel_columns, step), (1..=5 | 7, 1) | (3 | 5 | 7, 2))
    }

    /// Returns the convolution itself; with `flip`, the taps are taken in reverse order.
    pub(super) fn forward(grid: &Grid, group: usize, flip: bool) -> Self {
        let area = grid.kernel * grid.kernel;
        Correlation {
            batch: grid.batch,
            channels: grid.channels,
            height: grid.height,
            width: grid.width,
            rows: grid.rows,
            columns: grid.columns,
            step: grid.stride,
            top: -(grid.top as isize),
            left: -(grid.left as isize),
            kernel_rows: grid.kernel,
            kernel_columns: grid.kernel,
            taps: (0..area)
                .map(|tap| if flip { area - 1 - tap } else { tap })
                .collect(),
            group,
            scatter: Scatter {
                height: grid.rows,
                width: grid.columns,
                step: 1,
                top: 0,
                left: 0,
                first: 0,
                pitch: grid.channels,
            },
        }
    }

    /// Returns the gradient of the input for any stride: one correlation for each pair of
    /// remainders of row and column modulo the stride.
    pub(super) fn backward(grid: &Grid, group: usize) -> impl Iterator<Item = Self> {
        let (grid, stride) = (*grid, grid.stride);
        let classes = (0..stride * stride).map(move |i| (i / stride, i % stride));
        classes.map(move |(row, column)| {
            let y = Strided::new(&grid, grid.height, grid.top, row);
            let x = Strided::new(&grid, grid.width, grid.left, column);
            let taps = (0..y.count * x.count).map(|place| {
                let (i, j) = (place / x.count, place % x.count);
                y.tap(i, stride) * grid.kernel + x.tap(j, stride)
            });
            Correlation {
                batch: grid.batch,
                channels: grid.channels,
                height: grid.rows,
                width: grid.columns,
                rows: y.pixels,
                columns: x.pixels,
                step: 1,
                top: y.start,
                left: x.start,
                kernel_rows: y.count,
                kernel_columns: x.count,
                taps: taps.collect(),
                group,
                scatter: Scatter {
                    height: grid.height,
                    width: grid.width,
                    step: stride,
                    top: row,
                    left: column,
                    first: 0,
                    pitch: grid.channels,
                },
            }
        })
    }

    /// Returns the number of output rows of a task.
    fn band(&self) -> usize {
        let line = (self.columns.next_multiple_of(8) * self.step + self.kernel_columns) * WHOLE;
        let line = line * self.group;
        let fit = (COPY_LEN / line).saturating_sub(self.kernel_rows) / self.step;
        // The rows of a window are copied again for every band.
        let bands = self.rows.div_ceil(fit.max(2 * self.kernel_rows));
        self.rows.div_ceil(bands.max(1)).max(1)
    }

    /// Slides the window over `source`; `weights` are
    /// `[position in the group][tap][output channel]`.
    ///
    /// # Panics
    /// If the length of a slice does not match the geometry, or the window is not
    /// [known](Correlation::knows).
    pub(super) fn run(
        &self,
        isa: Isa,
        source: &[f32],
        weights: &[f32],
        output: &mut [f32],
        epilogue: &Epilogue,
    ) {
        let s = self.scatter;
        assert_eq!(
            source.len(),
            self.batch * self.height * self.width * self.channels
        );
        assert_eq!(output.len(), self.batch * s.height * s.width * s.pitch);
        assert_eq!(self.taps.len(), self.kernel_rows * self.kernel_columns);
        let area = weights.len() / (self.group * self.channels).max(1);
        assert!(self.taps.iter().all(|&tap| tap < area) && s.pitch == self.channels);
        assert!(self.channels.is_multiple_of(self.group) && (WHOLE / 2).is_multiple_of(self.group));
        check(self.channels, epilogue, output.len());
        if self.batch * self.rows * self.columns * self.channels == 0 {
            return;
        }
        let last = |size: usize, first: usize| (size - 1) * s.step + first;
        assert!(last(self.rows, s.top) < s.height && last(self.columns, s.left) < s.width);
        let band = self.band();
        let bands = self.rows.div_ceil(band);
        let vectors = self.channels.div_ceil(WHOLE);
        let parts = TASKS.div_ceil(self.batch * bands).min(vectors.div_ceil(2));
        let shared = Disjoint::new(output);
        let tasks = (0..self.batch * bands * parts).into_par_iter();
        tasks.for_each(|index| {
            let (place, part) = (index / parts, index % parts);
            let (n, first) = (place / bands, place % bands * band);
            let channels = vectors * part / parts * WHOLE..vectors * (part + 1) / parts * WHOLE;
            SCRATCH.with_borrow_mut(|scratch| {
                isa.run(Task {
                    of: self,
                    n,
                    rows: first..(first + band).min(self.rows),
                    channels: channels.start..channels.end.min(self.channels),
                    source,
                    weights,
                    // Tasks write different pixels, or different channels of the same pixels.
                    end: Ending::new(epilogue, 0, shared.start()),
                    scratch,
                });
            });
        });
    }
}

/// The input rows (or columns) with a given remainder modulo the stride.
struct Strided {
    /// Number of these rows (or columns).
    pixels: usize,
    /// The first tap that reaches them; the others follow at intervals of the stride.
    first: usize,
    /// Number of these taps.
    count: usize,
    /// Output row that the last tap connects with the first of the input rows.
    start: isize,
}

impl Strided {
    fn new(grid: &Grid, size: usize, before: usize, remainder: usize) -> Self {
        // As in `conv`: input row remainder + stride * t contributes to output row
        // t + (remainder + before - first) / stride - j through tap first + stride * j.
        let first = (remainder + before) % grid.stride;
        let count = grid.kernel.saturating_sub(first).div_ceil(grid.stride);
        Strided {
            pixels: size.saturating_sub(remainder).div_ceil(grid.stride),
            first,
            count,
            start: ((remainder + before) / grid.stride) as isize - (count as isize - 1),
        }
    }

    /// Returns the tap at a position of the window, which traverses the taps in reverse.
    fn tap(&self, place: usize, stride: usize) -> usize {
        self.first + stride * (self.count - 1 - place)
    }
}

/// Some output rows of a picture, in some of the channels.
struct Task<'a> {
    of: &'a Correlation,
    n: usize,
    rows: Range<usize>,
    channels: Range<usize>,
    source: &'a [f32],
    weights: &'a [f32],
    end: Ending,
    scratch: &'a mut Scratch,
}

impl Op for Task<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let Correlation {
            channels,
            height,
            width,
            columns,
            step,
            kernel_rows,
            kernel_columns,
            group,
            ..
        } = *self.of;
        let lanes = A::Vector::LANES;
        let size = block(columns, [8, 7, 4]);
        let blocks = columns.div_ceil(size);
        let frame = Frame {
            picture: (height, width, channels),
            top: (self.rows.start * step) as isize + self.of.top,
            left: self.of.left,
            rows: (self.rows.len() - 1) * step + kernel_rows,
            columns: (blocks * size - 1) * step + kernel_columns,
        };
        let plane = frame.plane::<A::Vector>();
        let most = (COPY_LEN / (group * plane)).clamp(1, VECTORS) * lanes;
        let Scratch {
            source,
            taps,
            output,
        } = self.scratch;
        source.resize(most / lanes * group * plane);
        source.fill(0.0);
        taps.resize(group * self.of.taps.len() * lanes);
        let area = self.weights.len() / (group * channels);
        output.resize(blocks * size * lanes);
        let picture = height * width * channels;
        let picture = &self.source[self.n * picture..][..picture];
        for first in self.channels.clone().step_by(most) {
            let end = (first + most).min(self.channels.end);
            frame.copy::<A::Vector>(picture, first..end, group, source);
            for (vector, c) in (first..end).step_by(lanes).enumerate() {
                let count = (end - c).min(lanes);
                let wanted =
                    (0..group).flat_map(|j| self.of.taps.iter().map(move |t| j * area + t));
                for (place, tap) in taps.chunks_exact_mut(lanes).zip(wanted) {
                    let from = &self.weights[tap * channels + c..][..count];
                    // SAFETY: `count` values are read and a whole vector is written.
                    unsafe {
                        let values = A::Vector::load(from.as_ptr(), count);
                        values.store(place.as_mut_ptr(), lanes);
                    }
                }
                let rows = Rows {
                    source: &source[vector * group * plane..][..group * plane],
                    plane,
                    line: frame.columns * lanes,
                    taps,
                    size,
                    blocks,
                    c,
                    count,
                };
                // SAFETY: the channels exist in the tensors.
                unsafe { rows.run::<A>(self.of, (self.n, self.rows.clone()), self.end, output) };
            }
        }
    }
}

/// A copied vector of channels.
struct Rows<'a> {
    /// `[position in the group][row][column][lane]`
    source: &'a [f32],
    /// Number of values from one position in the group to the next.
    plane: usize,
    /// Number of values of a row.
    line: usize,
    /// `[position in the group][tap][lane]`
    taps: &'a [f32],
    /// Number of outputs of a block.
    size: usize,
    /// Number of blocks of a row.
    blocks: usize,
    /// The first channel.
    c: usize,
    /// Number of channels in use.
    count: usize,
}

impl Rows<'_> {
    /// Writes some rows of outputs.
    ///
    /// # Safety
    /// The pointers of `end` must be null or valid for tensors of the correlation's results, and
    /// these rows and channels must belong to this call alone.
    #[inline(always)]
    unsafe fn run<A: Arithmetic>(
        &self,
        of: &Correlation,
        (n, rows): (usize, Range<usize>),
        mut end: Ending,
        output: &mut [f32],
    ) {
        let lanes = A::Vector::LANES;
        let late = end.late();
        let bias = if end.bias.is_null() {
            A::Vector::splat(0.0)
        } else {
            // SAFETY: a bias has a value for every channel.
            unsafe { A::Vector::load(end.bias.add(self.c), self.count) }
        };
        for (index, y) in rows.enumerate() {
            // Rows of the window outside the picture are zeros.
            let top = (y * of.step) as isize + of.top;
            let above = (-top).clamp(0, of.kernel_rows as isize) as usize;
            let below = (of.height as isize - top).clamp(above as isize, of.kernel_rows as isize);
            let row = Row {
                source: &self.source[(index * of.step + above) * self.line..],
                line: self.line,
                group: of.group,
                plane: self.plane,
                taps_plane: of.taps.len() * lanes,
                taps: &self.taps[above * of.kernel_columns * lanes..],
                kernel_rows: below as usize - above,
                blocks: self.blocks,
            };
            row.run_sized::<A::Vector>((of.kernel_columns, of.step, self.size), bias, output);
            let s = of.scatter;
            let line = (n * s.height + y * s.step + s.top) * s.width;
            for (x, value) in output.chunks_exact(lanes).enumerate().take(of.columns) {
                let at = (line + x * s.step + s.left) * s.pitch + self.c;
                // SAFETY: a pixel of the results, by the assertions of `Correlation::run`, and
                // `count` of its channels.
                unsafe {
                    let value = A::Vector::load(value.as_ptr(), lanes);
                    end.store(value, at, self.count);
                    if let Some(late) = late {
                        late.finish::<A::Vector>(end.output, at, self.count);
                    }
                }
            }
        }
    }
}

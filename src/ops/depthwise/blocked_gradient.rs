//! The gradient of the filters for kernels of known width, computed from copies of a few channels
//! as in `blocked`: the sums of several taps stay in registers during a pass over a band of rows.

use std::ops::Range;

use super::super::isa::{Arithmetic, Isa, Op};
use super::super::vector::Vector;
use super::frame::{Frame, SCRATCH, Scratch, block};
use super::shape::Grid;

/// Number of values of the copies of a band, which should stay in the L2 cache.
const COPY_LEN: usize = 32 * 1024;
/// Maximum number of vectors of channels that are copied at once.
const VECTORS: usize = 4;

/// Returns whether there is code for a kernel and stride.
pub(super) fn knows(kernel: usize, stride: usize) -> bool {
    matches!((kernel, stride), (3 | 5 | 7, 1 | 2))
}

/// Adds the contribution of some rows of picture `n` to `sums`: `[tap][channel]`, then the bias;
/// for groups wider than 1 `[position in the group][tap][channel]`, then the bias.
///
/// # Panics
/// If the kernel and stride are not [known](knows), or the length of a slice does not match the
/// grid.
pub(super) fn add_rows(
    isa: Isa,
    (grid, group): (&Grid, usize),
    (n, rows): (usize, Range<usize>),
    input: &[f32],
    gradient: &[f32],
    sums: &mut [f32],
) {
    assert_eq!(input.len(), grid.input_len());
    assert_eq!(gradient.len(), grid.output_len());
    assert_eq!(
        sums.len(),
        (group * grid.kernel * grid.kernel + 1) * grid.channels
    );
    assert!(grid.channels.is_multiple_of(group) && 8 % group == 0);
    if gradient.is_empty() {
        return;
    }
    let seen = grid.height * grid.width * grid.channels;
    let made = grid.rows * grid.columns * grid.channels;
    let line = grid.columns.next_multiple_of(8) * 16;
    let fit = COPY_LEN / (line * (group * grid.stride * grid.stride + 1));
    let bands = rows.len().div_ceil(fit.max(2 * grid.kernel)).max(1);
    for band in 0..bands {
        let start = rows.start + rows.len() * band / bands;
        let end = rows.start + rows.len() * (band + 1) / bands;
        if start == end {
            continue;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            isa.run(Band {
                grid,
                group,
                rows: start..end,
                input: &input[n * seen..][..seen],
                gradient: &gradient[n * made..][..made],
                sums,
                scratch,
            });
        });
    }
}

/// Some rows of a picture.
struct Band<'a> {
    grid: &'a Grid,
    /// Width of the groups of channels.
    group: usize,
    rows: Range<usize>,
    input: &'a [f32],
    gradient: &'a [f32],
    sums: &'a mut [f32],
    scratch: &'a mut Scratch,
}

impl Op for Band<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let Grid {
            channels,
            kernel,
            stride,
            height,
            width,
            rows,
            columns,
            top,
            left,
            ..
        } = *self.grid;
        let lanes = A::Vector::LANES;
        // Instruction sets with half as many lanes have half as many registers.
        let size = if lanes > 8 { block(columns, [8, 7]) } else { 4 };
        let blocks = columns.div_ceil(size);
        let seen = Frame {
            picture: (height, width, channels),
            top: (self.rows.start * stride) as isize - top as isize,
            left: -(left as isize),
            rows: (self.rows.len() - 1) * stride + kernel,
            columns: (blocks * size - 1) * stride + kernel,
        };
        let made = Frame {
            picture: (rows, columns, channels),
            top: self.rows.start as isize,
            left: 0,
            rows: self.rows.len(),
            columns: blocks * size,
        };
        let (plane, own) = (seen.plane::<A::Vector>(), made.plane::<A::Vector>());
        let group = self.group;
        let most = (COPY_LEN / (group * plane + own)).clamp(1, VECTORS);
        let Scratch { source, output, .. } = self.scratch;
        source.resize(most * group * plane);
        source.fill(0.0);
        output.resize(most * own);
        output.fill(0.0);
        for first in (0..channels).step_by(most * lanes) {
            let end = (first + most * lanes).min(channels);
            seen.copy::<A::Vector>(self.input, first..end, group, source);
            made.copy::<A::Vector>(self.gradient, first..end, 1, output);
            for (vector, c) in (first..end).step_by(lanes).enumerate() {
                for place in 0..group {
                    let channel = Channel {
                        grid: self.grid,
                        rows: self.rows.clone(),
                        source: &source[(vector * group + place) * plane..][..plane],
                        line: seen.columns * lanes,
                        gradient: &output[vector * own..][..own],
                        blocks,
                        taps: place * kernel * kernel,
                        c,
                        count: (end - c).min(lanes),
                    };
                    channel.add_sized::<A::Vector>(size, self.sums);
                    if place == 0 {
                        channel.add_bias::<A::Vector>(group * kernel * kernel, self.sums);
                    }
                }
            }
        }
    }
}

/// A copied vector of channels.
struct Channel<'a> {
    grid: &'a Grid,
    rows: Range<usize>,
    /// `[row][column][lane]`
    source: &'a [f32],
    /// Number of values of a row.
    line: usize,
    /// `[row][column][lane]`, in `blocks` of columns.
    gradient: &'a [f32],
    blocks: usize,
    /// Index of the first sum.
    taps: usize,
    /// The first channel.
    c: usize,
    /// Number of channels in use.
    count: usize,
}

impl Channel<'_> {
    #[inline(always)]
    fn add_sized<V: Vector>(&self, size: usize, sums: &mut [f32]) {
        let wide = V::LANES > 8;
        match (self.grid.kernel, self.grid.stride, size) {
            (3, 1, 4) if !wide => self.add::<V, 3, 1, 4, 3>(sums),
            (3, 2, 4) if !wide => self.add::<V, 3, 2, 4, 3>(sums),
            (5, 1, 4) if !wide => self.add::<V, 5, 1, 4, 2>(sums),
            (5, 2, 4) if !wide => self.add::<V, 5, 2, 4, 2>(sums),
            (7, 1, 4) if !wide => self.add::<V, 7, 1, 4, 1>(sums),
            (7, 2, 4) if !wide => self.add::<V, 7, 2, 4, 1>(sums),
            (3, 1, 7) if wide => self.add::<V, 3, 1, 7, 3>(sums),
            (3, 2, 7) if wide => self.add::<V, 3, 2, 7, 3>(sums),
            (5, 1, 7) if wide => self.add::<V, 5, 1, 7, 2>(sums),
            (5, 2, 7) if wide => self.add::<V, 5, 2, 7, 2>(sums),
            (7, 1, 7) if wide => self.add::<V, 7, 1, 7, 2>(sums),
            (7, 2, 7) if wide => self.add::<V, 7, 2, 7, 2>(sums),
            (3, 1, 8) if wide => self.add::<V, 3, 1, 8, 3>(sums),
            (3, 2, 8) if wide => self.add::<V, 3, 2, 8, 3>(sums),
            (5, 1, 8) if wide => self.add::<V, 5, 1, 8, 2>(sums),
            (5, 2, 8) if wide => self.add::<V, 5, 2, 8, 2>(sums),
            (7, 1, 8) if wide => self.add::<V, 7, 1, 8, 2>(sums),
            (7, 2, 8) if wide => self.add::<V, 7, 2, 8, 2>(sums),
            _ => unreachable!("a kernel that is not known"),
        }
    }

    /// Adds all taps, `P` rows of `K` at a time, in blocks of `O` outputs with stride `S`.
    #[inline(always)]
    fn add<V: Vector, const K: usize, const S: usize, const O: usize, const P: usize>(
        &self,
        sums: &mut [f32],
    ) {
        let mut ky = 0;
        while ky + P <= K {
            self.add_taps::<V, K, S, O, P>(ky, sums);
            ky += P;
        }
        while ky < K {
            self.add_taps::<V, K, S, O, 1>(ky, sums);
            ky += 1;
        }
    }

    /// Adds to the sum of the bias.
    #[inline(always)]
    fn add_bias<V: Vector>(&self, place: usize, sums: &mut [f32]) {
        let mut total = V::splat(0.0);
        for value in self.gradient.chunks_exact(V::LANES) {
            // SAFETY: a whole vector.
            total = total.add(unsafe { V::load(value.as_ptr(), V::LANES) });
        }
        self.add_to::<V>(sums, place, total);
    }

    /// Adds `more` to the sum of a tap.
    #[inline(always)]
    fn add_to<V: Vector>(&self, sums: &mut [f32], tap: usize, more: V) {
        let place = &mut sums[tap * self.grid.channels + self.c..][..self.count];
        // SAFETY: `count` values are read and written.
        unsafe {
            let sum = V::load(place.as_ptr(), self.count).add(more);
            sum.store(place.as_mut_ptr(), self.count);
        }
    }

    /// Adds the contributions to `P` rows of taps.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    fn add_taps<V: Vector, const K: usize, const S: usize, const O: usize, const P: usize>(
        &self,
        ky: usize,
        sums: &mut [f32],
    ) {
        // The outputs for which one of these rows of taps lies inside the picture.
        let Grid { height, top, .. } = *self.grid;
        let start = (top + 1).saturating_sub(ky + P).div_ceil(S);
        let end = (top + height).saturating_sub(ky).div_ceil(S);
        let (start, end) = (start.max(self.rows.start), end.min(self.rows.end));
        if start >= end {
            return;
        }
        let own = self.blocks * O * V::LANES;
        let seen = ((self.blocks * O - 1) * S + K) * V::LANES;
        let (first, last) = (start - self.rows.start, end - 1 - self.rows.start);
        assert!(self.source.len() >= (last * S + ky + P - 1) * self.line + seen);
        assert!(self.gradient.len() >= (last + 1) * own);
        let mut sum = [[V::splat(0.0); K]; P];
        for index in first..=last {
            // SAFETY: the last column of the last block ends at `seen` values of a row, and there
            // are as many rows as asserted above.
            unsafe {
                let mut row = self.source.as_ptr().add((index * S + ky) * self.line);
                let mut gradient = self.gradient.as_ptr().add(index * own);
                for _ in 0..self.blocks {
                    let mut given = [V::splat(0.0); O];
                    for o in 0..O {
                        given[o] = V::load(gradient.add(o * V::LANES), V::LANES);
                    }
                    for p in 0..P {
                        let row = row.add(p * self.line);
                        for column in 0..(O - 1) * S + K {
                            let value = V::load(row.add(column * V::LANES), V::LANES);
                            for o in 0..O {
                                if column >= o * S && column - o * S < K {
                                    let kx = column - o * S;
                                    sum[p][kx] = value.mul_add(given[o], sum[p][kx]);
                                }
                            }
                        }
                    }
                    row = row.wrapping_add(O * S * V::LANES);
                    gradient = gradient.wrapping_add(O * V::LANES);
                }
            }
        }
        for p in 0..P {
            for kx in 0..K {
                self.add_to::<V>(sums, self.taps + (ky + p) * K + kx, sum[p][kx]);
            }
        }
    }
}

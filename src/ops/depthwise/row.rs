//! A row of a 3x3 convolution.

use super::super::isa::{Arithmetic, Op};
use super::super::vector::Vector;
use super::ending::Ending;
use super::places::{KERNEL, Places, TAPS};
use super::shape::Grid;

/// Computes one row of the convolution.
pub(super) struct SlideRow<'a> {
    pub(super) places: Places<'a>,
    pub(super) n: usize,
    pub(super) y: usize,
    pub(super) taps: &'a [f32],
    pub(super) flip: bool,
    pub(super) end: Ending,
}

impl Op for SlideRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(mut self) {
        let late = self.end.late();
        let Grid {
            columns,
            channels,
            stride,
            ..
        } = self.places.grid;
        let mut x = 0;
        while x < columns {
            let left = columns - x;
            x += match (stride, left) {
                (1, 4..) => self.block::<A::Vector, 4, 1, 6>(x),
                (1, 3) => self.block::<A::Vector, 3, 1, 5>(x),
                (2, 3..) => self.block::<A::Vector, 3, 2, 7>(x),
                _ => self.block::<A::Vector, 1, 1, 3>(x),
            };
        }
        if let Some(late) = late {
            // SAFETY: the row lies in the output and belongs to this call alone.
            unsafe { late.finish::<A::Vector>(self.end.output, 0, columns * channels) };
        }
    }
}

impl SlideRow<'_> {
    /// Computes `O` outputs from column `x` with stride `S`, which cover `COLUMNS` input columns.
    // Constant ranges over registers are easier to read than iterators and certain to be unrolled.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    fn block<V: Vector, const O: usize, const S: usize, const COLUMNS: usize>(
        &self,
        x: usize,
    ) -> usize {
        let channels = self.places.grid.channels;
        let pixels = self.places.pixels::<COLUMNS>(self.n, self.y, x);
        let mut taps = [self.taps.as_ptr(); TAPS];
        for (tap, place) in taps.iter_mut().enumerate() {
            let tap = if self.flip { TAPS - 1 - tap } else { tap };
            *place = self.taps[tap * channels..(tap + 1) * channels].as_ptr();
        }
        let whole = channels - channels % V::LANES;
        for c in (0..whole).step_by(V::LANES) {
            self.vector::<V, O, S, COLUMNS>(&pixels, &taps, x, c, V::LANES);
        }
        if whole < channels {
            self.vector::<V, O, S, COLUMNS>(&pixels, &taps, x, whole, channels - whole);
        }
        O
    }

    /// Computes channels `c..c + count` of a block; `count` is at most a whole vector.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    fn vector<V: Vector, const O: usize, const S: usize, const COLUMNS: usize>(
        &self,
        pixels: &[[*const f32; COLUMNS]; KERNEL],
        taps: &[*const f32; TAPS],
        x: usize,
        c: usize,
        count: usize,
    ) {
        let channels = self.places.grid.channels;
        // SAFETY: every pointer is valid for `channels` values, and `c + count` is at most
        // `channels`; the outputs of the block end within the row.
        unsafe {
            let mut sum = [V::splat(0.0); O];
            if !self.end.bias.is_null() {
                sum = [V::load(self.end.bias.add(c), count); O];
            }
            for ky in 0..KERNEL {
                let mut weights = [V::splat(0.0); KERNEL];
                for kx in 0..KERNEL {
                    weights[kx] = V::load(taps[ky * KERNEL + kx].add(c), count);
                }
                for column in 0..COLUMNS {
                    let value = V::load(pixels[ky][column].add(c), count);
                    for o in 0..O {
                        if column >= o * S && column - o * S < KERNEL {
                            sum[o] = value.mul_add(weights[column - o * S], sum[o]);
                        }
                    }
                }
            }
            for o in 0..O {
                self.end.store(sum[o], (x + o) * channels + c, count);
            }
        }
    }
}

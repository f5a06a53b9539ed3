//! Kernels for any kernel size and stride, pixel by pixel.

use super::super::isa::{Arithmetic, Op};
use super::super::vector::Vector;
use super::ending::Ending;
use super::places::Places;
use super::shape::Grid;

/// `sum += a * b`.
#[inline(always)]
fn add_product<A: Arithmetic>(sum: &mut [f32], a: &[f32], b: &[f32]) {
    for (sum, (&a, &b)) in sum.iter_mut().zip(a.iter().zip(b)) {
        *sum = A::mul_add(a, b, *sum);
    }
}

/// Stores the sums of pixel `x` of a row.
#[inline(always)]
fn store<V: Vector>(end: &Ending, sums: &[f32], x: usize) {
    let channels = sums.len();
    for c in (0..channels).step_by(V::LANES) {
        let count = (channels - c).min(V::LANES);
        // SAFETY: `count` values from channel `c` of a pixel of the row.
        unsafe {
            end.store(
                V::load(sums.as_ptr().add(c), count),
                x * channels + c,
                count,
            );
        }
    }
}

/// Computes one row of the convolution.
pub(super) struct Row<'a> {
    pub places: Places<'a>,
    pub n: usize,
    pub y: usize,
    pub taps: &'a [f32],
    pub flip: bool,
    pub end: Ending,
}

impl Op for Row<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(mut self) {
        let late = self.end.late();
        let Grid {
            channels,
            kernel,
            columns,
            ..
        } = self.places.grid;
        let mut sums = vec![0.0; channels];
        for x in 0..columns {
            sums.fill(0.0);
            if !self.end.bias.is_null() {
                // SAFETY: a bias has `channels` values.
                let bias = unsafe { std::slice::from_raw_parts(self.end.bias, channels) };
                sums.copy_from_slice(bias);
            }
            for (tap, pixel) in self.places.seen(self.n, self.y, x) {
                let tap = if self.flip {
                    kernel * kernel - 1 - tap
                } else {
                    tap
                };
                add_product::<A>(&mut sums, pixel, &self.taps[tap * channels..]);
            }
            store::<A::Vector>(&self.end, &sums, x);
        }
        if let Some(late) = late {
            // SAFETY: the row lies in the output and belongs to this call alone.
            unsafe { late.finish::<A::Vector>(self.end.output, 0, columns * channels) };
        }
    }
}

/// Computes one row of the input's gradient.
pub(super) struct Gather<'a> {
    pub grid: Grid,
    pub gradient: &'a [f32],
    pub n: usize,
    pub y: usize,
    pub taps: &'a [f32],
    pub end: Ending,
}

impl Op for Gather<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let Gather {
            grid,
            gradient,
            n,
            y,
            taps,
            end,
        } = self;
        let Grid {
            channels,
            width,
            rows,
            columns,
            ..
        } = grid;
        let mut sums = vec![0.0; channels];
        for x in 0..width {
            sums.fill(0.0);
            for (ky, oy) in grid.outputs(y, grid.top, rows) {
                for (kx, ox) in grid.outputs(x, grid.left, columns) {
                    let pixel = &gradient[((n * rows + oy) * columns + ox) * channels..];
                    let tap = &taps[(ky * grid.kernel + kx) * channels..];
                    add_product::<A>(&mut sums, pixel, tap);
                }
            }
            store::<A::Vector>(&end, &sums, x);
        }
    }
}

/// Adds the contribution of a row to the gradient of the filters and the bias.
pub(super) struct WeightGradient<'a> {
    pub places: Places<'a>,
    pub n: usize,
    pub y: usize,
    /// Output gradient of the row.
    pub gradient: &'a [f32],
    pub sums: &'a mut [f32],
}

impl Op for WeightGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let row = self;
        let Grid {
            channels, kernel, ..
        } = row.places.grid;
        let (taps, bias) = row.sums.split_at_mut(kernel * kernel * channels);
        for (x, gradient) in row.gradient.chunks_exact(channels).enumerate() {
            for (sum, g) in bias.iter_mut().zip(gradient) {
                *sum += g;
            }
            for (tap, pixel) in row.places.seen(row.n, row.y, x) {
                add_product::<A>(&mut taps[tap * channels..], pixel, gradient);
            }
        }
    }
}

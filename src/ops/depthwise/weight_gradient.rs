//! The gradient of the filters and the bias, in the kernels' own order: the taps, then the bias.

use rayon::prelude::*;

use super::super::buffer::{Arena, Buffer};
use super::super::isa::{Arithmetic, Isa, Op};
use super::super::vector::Vector;
use super::super::weight_gradient::{WeightGradientParts, sum_partial};
use super::blocked_gradient::{add_rows, knows};
use super::general;
use super::places::{KERNEL, Places, TAPS};
use super::shape::{DepthwiseShape, Grid};

/// Maximum number of chunks of rows that are summed separately.
const CHUNKS: usize = 32;

/// Reorders a gradient, the first `gradient_len` values of `sums`. The filters' gradient is
/// multiplied by `scale` (one value per channel); `weight` holds the filters before scaling.
///
/// # Panics
/// If a length does not fit the shape.
pub fn unpack(
    shape: &DepthwiseShape,
    sums: &[f32],
    weight: &[f32],
    scale: Option<&[f32]>,
) -> WeightGradientParts {
    let (channels, area) = (shape.channels, shape.taps());
    assert_eq!(weight.len(), area * channels);
    let sums = &sums[..gradient_len(shape)];
    let mut parts = WeightGradientParts {
        weight: vec![0.0; weight.len()],
        dot: vec![0.0; channels],
        bias: sums[area * channels..].to_vec(),
    };
    for channel in 0..channels {
        let mut dot = 0.0;
        for tap in 0..area {
            let gradient = sums[tap * channels + channel];
            let index = channel * area + tap;
            dot += gradient * weight[index];
            parts.weight[index] = gradient * scale.map_or(1.0, |scale| scale[channel]);
        }
        if scale.is_some() {
            parts.dot[channel] = dot;
        }
    }
    parts
}

/// Returns the number of values of the gradient in the kernels' own order.
pub fn gradient_len(shape: &DepthwiseShape) -> usize {
    (shape.taps() + 1) * shape.channels
}

/// Returns the gradient of the filters and the bias from the input and the output's gradient, in
/// the kernels' own order: the first `gradient_len` values of the result, see [`unpack`].
///
/// # Panics
/// If the length of a slice does not match the shapes.
pub fn weight_gradient(
    isa: Isa,
    shape: &DepthwiseShape,
    dims: (usize, usize, usize),
    input: &[f32],
    output_gradient: &[f32],
    arena: &Arena,
) -> Buffer {
    let len = gradient_len(shape);
    let chunks = (dims.0 * shape.output_size(dims.1)).clamp(1, CHUNKS);
    let mut partial = arena.take(chunks * len);
    partial_sums(isa, shape, dims, input, output_gradient, &mut partial);
    sum_partial(&mut partial, len);
    partial
}

/// Writes the gradient as partial sums of `gradient_len` values each (the taps, then the bias),
/// overwriting their contents: the rows are split into as many chunks as there are partial sums.
///
/// # Panics
/// If the length of a slice does not match the shapes.
pub fn partial_sums(
    isa: Isa,
    shape: &DepthwiseShape,
    dims: (usize, usize, usize),
    input: &[f32],
    output_gradient: &[f32],
    partial: &mut [f32],
) {
    let grid = shape.grid(dims);
    let Grid {
        channels,
        rows,
        columns,
        ..
    } = grid;
    assert_eq!(input.len(), grid.input_len());
    assert_eq!(output_gradient.len(), grid.output_len());
    let len = gradient_len(shape);
    assert!(partial.len().is_multiple_of(len));
    let (lines, chunks) = (grid.batch * rows, partial.len() / len);
    let zeros = vec![0.0; channels];
    let places = Places {
        grid,
        input,
        zeros: &zeros,
    };
    partial
        .par_chunks_mut(len)
        .enumerate()
        .for_each(|(chunk, sums)| {
            sums.fill(0.0);
            let mut index = lines * chunk / chunks;
            let end = lines * (chunk + 1) / chunks;
            while grid.kernel != KERNEL && knows(grid.kernel, grid.stride) && index < end {
                let (n, y) = (index / rows, index % rows);
                let more = (rows - y).min(end - index);
                let gradient = output_gradient;
                add_rows(isa, (&grid, 1), (n, y..y + more), input, gradient, sums);
                index += more;
            }
            for index in index..end {
                let (n, y) = (index / rows, index % rows);
                let gradient = &output_gradient[index * columns * channels..];
                let gradient = &gradient[..columns * channels];
                if grid.kernel == KERNEL {
                    isa.run(WeightGradientRow {
                        places,
                        n,
                        y,
                        gradient,
                        sums,
                    });
                } else {
                    isa.run(general::WeightGradient {
                        places,
                        n,
                        y,
                        gradient,
                        sums,
                    });
                }
            }
        });
}

struct WeightGradientRow<'a> {
    places: Places<'a>,
    n: usize,
    y: usize,
    gradient: &'a [f32],
    sums: &'a mut [f32],
}

impl Op for WeightGradientRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(mut self) {
        let Grid {
            columns,
            channels,
            stride,
            ..
        } = self.places.grid;
        assert_eq!(self.sums.len(), (TAPS + 1) * channels);
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
    }
}

impl WeightGradientRow<'_> {
    /// Adds the contribution of `O` outputs from column `x`.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    fn block<V: Vector, const O: usize, const S: usize, const COLUMNS: usize>(
        &mut self,
        x: usize,
    ) -> usize {
        let channels = self.places.grid.channels;
        let pixels = self.places.pixels::<COLUMNS>(self.n, self.y, x);
        let gradient = self.gradient[x * channels..(x + O) * channels].as_ptr();
        let whole = channels - channels % V::LANES;
        for c in (0..whole).step_by(V::LANES) {
            self.vector::<V, O, S, COLUMNS>(&pixels, gradient, c, V::LANES);
        }
        if whole < channels {
            self.vector::<V, O, S, COLUMNS>(&pixels, gradient, whole, channels - whole);
        }
        O
    }

    /// Processes channels `c..c + count` of a block; `count` is at most a whole vector.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    fn vector<V: Vector, const O: usize, const S: usize, const COLUMNS: usize>(
        &mut self,
        pixels: &[[*const f32; COLUMNS]; KERNEL],
        gradient: *const f32,
        c: usize,
        count: usize,
    ) {
        let channels = self.places.grid.channels;
        let sums = self.sums.as_mut_ptr();
        // SAFETY: every pixel is valid for `channels` values, the gradient for `O` and the
        // sums for `TAPS + 1` times as many, and `c + count` is at most `channels`.
        unsafe {
            let mut given = [V::splat(0.0); O];
            let bias = sums.add(TAPS * channels + c);
            let mut total = V::load(bias, count);
            for o in 0..O {
                given[o] = V::load(gradient.add(o * channels + c), count);
                total = total.add(given[o]);
            }
            total.store(bias, count);
            for ky in 0..KERNEL {
                let place = sums.add(ky * KERNEL * channels + c);
                let mut sum = [V::splat(0.0); KERNEL];
                for kx in 0..KERNEL {
                    sum[kx] = V::load(place.add(kx * channels), count);
                }
                for column in 0..COLUMNS {
                    let value = V::load(pixels[ky][column].add(c), count);
                    for o in 0..O {
                        if column >= o * S && column - o * S < KERNEL {
                            let kx = column - o * S;
                            sum[kx] = value.mul_add(given[o], sum[kx]);
                        }
                    }
                }
                for kx in 0..KERNEL {
                    sum[kx].store(place.add(kx * channels), count);
                }
            }
        }
    }
}

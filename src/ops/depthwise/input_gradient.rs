//! The gradient of the input: for stride 1 a convolution with flipped taps, otherwise gathered for
//! each pixel.

use rayon::prelude::*;

use super::super::activation::Activation;
use super::super::correlate::{Addend, Epilogue};
use super::super::isa::{Arithmetic, Isa, Op};
use super::super::vector::Vector;
use super::blocked::Correlation;
use super::ending::{Ending, check};
use super::forward::{DepthwiseWeights, slide};
use super::general;
use super::shape::{DepthwiseShape, Grid};

/// Maximum number of outputs per side that a pixel gathers from in the code specialised by their
/// number.
const SIDE: usize = 4;
const PAIRS: usize = SIDE * SIDE;

/// Computes the gradient of the input; `accumulate` and `mask` are as in
/// [`super::super::conv::input_gradient`].
///
/// # Panics
/// If the length of a slice does not match the shapes.
#[allow(clippy::too_many_arguments)]
pub fn input_gradient(
    isa: Isa,
    shape: &DepthwiseShape,
    dims: (usize, usize, usize),
    output_gradient: &[f32],
    weights: &DepthwiseWeights,
    accumulate: bool,
    mask: Option<(&[f32], Activation)>,
    input_gradient: &mut [f32],
) {
    let grid = shape.grid(dims);
    let (channels, taps) = (grid.channels, weights.taps.as_slice());
    assert_eq!(input_gradient.len(), grid.input_len());
    assert_eq!(output_gradient.len(), grid.output_len());
    let epilogue = Epilogue {
        addend: if accumulate {
            Addend::Destination
        } else {
            Addend::None
        },
        mask,
        ..Epilogue::PLAIN
    };
    if let Some(flipped) = grid.flipped() {
        let gradient = output_gradient;
        slide(
            isa,
            &flipped,
            gradient,
            taps,
            true,
            input_gradient,
            &epilogue,
        );
        return;
    }
    if grid.stride == 1 && Correlation::knows(grid.kernel, 1) {
        for part in Correlation::backward(&grid, 1) {
            part.run(isa, output_gradient, taps, input_gradient, &epilogue);
        }
        return;
    }
    check(channels, &epilogue, input_gradient.len());
    if input_gradient.is_empty() {
        return;
    }
    input_gradient
        .par_chunks_mut(grid.width * channels)
        .enumerate()
        .for_each(|(index, out)| {
            let (n, y) = (index / grid.height, index % grid.height);
            let end = Ending::new(&epilogue, index * out.len(), out.as_mut_ptr());
            let gradient = output_gradient;
            if grid.kernel.div_ceil(grid.stride) <= SIDE {
                isa.run(GatherRow {
                    grid,
                    gradient,
                    n,
                    y,
                    taps,
                    end,
                });
            } else {
                isa.run(general::Gather {
                    grid,
                    gradient,
                    n,
                    y,
                    taps,
                    end,
                });
            }
        });
}

/// Computes one row of the input's gradient for any stride: each pixel gathers from the outputs
/// that it contributed to.
struct GatherRow<'a> {
    grid: Grid,
    gradient: &'a [f32],
    n: usize,
    y: usize,
    taps: &'a [f32],
    end: Ending,
}

impl Op for GatherRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let Grid {
            channels,
            kernel,
            width,
            rows,
            columns,
            ..
        } = self.grid;
        for x in 0..width {
            // Pairs of an output gradient and the taps that connect it with the pixel.
            let mut pairs = [(self.taps.as_ptr(), self.taps.as_ptr()); PAIRS];
            let mut count = 0;
            for (ky, oy) in self.grid.outputs(self.y, self.grid.top, rows) {
                for (kx, ox) in self.grid.outputs(x, self.grid.left, columns) {
                    let pixel = ((self.n * rows + oy) * columns + ox) * channels;
                    let tap = (ky * kernel + kx) * channels;
                    pairs[count] = (
                        self.gradient[pixel..pixel + channels].as_ptr(),
                        self.taps[tap..tap + channels].as_ptr(),
                    );
                    count += 1;
                }
            }
            match count {
                0 => self.pixel::<A::Vector, 0>(x, &pairs),
                1 => self.pixel::<A::Vector, 1>(x, &pairs),
                2 => self.pixel::<A::Vector, 2>(x, &pairs),
                3 => self.pixel::<A::Vector, 3>(x, &pairs),
                4 => self.pixel::<A::Vector, 4>(x, &pairs),
                6 => self.pixel::<A::Vector, 6>(x, &pairs),
                8 => self.pixel::<A::Vector, 8>(x, &pairs),
                9 => self.pixel::<A::Vector, 9>(x, &pairs),
                12 => self.pixel::<A::Vector, 12>(x, &pairs),
                16 => self.pixel::<A::Vector, 16>(x, &pairs),
                _ => unreachable!("a product of two numbers up to {SIDE}"),
            }
        }
    }
}

impl GatherRow<'_> {
    /// Sums `P` products.
    #[inline(always)]
    fn pixel<V: Vector, const P: usize>(
        &self,
        x: usize,
        pairs: &[(*const f32, *const f32); PAIRS],
    ) {
        let channels = self.grid.channels;
        let whole = channels - channels % V::LANES;
        for c in (0..whole).step_by(V::LANES) {
            self.vector::<V, P>(pairs, x, c, V::LANES);
        }
        if whole < channels {
            self.vector::<V, P>(pairs, x, whole, channels - whole);
        }
    }

    /// Computes channels `c..c + count` of a pixel; `count` is at most a whole vector.
    #[inline(always)]
    fn vector<V: Vector, const P: usize>(
        &self,
        pairs: &[(*const f32, *const f32); PAIRS],
        x: usize,
        c: usize,
        count: usize,
    ) {
        let channels = self.grid.channels;
        // SAFETY: every pointer is valid for `channels` values, and `c + count` is at most
        // `channels`; pixel `x` lies in the row.
        unsafe {
            let mut sum = V::splat(0.0);
            for (gradient, tap) in &pairs[..P] {
                let tap = V::load(tap.add(c), count);
                sum = V::load(gradient.add(c), count).mul_add(tap, sum);
            }
            self.end.store(sum, x * channels + c, count);
        }
    }
}

//! The gradient of the input: for stride 1 the same convolution backwards, else gathered by pixel.

use rayon::prelude::*;

use super::super::correlate::{Addend, Epilogue};
use super::super::elementwise::Activation;
use super::super::isa::{Arithmetic, Isa, Op};
use super::super::vector::Vector;
use super::{DepthwiseShape, DepthwiseWeights, Ending, KERNEL, TAPS, slide};

/// Gradient of the input; `accumulate` and `mask` as in [`super::super::conv::input_gradient`].
///
/// # Panics
/// If a slice does not have the length that the shapes ask for.
#[allow(clippy::too_many_arguments)]
pub fn input_gradient(
    isa: Isa,
    shape: &DepthwiseShape,
    (batch, height, width): (usize, usize, usize),
    output_gradient: &[f32],
    weights: &DepthwiseWeights,
    accumulate: bool,
    mask: Option<(&[f32], Activation)>,
    input_gradient: &mut [f32],
) {
    let (rows, columns) = (shape.output_size(height), shape.output_size(width));
    let channels = shape.channels;
    assert_eq!(input_gradient.len(), batch * height * width * channels);
    assert_eq!(output_gradient.len(), batch * rows * columns * channels);
    assert!(mask.is_none_or(|(m, _)| m.len() == input_gradient.len()));
    if let Some(flipped) = shape.flipped()
        && (flipped.output_size(rows), flipped.output_size(columns)) == (height, width)
    {
        let epilogue = Epilogue {
            addend: if accumulate {
                Addend::Destination
            } else {
                Addend::None
            },
            mask,
            ..Epilogue::PLAIN
        };
        let dims = (batch, rows, columns);
        slide(
            isa,
            &flipped,
            dims,
            output_gradient,
            &weights.taps,
            true,
            input_gradient,
            &epilogue,
        );
        return;
    }
    if input_gradient.is_empty() {
        return;
    }
    let line = width * channels;
    input_gradient
        .par_chunks_mut(line)
        .enumerate()
        .for_each(|(index, out)| {
            let null = std::ptr::null();
            isa.run(GatherRow {
                shape: *shape,
                gradient: output_gradient,
                rows,
                columns,
                n: index / height,
                y: index % height,
                width,
                taps: &weights.taps,
                end: Ending {
                    bias: null,
                    addend: if accumulate { out.as_ptr() } else { null },
                    activation: Activation::None,
                    // SAFETY: the mask has the gradient's length, so that the row starts inside.
                    mask: mask.map_or(null, |(m, _)| unsafe { m.as_ptr().add(index * line) }),
                    mask_activation: mask.map_or(Activation::None, |(_, a)| a),
                    output: out.as_mut_ptr(),
                },
            });
        });
}

/// One row of the input's gradient for any stride: each pixel gathers from the outputs it reached.
struct GatherRow<'a> {
    shape: DepthwiseShape,
    gradient: &'a [f32],
    rows: usize,
    columns: usize,
    n: usize,
    y: usize,
    width: usize,
    taps: &'a [f32],
    end: Ending,
}

impl Op for GatherRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let channels = self.shape.channels;
        for x in 0..self.width {
            // Gradients and the taps they came through.
            let mut pairs = [(self.taps.as_ptr(), self.taps.as_ptr()); TAPS];
            let mut count = 0;
            for (ky, oy) in self.shape.outputs(self.y, self.rows) {
                for (kx, ox) in self.shape.outputs(x, self.columns) {
                    let pixel = ((self.n * self.rows + oy) * self.columns + ox) * channels;
                    let tap = (ky * KERNEL + kx) * channels;
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
                _ => self.pixel::<A::Vector, 9>(x, &pairs),
            }
        }
    }
}

impl GatherRow<'_> {
    /// The sum of `P` products.
    #[inline(always)]
    fn pixel<V: Vector, const P: usize>(&self, x: usize, pairs: &[(*const f32, *const f32); TAPS]) {
        let channels = self.shape.channels;
        let whole = channels - channels % V::LANES;
        for c in (0..whole).step_by(V::LANES) {
            self.vector::<V, P>(pairs, x, c, V::LANES);
        }
        if whole < channels {
            self.vector::<V, P>(pairs, x, whole, channels - whole);
        }
    }

    /// Channels `c..c + count` of a pixel, `count` being a whole vector or less.
    #[inline(always)]
    fn vector<V: Vector, const P: usize>(
        &self,
        pairs: &[(*const f32, *const f32); TAPS],
        x: usize,
        c: usize,
        count: usize,
    ) {
        let channels = self.shape.channels;
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

//! Depthwise 3x3 convolution: each channel has its own filter. Forward and both gradients,
//! vectorised over channels. Pixels outside of the picture are a row of zeros, so that no tap is
//! ever tested.

mod input_gradient;
mod weight_gradient;

use rayon::prelude::*;

use super::correlate::{Addend, Epilogue};
use super::elementwise::Activation;
use super::isa::{Arithmetic, Isa, Op};
use super::vector::Vector;

pub use input_gradient::input_gradient;
pub use weight_gradient::{gradient_len, partial_sums, unpack, weight_gradient};

/// Rows and columns of the kernel.
pub const KERNEL: usize = 3;
const TAPS: usize = KERNEL * KERNEL;

/// Geometry of a depthwise 3x3 convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepthwiseShape {
    /// Channels of input and output.
    pub channels: usize,
    /// Input pixels from one output to the next.
    pub stride: usize,
    /// Rows and columns of zeros around the picture.
    pub padding: usize,
}

impl DepthwiseShape {
    /// Output rows (or columns) for an input of `size`.
    pub fn output_size(&self, size: usize) -> usize {
        (size + 2 * self.padding + self.stride).saturating_sub(KERNEL) / self.stride
    }

    /// For input index `i`: the taps that reach it, with the output each belongs to.
    #[inline(always)]
    fn outputs(self, i: usize, outputs: usize) -> impl Iterator<Item = (usize, usize)> {
        (0..KERNEL).filter_map(move |tap| {
            let index = (i + self.padding).checked_sub(tap)?;
            (index % self.stride == 0 && index / self.stride < outputs)
                .then_some((tap, index / self.stride))
        })
    }

    /// The same convolution backwards, if its stride is 1: flipped taps and this padding.
    fn flipped(self) -> Option<Self> {
        let padding = (KERNEL - 1).checked_sub(self.padding)?;
        (self.stride == 1).then_some(DepthwiseShape { padding, ..self })
    }
}

/// Filters in the order `[tap][channel]`, with the bias.
#[derive(Debug)]
pub struct DepthwiseWeights {
    taps: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl DepthwiseWeights {
    /// Packs PyTorch's `[channels, 1, 3, 3]`, multiplied by `scale` (one value a channel).
    ///
    /// # Panics
    /// If a length does not fit the shape.
    pub fn pack(
        shape: &DepthwiseShape,
        weight: &[f32],
        scale: Option<&[f32]>,
        bias: Option<Vec<f32>>,
    ) -> Self {
        let channels = shape.channels;
        assert_eq!(weight.len(), channels * TAPS);
        assert!(bias.as_ref().is_none_or(|b| b.len() == channels));
        let mut taps = vec![0.0; weight.len()];
        for channel in 0..channels {
            let scale = scale.map_or(1.0, |scale| scale[channel]);
            for tap in 0..TAPS {
                taps[tap * channels + channel] = weight[channel * TAPS + tap] * scale;
            }
        }
        DepthwiseWeights { taps, bias }
    }
}

/// Convolution of `input` `[batch, height, width, channels]` into `output`, plus residual, then
/// the activation.
///
/// # Panics
/// If a slice does not have the length that the shapes ask for.
#[allow(clippy::too_many_arguments)]
pub fn forward(
    isa: Isa,
    shape: &DepthwiseShape,
    (batch, height, width): (usize, usize, usize),
    input: &[f32],
    weights: &DepthwiseWeights,
    residual: Option<&[f32]>,
    activation: Activation,
    output: &mut [f32],
) {
    let (rows, columns) = (shape.output_size(height), shape.output_size(width));
    assert_eq!(input.len(), batch * height * width * shape.channels);
    assert_eq!(output.len(), batch * rows * columns * shape.channels);
    assert!(residual.is_none_or(|r| r.len() == output.len()));
    let epilogue = Epilogue {
        bias: weights.bias.as_deref(),
        addend: residual.map_or(Addend::None, Addend::Tensor),
        activation,
        mask: None,
    };
    let dims = (batch, height, width);
    slide(
        isa,
        shape,
        dims,
        input,
        &weights.taps,
        false,
        output,
        &epilogue,
    );
}

/// The convolution with its epilogue; with `flip` the taps are taken in reverse order.
#[allow(clippy::too_many_arguments)]
fn slide(
    isa: Isa,
    shape: &DepthwiseShape,
    (batch, height, width): (usize, usize, usize),
    input: &[f32],
    taps: &[f32],
    flip: bool,
    output: &mut [f32],
    epilogue: &Epilogue,
) {
    let channels = shape.channels;
    let (rows, columns) = (shape.output_size(height), shape.output_size(width));
    assert_eq!(input.len(), batch * height * width * channels);
    assert_eq!(output.len(), batch * rows * columns * channels);
    assert_eq!(taps.len(), TAPS * channels);
    assert!(epilogue.bias.is_none_or(|b| b.len() == channels));
    assert!(epilogue.mask.is_none_or(|(m, _)| m.len() == output.len()));
    if let Addend::Tensor(addend) = epilogue.addend {
        assert_eq!(addend.len(), output.len());
    }
    if output.is_empty() {
        return;
    }
    let zeros = vec![0.0; channels];
    let line = columns * channels;
    let places = Places {
        shape: *shape,
        height,
        width,
        input,
        zeros: &zeros,
    };
    output
        .par_chunks_mut(line)
        .enumerate()
        .for_each(|(index, output)| {
            let null = std::ptr::null();
            let from = index * line;
            // SAFETY: the tensors have the output's length, so that row `index` starts inside.
            let row = |tensor: &[f32]| unsafe { tensor.as_ptr().add(from) };
            let addend = match epilogue.addend {
                Addend::None => null,
                Addend::Tensor(tensor) => row(tensor),
                Addend::Destination => output.as_ptr(),
            };
            isa.run(SlideRow {
                places,
                n: index / rows,
                y: index % rows,
                columns,
                taps,
                flip,
                end: Ending {
                    bias: epilogue.bias.map_or(null, <[f32]>::as_ptr),
                    addend,
                    activation: epilogue.activation,
                    mask: epilogue.mask.map_or(null, |(mask, _)| row(mask)),
                    mask_activation: epilogue.mask.map_or(Activation::None, |(_, a)| a),
                    output: output.as_mut_ptr(),
                },
            });
        });
}

/// Where the inputs of an output are.
#[derive(Clone, Copy)]
struct Places<'a> {
    shape: DepthwiseShape,
    height: usize,
    width: usize,
    input: &'a [f32],
    zeros: &'a [f32],
}

impl Places<'_> {
    /// Pointers to the pixels under `O` outputs from column `x` of row `y`, each valid for
    /// `channels` values: `COLUMNS` of them in each of the kernel's rows.
    #[inline(always)]
    fn pixels<const COLUMNS: usize>(
        &self,
        n: usize,
        y: usize,
        x: usize,
    ) -> [[*const f32; COLUMNS]; KERNEL] {
        let DepthwiseShape {
            channels,
            stride,
            padding,
        } = self.shape;
        let mut pixels = [[self.zeros.as_ptr(); COLUMNS]; KERNEL];
        for (ky, row) in pixels.iter_mut().enumerate() {
            let iy = (y * stride + ky).wrapping_sub(padding);
            if iy >= self.height {
                continue;
            }
            let line = (n * self.height + iy) * self.width;
            for (column, pixel) in row.iter_mut().enumerate() {
                let ix = (x * stride + column).wrapping_sub(padding);
                if ix < self.width {
                    let at = (line + ix) * channels;
                    *pixel = self.input[at..at + channels].as_ptr();
                }
            }
        }
        pixels
    }
}

/// What happens to a row of results. Pointers may be null but for the output's.
#[derive(Clone, Copy)]
struct Ending {
    bias: *const f32,
    addend: *const f32,
    activation: Activation,
    mask: *const f32,
    mask_activation: Activation,
    output: *mut f32,
}

impl Ending {
    /// Stores up to a vector of results at `at` of the row.
    ///
    /// # Safety
    /// The pointers that are not null must be valid for `at + count` values.
    #[inline(always)]
    unsafe fn store<V: Vector>(&self, mut value: V, at: usize, count: usize) {
        // SAFETY: by the caller's promise.
        unsafe {
            if !self.addend.is_null() {
                value = value.add(V::load(self.addend.add(at), count));
            }
            value = match self.activation {
                Activation::None => value,
                Activation::Relu => value.relu(),
                Activation::Relu6 => value.relu6(),
            };
            if !self.mask.is_null() {
                let output = V::load(self.mask.add(at), count);
                value = match self.mask_activation {
                    Activation::None => value,
                    Activation::Relu => value.where_positive(output),
                    Activation::Relu6 => value.where_inside(output),
                };
            }
            value.store(self.output.add(at), count);
        }
    }
}

/// One row of the convolution.
struct SlideRow<'a> {
    places: Places<'a>,
    n: usize,
    y: usize,
    columns: usize,
    taps: &'a [f32],
    flip: bool,
    end: Ending,
}

impl Op for SlideRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let mut x = 0;
        while x < self.columns {
            let left = self.columns - x;
            x += match (self.places.shape.stride, left) {
                (1, 4..) => self.block::<A::Vector, 4, 1, 6>(x),
                (1, 3) => self.block::<A::Vector, 3, 1, 5>(x),
                (2, 3..) => self.block::<A::Vector, 3, 2, 7>(x),
                _ => self.block::<A::Vector, 1, 1, 3>(x),
            };
        }
    }
}

impl SlideRow<'_> {
    /// `O` outputs from column `x` at stride `S`, which see `COLUMNS` input columns.
    // Constant ranges over registers read better than iterators, and unroll for certain.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    fn block<V: Vector, const O: usize, const S: usize, const COLUMNS: usize>(
        &self,
        x: usize,
    ) -> usize {
        let channels = self.places.shape.channels;
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

    /// Channels `c..c + count` of a block, `count` being a whole vector or less.
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
        let channels = self.places.shape.channels;
        // SAFETY: every pointer is valid for `channels` values, and `c + count` is at most
        // `channels`; the block's outputs end before the row does.
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

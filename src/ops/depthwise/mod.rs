//! Depthwise convolution: each channel has its own filter. Forward and both gradients, vectorised
//! over channels.
//!
//! The usual kernels and strides have register blocks of their own: 3x3 reads the pictures where
//! they are, where pixels outside are a row of zeros, so that no tap is ever tested; `blocked`
//! copies a few channels of a wider kernel's picture first. `general` takes any kernel and stride
//! as it is written.

mod blocked;
mod blocked_gradient;
mod general;
mod input_gradient;
mod weight_gradient;

use rayon::prelude::*;

use super::activation::{Activation, Late};
use super::correlate::{Addend, Epilogue};
use super::isa::{Arithmetic, Isa, Op};
use super::shape::Padding;
use super::tile::{plain, plain_mask};
use super::vector::Vector;
use blocked::Correlation;

pub use input_gradient::input_gradient;
pub use weight_gradient::{gradient_len, partial_sums, unpack, weight_gradient};

/// Taps of the kernel that has code of its own.
const TAPS: usize = KERNEL * KERNEL;
const KERNEL: usize = 3;

/// Geometry of a depthwise convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepthwiseShape {
    /// Channels of input and output.
    pub channels: usize,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Input pixels from one output to the next.
    pub stride: usize,
    /// Zeros around the picture.
    pub padding: Padding,
}

impl DepthwiseShape {
    /// Output rows (or columns) for an input of `size`.
    pub fn output_size(&self, size: usize) -> usize {
        self.padding.outputs(size, self.kernel, self.stride)
    }

    /// Weights of a channel.
    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// On pictures of one size.
    fn grid(&self, (batch, height, width): (usize, usize, usize)) -> Grid {
        Grid {
            batch,
            channels: self.channels,
            kernel: self.kernel,
            stride: self.stride,
            height,
            width,
            rows: self.output_size(height),
            columns: self.output_size(width),
            top: self.padding.zeros(height, self.kernel, self.stride).0,
            left: self.padding.zeros(width, self.kernel, self.stride).0,
        }
    }
}

/// A depthwise convolution on pictures of one size.
#[derive(Debug, Clone, Copy)]
struct Grid {
    batch: usize,
    channels: usize,
    kernel: usize,
    stride: usize,
    height: usize,
    width: usize,
    rows: usize,
    columns: usize,
    /// Rows of zeros before a picture; as many as it takes come after it.
    top: usize,
    /// Columns of zeros before a picture.
    left: usize,
}

impl Grid {
    fn input_len(&self) -> usize {
        self.batch * self.height * self.width * self.channels
    }

    fn output_len(&self) -> usize {
        self.batch * self.rows * self.columns * self.channels
    }

    /// The same convolution backwards, if its stride is 1, with flipped taps.
    fn flipped(self) -> Option<Self> {
        Some(Grid {
            top: (self.kernel - 1).checked_sub(self.top)?,
            left: (self.kernel - 1).checked_sub(self.left)?,
            height: self.rows,
            width: self.columns,
            rows: self.height,
            columns: self.width,
            ..self
        })
        .filter(|_| self.stride == 1)
    }

    /// For a row (or column) `i` of the input with `before` zeros before the first: the taps that
    /// reach it, with the output each belongs to.
    #[inline(always)]
    fn outputs(
        self,
        i: usize,
        before: usize,
        outputs: usize,
    ) -> impl Iterator<Item = (usize, usize)> {
        (0..self.kernel).filter_map(move |tap| {
            let index = (i + before).checked_sub(tap)?;
            (index % self.stride == 0 && index / self.stride < outputs)
                .then_some((tap, index / self.stride))
        })
    }
}

/// Filters in the order `[tap][channel]`, with the bias.
#[derive(Debug)]
pub struct DepthwiseWeights {
    taps: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl DepthwiseWeights {
    /// Packs PyTorch's `[channels, 1, kernel, kernel]`, multiplied by `scale` (one value a channel).
    ///
    /// # Panics
    /// If a length does not fit the shape.
    pub fn pack(
        shape: &DepthwiseShape,
        weight: &[f32],
        scale: Option<&[f32]>,
        bias: Option<Vec<f32>>,
    ) -> Self {
        let (channels, area) = (shape.channels, shape.taps());
        assert_eq!(weight.len(), channels * area);
        assert!(bias.as_ref().is_none_or(|b| b.len() == channels));
        let mut taps = vec![0.0; weight.len()];
        for channel in 0..channels {
            let scale = scale.map_or(1.0, |scale| scale[channel]);
            for tap in 0..area {
                taps[tap * channels + channel] = weight[channel * area + tap] * scale;
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
    dims: (usize, usize, usize),
    input: &[f32],
    weights: &DepthwiseWeights,
    residual: Option<&[f32]>,
    activation: Activation,
    output: &mut [f32],
) {
    let epilogue = Epilogue {
        bias: weights.bias.as_deref(),
        addend: residual.map_or(Addend::None, Addend::Tensor),
        activation,
        mask: None,
    };
    slide(
        isa,
        &shape.grid(dims),
        input,
        &weights.taps,
        false,
        output,
        &epilogue,
    );
}

/// The convolution with its epilogue; with `flip` the taps are taken in reverse order.
fn slide(
    isa: Isa,
    grid: &Grid,
    input: &[f32],
    taps: &[f32],
    flip: bool,
    output: &mut [f32],
    epilogue: &Epilogue,
) {
    let channels = grid.channels;
    assert_eq!(input.len(), grid.input_len());
    assert_eq!(output.len(), grid.output_len());
    assert_eq!(taps.len(), grid.kernel * grid.kernel * channels);
    check(channels, epilogue, output.len());
    if output.is_empty() {
        return;
    }
    if grid.kernel != KERNEL && Correlation::knows(grid.kernel, grid.stride) {
        return Correlation::forward(grid, flip).run(isa, input, taps, output, epilogue);
    }
    let zeros = vec![0.0; channels];
    let places = Places {
        grid: *grid,
        input,
        zeros: &zeros,
    };
    output
        .par_chunks_mut(grid.columns * channels)
        .enumerate()
        .for_each(|(index, output)| {
            let end = Ending::new(epilogue, index * output.len(), output.as_mut_ptr());
            let (n, y) = (index / grid.rows, index % grid.rows);
            if grid.kernel == KERNEL {
                isa.run(SlideRow {
                    places,
                    n,
                    y,
                    taps,
                    flip,
                    end,
                });
            } else {
                isa.run(general::Row {
                    places,
                    n,
                    y,
                    taps,
                    flip,
                    end,
                });
            }
        });
}

/// Panics if a part of the epilogue does not have the length that it must have.
fn check(channels: usize, epilogue: &Epilogue, len: usize) {
    assert!(epilogue.bias.is_none_or(|b| b.len() == channels));
    assert!(epilogue.mask.is_none_or(|(m, _)| m.len() == len));
    if let Addend::Tensor(addend) = epilogue.addend {
        assert_eq!(addend.len(), len);
    }
}

/// Where the inputs of an output are.
#[derive(Clone, Copy)]
struct Places<'a> {
    grid: Grid,
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
        let Grid {
            channels, stride, ..
        } = self.grid;
        let mut pixels = [[self.zeros.as_ptr(); COLUMNS]; KERNEL];
        for (ky, row) in pixels.iter_mut().enumerate() {
            let iy = (y * stride + ky).wrapping_sub(self.grid.top);
            if iy >= self.grid.height {
                continue;
            }
            let line = (n * self.grid.height + iy) * self.grid.width;
            for (column, pixel) in row.iter_mut().enumerate() {
                let ix = (x * stride + column).wrapping_sub(self.grid.left);
                if ix < self.grid.width {
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
    /// Of the row `output`, which begins at value `from` of the tensors.
    fn new(epilogue: &Epilogue, from: usize, output: *mut f32) -> Self {
        let null = std::ptr::null();
        // SAFETY: the tensors are longer than `from` by the assertions in `check`.
        let row = |tensor: &[f32]| unsafe { tensor.as_ptr().add(from) };
        Ending {
            bias: epilogue.bias.map_or(null, <[f32]>::as_ptr),
            addend: match epilogue.addend {
                Addend::None => null,
                Addend::Tensor(tensor) => row(tensor),
                Addend::Destination => output.cast_const(),
            },
            activation: epilogue.activation,
            mask: epilogue.mask.map_or(null, |(mask, _)| row(mask)),
            mask_activation: epilogue.mask.map_or(Activation::None, |(_, a)| a),
            output,
        }
    }

    /// What [`Ending::store`] leaves out.
    #[inline(always)]
    fn late(&mut self) -> Option<Late> {
        Late::take(&mut self.activation, &mut self.mask, self.mask_activation)
    }

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
            value = plain(value, self.activation);
            if !self.mask.is_null() {
                let output = V::load(self.mask.add(at), count);
                value = plain_mask(value, self.mask_activation, output);
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
    taps: &'a [f32],
    flip: bool,
    end: Ending,
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
            // SAFETY: the row is that of the output, and no one else's.
            unsafe { late.finish::<A::Vector>(self.end.output, 0, columns * channels) };
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
        let channels = self.places.grid.channels;
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

#[cfg(test)]
mod tests;

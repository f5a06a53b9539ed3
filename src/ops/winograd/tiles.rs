//! The tiling of a picture, and the transforms between pictures and tiles.

use std::ops::Range;

use super::super::activation::{Activation, Late};
use super::super::isa::{Arithmetic, Isa, Op};
use super::super::shape::ConvShape;
use super::super::tile::{PANEL, finish_value};
use super::super::vector::Vector;
use super::transform::{IN, Input, Map, OUT, Output, OutputGradient, POINTS};

/// A batch of pictures under a 3x3 window of stride 1, split into tiles of 4 x 4 outputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tiling {
    /// Number of pictures.
    pub batch: usize,
    /// Rows of a source picture.
    pub height: usize,
    /// Columns of a source picture.
    pub width: usize,
    /// Rows and columns of zeros before a source picture; as many as needed follow after it.
    pub padding: usize,
    /// Rows of a result.
    pub rows: usize,
    /// Columns of a result.
    pub columns: usize,
}

/// The location of a tile: picture, first output row, first output column.
pub(super) type Place = (usize, usize, usize);

impl Tiling {
    /// Returns the tiles of a forward pass.
    pub(crate) fn new(shape: &ConvShape, (batch, height, width): (usize, usize, usize)) -> Self {
        Tiling {
            batch,
            height,
            width,
            padding: shape.zeros(height).0,
            rows: shape.output_size(height),
            columns: shape.output_size(width),
        }
    }

    /// Returns the tiles of the gradient of the input: the window slides over the output's
    /// gradient.
    pub(crate) fn transposed(
        shape: &ConvShape,
        (batch, height, width): (usize, usize, usize),
    ) -> Self {
        Tiling {
            batch,
            height: shape.output_size(height),
            width: shape.output_size(width),
            padding: 2 - shape.zeros(height).0,
            rows: height,
            columns: width,
        }
    }

    /// Returns the number of tiles.
    pub(crate) fn count(&self) -> usize {
        self.batch * self.rows.div_ceil(OUT) * self.columns.div_ceil(OUT)
    }

    /// Returns the number of pixels of the sources.
    pub(crate) fn source_pixels(&self) -> usize {
        self.batch * self.height * self.width
    }

    /// Returns the number of pixels of the results.
    pub(crate) fn result_pixels(&self) -> usize {
        self.batch * self.rows * self.columns
    }

    fn place(&self, tile: usize) -> Place {
        let across = self.columns.div_ceil(OUT);
        let picture = self.rows.div_ceil(OUT) * across;
        let rest = tile % picture;
        (tile / picture, rest / across * OUT, rest % across * OUT)
    }

    /// Returns the source pixel in row `i` and column `j` of the input of a tile, or `None` if it
    /// is padding.
    #[inline(always)]
    fn seen(&self, (n, y, x): Place, i: usize, j: usize) -> Option<usize> {
        let y = (y + i).wrapping_sub(self.padding);
        let x = (x + j).wrapping_sub(self.padding);
        (y < self.height && x < self.width).then(|| (n * self.height + y) * self.width + x)
    }

    /// Returns the result pixel in row `i` and column `j` of the tile, or `None` if it lies outside
    /// the picture.
    #[inline(always)]
    fn made(&self, (n, y, x): Place, i: usize, j: usize) -> Option<usize> {
        (y + i < self.rows && x + j < self.columns)
            .then(|| (n * self.rows + y + i) * self.columns + x + j)
    }
}

/// Memory layout of a set of transformed tiles: channels in blocks of a panel's width, 36 points.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Number of values from one tile to the next.
    pub tile: usize,
    /// Number of values from one block of channels to the next.
    pub block: usize,
    /// Number of values from one point to the next.
    pub point: usize,
}

impl Layout {
    /// All channels of a tile are contiguous, as in the rows of a matrix.
    pub(super) fn rows(tiles: usize, channels: usize) -> Self {
        let width = channels.next_multiple_of(PANEL);
        Layout {
            tile: width,
            block: PANEL,
            // One more cache line, so that the points do not all map to the same set of the cache.
            point: tiles * width + 16,
        }
    }

    /// All tiles of a block of channels are contiguous, as in the panels of a matrix.
    pub(super) fn panels(tiles: usize, channels: usize) -> Self {
        Layout {
            tile: PANEL,
            block: tiles * PANEL,
            point: tiles * channels.next_multiple_of(PANEL) + 16,
        }
    }

    /// Returns the total number of values.
    pub(super) fn len(&self) -> usize {
        POINTS * self.point
    }
}

/// A transform of `I` x `I` pixels of a tile to the points, with the locations of these pixels.
pub(super) trait Source<const I: usize>: Map<I, IN> {
    /// Returns the number of pixels of the tensor that is read.
    fn pixels(&self, tiling: &Tiling) -> usize;

    /// Returns the pixel in row `i` and column `j` of a tile, or `None` if it lies outside the
    /// picture.
    fn pixel(&self, tiling: &Tiling, place: Place, i: usize, j: usize) -> Option<usize>;
}

/// The input of a tile.
impl Source<IN> for Input {
    fn pixels(&self, tiling: &Tiling) -> usize {
        tiling.source_pixels()
    }

    #[inline(always)]
    fn pixel(&self, tiling: &Tiling, place: Place, i: usize, j: usize) -> Option<usize> {
        tiling.seen(place, i, j)
    }
}

/// The gradient of the output of a tile.
impl Source<OUT> for OutputGradient {
    fn pixels(&self, tiling: &Tiling) -> usize {
        tiling.result_pixels()
    }

    #[inline(always)]
    fn pixel(&self, tiling: &Tiling, place: Place, i: usize, j: usize) -> Option<usize> {
        tiling.made(place, i, j)
    }
}

/// Transforms a range of tiles to the points: B^T d B of the input, A dY A^T of the output's
/// gradient.
pub(super) struct Gather<'a, const I: usize, S: Source<I>> {
    /// Which of the two transforms.
    pub map: S,
    pub tiling: &'a Tiling,
    /// `[batch, rows, columns, channels]`.
    pub values: &'a [f32],
    pub channels: usize,
    pub tiles: Range<usize>,
    pub layout: Layout,
    /// Index in `points` of the first of the tiles.
    pub first: usize,
    /// `layout.len()` values, of which those of the tiles are written. Channels are zero-padded to
    /// whole registers.
    pub points: *mut f32,
    /// The sums over the pixels are added to these: `channels` values, or empty if not wanted.
    pub sums: &'a mut [f32],
}

impl<const I: usize, S: Source<I>> Gather<'_, I, S> {
    /// See [`Op::run`].
    ///
    /// # Safety
    /// `points` must be valid for `layout.len()` values, the layout must be made for at least
    /// `first + tiles.len()` tiles of `channels`, and no other thread may access the values of
    /// these tiles.
    pub(super) unsafe fn run(self, isa: Isa) {
        isa.run(self);
    }
}

impl<const I: usize, S: Source<I>> Op for Gather<'_, I, S> {
    type Output = ();
    #[inline(always)]
    fn run<R: Arithmetic>(self) {
        let (tiling, channels) = (self.tiling, self.channels);
        let zeros = vec![0.0; channels];
        assert_eq!(self.values.len(), self.map.pixels(tiling) * channels);
        for (index, tile) in self.tiles.clone().enumerate() {
            let place = tiling.place(tile);
            let mut pixels = [[zeros.as_ptr(); I]; I];
            for (i, row) in pixels.iter_mut().enumerate() {
                for (j, pixel) in row.iter_mut().enumerate() {
                    if let Some(at) = self.map.pixel(tiling, place, i, j) {
                        let values = &self.values[at * channels..][..channels];
                        for (sum, value) in self.sums.iter_mut().zip(values) {
                            *sum += value;
                        }
                        *pixel = values.as_ptr();
                    }
                }
            }
            let start = (self.first + index) * self.layout.tile;
            let points = self.points.wrapping_add(start);
            // SAFETY: every pointer comes from a slice of `channels` values; the points are valid
            // by the promise of the caller of `Gather::run`.
            unsafe { to_points::<R::Vector, I, S>(&pixels, channels, self.layout, points) };
        }
    }
}

/// Transforms the pixels of one tile to the points.
///
/// # Safety
/// The pointers must be valid for reads of `channels` values; `points` must be valid for writes of
/// a tile's values in the layout, with `channels` padded to whole registers.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn to_points<V: Vector, const I: usize, M: Map<I, IN>>(
    pixels: &[[*const f32; I]; I],
    channels: usize,
    layout: Layout,
    points: *mut f32,
) {
    for channel in (0..channels).step_by(V::LANES) {
        let mut values = [[V::splat(0.0); I]; I];
        for i in 0..I {
            for j in 0..I {
                // SAFETY: at most `channels - channel` values from there.
                values[i][j] = unsafe { V::load(pixels[i][j].add(channel), channels - channel) };
            }
        }
        let values = M::square(&values);
        let start = channel / PANEL * layout.block + channel % PANEL;
        for i in 0..IN {
            for j in 0..IN {
                // SAFETY: a whole register, by the caller's promise.
                unsafe {
                    let place = points.add(start + (i * IN + j) * layout.point);
                    values[i][j].store(place, V::LANES);
                }
            }
        }
    }
}

/// Transforms products back to pixels, A^T m A, with the epilogue of the direct kernel.
pub(super) struct Finish<'a> {
    pub tiling: &'a Tiling,
    pub channels: usize,
    pub tiles: Range<usize>,
    pub layout: Layout,
    /// `layout.len()` products, starting with those of the first of the tiles.
    pub points: &'a [f32],
    /// `[batch, rows, columns, channels]`.
    pub destination: *mut f32,
    /// `channels` values.
    pub bias: Option<&'a [f32]>,
    /// A tensor of the destination's shape (it may be the destination), or null.
    pub addend: *const f32,
    /// Applied after bias and addend.
    pub activation: Activation,
    /// A tensor of the destination's shape, or null.
    pub mask: *const f32,
    /// The activation that the mask belongs to.
    pub mask_activation: Activation,
}

impl Finish<'_> {
    /// See [`Op::run`].
    ///
    /// # Safety
    /// The pointers must be valid as the fields say, and no other thread may access the pixels of
    /// the tiles in the destination.
    pub(super) unsafe fn run(self, isa: Isa) {
        assert_eq!(self.points.len(), self.layout.len());
        assert!(self.tiles.len() * self.layout.tile <= self.layout.point);
        assert!(self.layout.tile >= self.channels.next_multiple_of(PANEL));
        assert!(self.bias.is_none_or(|bias| bias.len() == self.channels));
        isa.run(self);
    }
}

impl Op for Finish<'_> {
    type Output = ();
    #[inline(always)]
    fn run<R: Arithmetic>(mut self) {
        let late = Late::take(&mut self.activation, self.mask);
        // SAFETY: passed on to the caller of `Finish::run`.
        unsafe {
            match (self.addend.is_null(), self.mask.is_null()) {
                (true, true) => from_points::<R::Vector, false, false>(&self, late),
                (false, true) => from_points::<R::Vector, true, false>(&self, late),
                (true, false) => from_points::<R::Vector, false, true>(&self, late),
                (false, false) => from_points::<R::Vector, true, true>(&self, late),
            }
        }
    }
}

/// # Safety
/// See [`Finish::run`].
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn from_points<V: Vector, const ADDEND: bool, const MASK: bool>(
    t: &Finish,
    late: Option<Late>,
) {
    for (index, tile) in t.tiles.clone().enumerate() {
        let place = t.tiling.place(tile);
        let mut made = [[None; OUT]; OUT];
        for (i, row) in made.iter_mut().enumerate() {
            for (j, pixel) in row.iter_mut().enumerate() {
                *pixel = t.tiling.made(place, i, j).map(|at| at * t.channels);
            }
        }
        for channel in (0..t.channels).step_by(V::LANES) {
            let count = t.channels - channel;
            let start = index * t.layout.tile + channel;
            let mut values = [[V::splat(0.0); IN]; IN];
            for i in 0..IN {
                for j in 0..IN {
                    let at = start + (i * IN + j) * t.layout.point;
                    // SAFETY: a tile has whole registers of values, by the assertions in `run`.
                    values[i][j] = unsafe { V::load(t.points.as_ptr().add(at), V::LANES) };
                }
            }
            let values = Output::square(&values);
            let bias = match t.bias {
                // SAFETY: a bias has `channels` values.
                Some(bias) => unsafe { V::load(bias.as_ptr().add(channel), count) },
                None => V::splat(0.0),
            };
            for i in 0..OUT {
                for j in 0..OUT {
                    let Some(pixel) = made[i][j] else {
                        continue;
                    };
                    let at = pixel + channel;
                    // SAFETY: at most `channels - channel` values of a pixel of the tensors.
                    unsafe {
                        let value = finish_value::<V, ADDEND, MASK>(
                            values[i][j].add(bias),
                            (t.addend.wrapping_add(at), t.activation),
                            (t.mask.wrapping_add(at), t.mask_activation),
                            count,
                        );
                        value.store(t.destination.add(at), count);
                    }
                }
            }
        }
        if let Some(late) = late {
            for &pixel in made.iter().flatten().flatten() {
                // SAFETY: a pixel has `channels` values in the tensors.
                unsafe { late.finish::<V>(t.destination, pixel, t.channels) };
            }
        }
    }
}

//! Register tiles: a few rows times a few vectors of a matrix product, held in registers while the
//! sum runs. Nearly all time is spent in the innermost loops of this file.
//!
//! [`Product`] is the convolution: rows are pixels, reached through pointers, and the sum runs over
//! the inputs of their windows. [`Outer`] is the weight gradient: rows are input channels, and the
//! sum runs over pixels, whose values are contiguous.

use super::activation::{Activation, Late};
use super::isa::{Arithmetic, Isa, Level, Op};
use super::vector::{self, Vector};

/// Number of columns of a panel of packed weights.
pub(super) const PANEL: usize = 32;

/// The largest number of rows of any instruction set's tile.
pub(super) const MAX_ROWS: usize = 14;

impl Isa {
    /// Returns the number of rows of the register tile.
    pub(super) fn rows(self) -> usize {
        match self.level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => vector::Avx512::ROWS,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => vector::Avx2::ROWS,
            Level::Portable => vector::Portable::ROWS,
        }
    }

    /// Returns the number of values between pixels where a tile's rows are copied: a whole number
    /// of vectors.
    pub(super) fn pitch(self) -> usize {
        match self.level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => pitch::<vector::Avx512>(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => pitch::<vector::Avx2>(),
            Level::Portable => pitch::<vector::Portable>(),
        }
    }
}

/// Returns [`Isa::pitch`] for an instruction set's vector.
pub(super) const fn pitch<V: Vector>() -> usize {
    V::ROWS.next_multiple_of(V::LANES)
}

/// Calls `$call` with constants `R` and `N` for a number of rows and vectors.
macro_rules! dispatch {
    ($rows:expr, $vectors:expr, $kernel:ident::<$v:ty>($($argument:expr),*)) => {
        dispatch!(@ $rows, $vectors, $kernel, $v, ($($argument),*), 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    };
    (@ $rows:expr, $vectors:expr, $kernel:ident, $v:ty, $arguments:tt, $($r:literal)*) => {
        match ($rows, $vectors) {
            $(
                ($r, 1) if $r <= <$v>::ROWS => dispatch!(! $kernel, $v, $r, 1, $arguments),
                ($r, _) if $r <= <$v>::ROWS && <$v>::VECTORS > 1 => dispatch!(! $kernel, $v, $r, 2, $arguments),
            )*
            _ => {}
        }
    };
    (! $kernel:ident, $v:ty, $r:literal, $n:literal, ($($argument:expr),*)) => {
        // SAFETY: passed on to the caller, whose obligations are those of the kernel.
        unsafe { $kernel::<$v, $r, $n>($($argument),*) }
    };
}

/// The product of the inputs of one tile of pixels with a range of panels, with the epilogue: bias,
/// addend, activation, mask.
pub(super) struct Product {
    /// `[taps][MAX_ROWS]` pointers, each valid for reads of `run` values.
    pub pointers: *const *const f32,
    /// Number of rows in use, 1 to `isa.rows()`.
    pub rows: usize,
    /// Number of contiguous pieces of the input of a pixel.
    pub taps: usize,
    /// Number of values in a piece.
    pub run: usize,
    /// Packed weights, valid up to the last panel in use; a panel is `[taps * run][PANEL]`.
    pub weights: *const f32,
    /// Whether the sum continues from the contents of the destination instead of starting from the
    /// bias.
    pub goes_on: bool,
    /// Number of values from one panel of weights to the next.
    pub panel_stride: usize,
    /// Panels in use.
    pub panels: std::ops::Range<usize>,
    /// Number of channels of the destination.
    pub columns: usize,
    /// The destination.
    pub destination: *mut f32,
    /// Offset of the first element of each row's pixel in destination, addend and mask; `columns`
    /// elements from there are valid in each of them.
    pub offsets: [usize; MAX_ROWS],
    /// `columns` values, or null.
    pub bias: *const f32,
    /// A tensor of the destination's shape (it may be the destination), or null.
    pub addend: *const f32,
    /// Applied after bias and addend.
    pub activation: Activation,
    /// A tensor of the destination's shape, or null.
    pub mask: *const f32,
    /// The activation that the mask belongs to.
    pub mask_activation: Activation,
}

impl Product {
    /// Computes the tile.
    ///
    /// # Safety
    /// The fields must hold what their documentation says, and no other thread may access the rows
    /// and panels of the destination.
    pub(super) unsafe fn run(self, isa: Isa) {
        debug_assert!((1..=isa.rows()).contains(&self.rows));
        isa.run(self);
    }
}

impl Op for Product {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(mut self) {
        let wide = A::Vector::LANES * A::Vector::VECTORS;
        let late = Late::take(&mut self.activation, self.mask);
        for panel in self.panels.clone() {
            let first = panel * PANEL;
            let end = (first + PANEL).min(self.columns);
            for column in (first..end).step_by(wide) {
                let vectors = (end - column)
                    .div_ceil(A::Vector::LANES)
                    .min(A::Vector::VECTORS);
                dispatch!(
                    self.rows,
                    vectors,
                    product::<A::Vector>(&self, panel, column)
                );
            }
            if let Some(late) = late {
                for offset in &self.offsets[..self.rows] {
                    // SAFETY: `columns` values from the offset are valid in the destination and
                    // belong to this call.
                    unsafe {
                        late.finish::<A::Vector>(self.destination, offset + first, end - first);
                    }
                }
            }
        }
    }
}

/// Computes `R` rows times `N` vectors from `column`.
///
/// # Safety
/// See [`Product::run`].
// Constant ranges over registers are easier to read than iterators and certain to be unrolled.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn product<V: Vector, const R: usize, const N: usize>(
    t: &Product,
    panel: usize,
    column: usize,
) {
    // SAFETY: by the caller's promise, the pointers are valid for `run` values and the weights for
    // the panels in use; a load or store at column `c` touches `min(LANES, columns - c)` values of
    // a pixel that has `columns`.
    unsafe {
        let mut sum = [[V::splat(0.0); N]; R];
        let left = |v: usize| t.columns - column - v * V::LANES;
        // Prefetch the memory of the epilogue before the sum, which takes longer than the memory
        // access.
        for r in 0..R {
            let at = t.offsets[r] + column;
            for v in 0..N {
                let at = at + v * V::LANES;
                vector::prefetch_line(t.destination.wrapping_add(at));
                if !t.mask.is_null() {
                    vector::prefetch_line(t.mask.wrapping_add(at));
                }
                if !t.addend.is_null() {
                    vector::prefetch_line(t.addend.wrapping_add(at));
                }
            }
        }
        if t.goes_on {
            for r in 0..R {
                for v in 0..N {
                    let at = t.offsets[r] + column + v * V::LANES;
                    sum[r][v] = V::load(t.destination.add(at).cast_const(), left(v));
                }
            }
        } else if !t.bias.is_null() {
            for v in 0..N {
                let bias = V::load(t.bias.add(column + v * V::LANES), left(v));
                for r in 0..R {
                    sum[r][v] = bias;
                }
            }
        }
        let mut weights = t
            .weights
            .add(panel * t.panel_stride + column - panel * PANEL);
        for tap in 0..t.taps {
            let mut pixels = [std::ptr::null::<f32>(); R];
            for r in 0..R {
                pixels[r] = *t.pointers.add(tap * MAX_ROWS + r);
            }
            for k in 0..t.run {
                let mut line = [V::splat(0.0); N];
                for v in 0..N {
                    line[v] = V::load(weights.add(v * V::LANES), V::LANES);
                }
                for r in 0..R {
                    let x = V::splat(*pixels[r].add(k));
                    for v in 0..N {
                        sum[r][v] = x.mul_add(line[v], sum[r][v]);
                    }
                }
                weights = weights.add(PANEL);
            }
        }
        // The epilogue is a loop over memory in L1: unrolled like the sum it would be too large,
        // and a loop over registers would force the sum out of them.
        let mut rows = Rows([[0.0; PANEL]; R]);
        for r in 0..R {
            for v in 0..N {
                sum[r][v].store(rows.0[r].as_mut_ptr().add(v * V::LANES), V::LANES);
            }
        }
        match (t.addend.is_null(), t.mask.is_null()) {
            (true, true) => finish::<V, R, N, false, false>(t, &rows, column),
            (false, true) => finish::<V, R, N, true, false>(t, &rows, column),
            (true, false) => finish::<V, R, N, false, true>(t, &rows, column),
            (false, false) => finish::<V, R, N, true, true>(t, &rows, column),
        }
    }
}

/// Runs the epilogue of a tile, with or without addend and mask.
///
/// # Safety
/// See [`Product::run`].
#[inline(always)]
unsafe fn finish<
    V: Vector,
    const R: usize,
    const N: usize,
    const ADDEND: bool,
    const MASK: bool,
>(
    t: &Product,
    rows: &Rows<R>,
    column: usize,
) {
    let (destination, addend, mask) = (t.destination, t.addend, t.mask);
    let (activation, mask_activation) = (t.activation, t.mask_activation);
    for v in 0..N {
        let first = column + v * V::LANES;
        let count = (t.columns - first).min(V::LANES);
        for r in 0..R {
            // SAFETY: at most `columns - first` values from channel `first` of a pixel that has
            // `columns`, in tensors that contain this pixel by the caller's promise.
            unsafe {
                let at = t.offsets[r] + first;
                let value = V::load(rows.0[r].as_ptr().add(v * V::LANES), V::LANES);
                let value = finish_value::<V, ADDEND, MASK>(
                    value,
                    (addend.wrapping_add(at), activation),
                    (mask.wrapping_add(at), mask_activation),
                    count,
                );
                value.store(destination.add(at), count);
            }
        }
    }
}

/// Applies the part of the epilogue done in registers: addend, plain activation, mask.
///
/// # Safety
/// The pointers in use must be valid for reads of `min(count, LANES)` values.
#[inline(always)]
pub(super) unsafe fn finish_value<V: Vector, const ADDEND: bool, const MASK: bool>(
    mut value: V,
    (addend, activation): (*const f32, Activation),
    (mask, mask_activation): (*const f32, Activation),
    count: usize,
) -> V {
    if ADDEND {
        // SAFETY: by the caller's promise.
        value = value.add(unsafe { V::load(addend, count) });
    }
    value = plain(value, activation);
    if MASK {
        // SAFETY: by the caller's promise.
        let told = unsafe { V::load(mask, count) };
        value = mask_activation.masked(value, told);
    }
    value
}

/// Applies a plain activation; the others are left to [`Late`].
#[inline(always)]
pub(super) fn plain<V: Vector>(value: V, activation: Activation) -> V {
    match activation {
        Activation::Relu => value.relu(),
        Activation::Relu6 => value.relu6(),
        _ => value,
    }
}

/// A finished tile, before its epilogue.
#[repr(align(64))]
struct Rows<const R: usize>([[f32; PANEL]; R]);

/// Adds the sum over pixels of input times output gradient to a few rows of a weight gradient.
pub(super) struct Outer<'a> {
    /// `[pixels][pitch]`: the inputs of each pixel.
    pub values: &'a [f32],
    /// Number of values from one pixel to the next.
    pub pitch: usize,
    /// Number of leading values of a pixel that are in use: the rows of the gradient.
    pub rows: usize,
    /// `[pixels][PANEL]` output gradients.
    pub columns: &'a [f32],
    /// `[rows][PANEL]`: the sum is added to this.
    pub gradient: &'a mut [f32],
    /// Number of columns to compute; those from the next whole vector on are left unchanged.
    pub wanted: usize,
}

impl Outer<'_> {
    /// Adds the sum.
    ///
    /// # Panics
    /// If the length of a slice differs from what its field says.
    pub(super) fn run(self, isa: Isa) {
        let pixels = self.columns.len() / PANEL;
        assert!(self.columns.len() == pixels * PANEL && self.wanted <= PANEL);
        assert!(self.values.len() == pixels * self.pitch && self.rows <= self.pitch);
        assert_eq!(self.gradient.len(), self.rows * PANEL);
        isa.run(self);
    }
}

impl Op for Outer<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(mut self) {
        let wide = A::Vector::LANES * A::Vector::VECTORS;
        let tiles = self.rows.div_ceil(A::Vector::ROWS);
        for tile in 0..tiles {
            let first = self.rows * tile / tiles;
            let rows = self.rows * (tile + 1) / tiles - first;
            for column in (0..self.wanted).step_by(wide) {
                let vectors = (self.wanted - column)
                    .div_ceil(A::Vector::LANES)
                    .min(A::Vector::VECTORS);
                dispatch!(rows, vectors, outer::<A::Vector>(&mut self, first, column));
            }
        }
    }
}

/// Computes `R` rows times `N` vectors.
///
/// # Safety
/// The slices must have the lengths that [`Outer::run`] asserts, and the rows and vectors must be
/// in use.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn outer<V: Vector, const R: usize, const N: usize>(
    t: &mut Outer,
    first: usize,
    column: usize,
) {
    // SAFETY: `values` and `columns` hold the same number of pixels, a pixel has `pitch` values,
    // and a row of the gradient and of the columns is a whole panel.
    unsafe {
        let mut sum = [[V::splat(0.0); N]; R];
        let out = &mut t.gradient[first * PANEL..(first + R) * PANEL];
        vector::prefetch(out);
        let out = out.as_mut_ptr().add(column);
        let mut values = t.values.as_ptr().add(first);
        let mut columns = t.columns.as_ptr().add(column);
        for _ in 0..t.columns.len() / PANEL {
            let mut line = [V::splat(0.0); N];
            for v in 0..N {
                line[v] = V::load(columns.add(v * V::LANES), V::LANES);
            }
            for r in 0..R {
                let x = V::splat(*values.add(r));
                for v in 0..N {
                    sum[r][v] = x.mul_add(line[v], sum[r][v]);
                }
            }
            values = values.add(t.pitch);
            columns = columns.add(PANEL);
        }
        for r in 0..R {
            for v in 0..N {
                let place = out.add(r * PANEL + v * V::LANES);
                sum[r][v]
                    .add(V::load(place, V::LANES))
                    .store(place, V::LANES);
            }
        }
    }
}

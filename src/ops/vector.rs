//! Vector registers of `f32`, one type for each instruction set.
//!
//! The kernels are written once, generic over [`Vector`], and compiled for each instruction set by
//! [`Isa::run`](super::Isa::run). This is the only way to reach an implementation, which is why the
//! methods need no further proof that the machine has the instructions.

/// A vector register. Every method is inlined into code compiled for the instruction set.
pub trait Vector: Copy {
    /// Number of values in a register.
    const LANES: usize;
    /// Number of rows of the register tile of a matrix product.
    const ROWS: usize;
    /// Number of vectors in a row of the register tile: 1 or 2.
    const VECTORS: usize;

    /// Returns a vector with the same value in every lane.
    fn splat(value: f32) -> Self;
    /// Returns `self * b + c`.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// Returns the sum.
    fn add(self, other: Self) -> Self;
    /// Returns the difference.
    fn sub(self, other: Self) -> Self;
    /// Returns the product.
    fn mul(self, other: Self) -> Self;
    /// Returns 1 / self, to about one unit in the last place, for normal numbers whose reciprocal
    /// is normal too.
    fn reciprocal(self) -> Self;
    /// Selects the lanes with these indices; only the first `LANES` indices are used.
    fn permute(self, lanes: &[i32; 16]) -> Self;
    /// Returns the larger value; a NaN in `self` stays NaN.
    fn maximum(self, other: Self) -> Self;
    /// Returns the smaller value; a NaN in `self` stays NaN.
    fn minimum(self, other: Self) -> Self;
    /// Returns `yes` where `self < limit`, otherwise (also where `self` is NaN) `no`.
    fn where_below(self, limit: Self, yes: Self, no: Self) -> Self;
    /// Adds the lowest bits of `power`, taken as an integer n, to the exponent: returns
    /// `self * 2^n` if that is a normal number.
    fn shift_exponent(self, power: Self) -> Self;
    /// Returns max(self, 0); NaN stays NaN.
    fn relu(self) -> Self;
    /// Returns min(max(self, 0), 6); NaN stays NaN.
    fn relu6(self) -> Self;
    /// Returns `self` where `output > 0`, otherwise 0.
    fn where_positive(self, output: Self) -> Self;
    /// Returns `self` where `0 < output < 6`, otherwise 0.
    fn where_inside(self, output: Self) -> Self;

    /// Loads the first `count` values at `from` (all lanes if `count` exceeds their number) and
    /// fills up with zeros.
    ///
    /// # Safety
    /// `from` must be valid for `min(count, LANES)` values.
    unsafe fn load(from: *const f32, count: usize) -> Self;

    /// Stores the first `count` lanes, at most all of them.
    ///
    /// # Safety
    /// `to` must be valid for `min(count, LANES)` values.
    unsafe fn store(self, to: *mut f32, count: usize);
}

/// Copies `from` to the beginning of `to`, whole vectors, and fills it up with zeros.
#[inline(always)]
pub(super) fn copy_filled<V: Vector>(from: &[f32], to: &mut [f32]) {
    for (index, to) in to.chunks_exact_mut(V::LANES).enumerate() {
        let from = &from[(index * V::LANES).min(from.len())..];
        // SAFETY: as many values as the slice has are read, and a whole vector is written.
        unsafe { V::load(from.as_ptr(), from.len()).store(to.as_mut_ptr(), V::LANES) };
    }
}

/// Asks for the cache lines of `values`, which are needed soon.
#[inline(always)]
pub(super) fn prefetch(values: &[f32]) {
    for line in values.chunks(LINE) {
        prefetch_line(line.as_ptr());
    }
}

/// Asks for the cache line at `address`, which need not be valid.
#[inline(always)]
pub(super) fn prefetch_line(address: *const f32) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which every x86-64 has, which changes nothing and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Values of a cache line.
pub(super) const LINE: usize = 16;

/// `a * b + c`, rounded once where the compilation target has an instruction for it.
#[inline(always)]
pub(super) fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

/// What the compiler makes of an array on the compilation target.
#[derive(Clone, Copy)]
pub struct Portable([f32; 8]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Portable(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Vector for Portable {
    const LANES: usize = 8;
    const ROWS: usize = 4;
    const VECTORS: usize = 1;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Portable([value; 8])
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Portable(std::array::from_fn(|i| {
            multiply_add(self.0[i], b.0[i], c.0[i])
        }))
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    fn reciprocal(self) -> Self {
        Portable(self.0.map(|v| 1.0 / v))
    }
    #[inline(always)]
    fn permute(self, lanes: &[i32; 16]) -> Self {
        Portable(std::array::from_fn(|i| self.0[lanes[i] as usize % 8]))
    }
    #[inline(always)]
    fn maximum(self, other: Self) -> Self {
        self.zip(other, |a, b| if b > a { b } else { a })
    }
    #[inline(always)]
    fn minimum(self, other: Self) -> Self {
        self.zip(other, |a, b| if b < a { b } else { a })
    }
    #[inline(always)]
    fn where_below(self, limit: Self, yes: Self, no: Self) -> Self {
        Portable(std::array::from_fn(|i| {
            if self.0[i] < limit.0[i] {
                yes.0[i]
            } else {
                no.0[i]
            }
        }))
    }
    #[inline(always)]
    fn shift_exponent(self, power: Self) -> Self {
        self.zip(power, |a, b| {
            f32::from_bits(a.to_bits().wrapping_add(b.to_bits() << 23))
        })
    }
    #[inline(always)]
    fn relu(self) -> Self {
        Portable(self.0.map(|v| if v < 0.0 { 0.0 } else { v }))
    }
    #[inline(always)]
    fn relu6(self) -> Self {
        let floor = self.relu();
        Portable(floor.0.map(|v| if v > 6.0 { 6.0 } else { v }))
    }
    #[inline(always)]
    fn where_positive(self, output: Self) -> Self {
        self.zip(output, |v, y| if y > 0.0 { v } else { 0.0 })
    }
    #[inline(always)]
    fn where_inside(self, output: Self) -> Self {
        self.zip(output, |v, y| if (y > 0.0) & (y < 6.0) { v } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32, count: usize) -> Self {
        let mut lanes = [0.0; 8];
        if count >= 8 {
            // SAFETY: valid for 8 values by the caller's promise.
            lanes = unsafe { from.cast::<[f32; 8]>().read_unaligned() };
        } else {
            for (i, lane) in lanes.iter_mut().enumerate().take(count) {
                // SAFETY: valid for `count` values by the caller's promise.
                *lane = unsafe { *from.add(i) };
            }
        }
        Portable(lanes)
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, count: usize) {
        if count >= 8 {
            // SAFETY: valid for 8 values by the caller's promise.
            unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) };
        } else {
            for (i, &lane) in self.0.iter().enumerate().take(count) {
                // SAFETY: valid for `count` values by the caller's promise.
                unsafe { *to.add(i) = lane };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

// SAFETY (of every block that only computes): the intrinsics need nothing but their instructions,
// and this code is reached only through `Isa::run`, where they are known to exist.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Vector;

    /// 16 lanes: 28 accumulators, 2 columns of a panel and a broadcast fill 31 of 32 registers.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512);

    /// 8 lanes: 12 accumulators, 2 columns of a panel and a broadcast fill 15 of 16 registers.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256);

    #[inline(always)]
    fn lanes(count: usize) -> __mmask16 {
        if count >= 16 {
            u16::MAX
        } else {
            (1u16 << count) - 1
        }
    }

    impl Vector for Avx512 {
        const LANES: usize = 16;
        const ROWS: usize = 14;
        const VECTORS: usize = 2;

        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: see above.
            unsafe { Avx512(_mm512_set1_ps(value)) }
        }
        #[inline(always)]
        fn mul_add(self, b: Self, c: Self) -> Self {
            // SAFETY: see above.
            unsafe { Avx512(_mm512_fmadd_ps(self.0, b.0, c.0)) }
        }
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { Avx512(_mm512_add_ps(self.0, other.0)) }
        }
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { Avx512(_mm512_sub_ps(self.0, other.0)) }
        }
        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { Avx512(_mm512_mul_ps(self.0, other.0)) }
        }
        #[inline(always)]
        fn reciprocal(self) -> Self {
            // A step of Newton's method doubles the digits of the estimate; a division would take
            // several times as long.
            // SAFETY: see above.
            unsafe {
                let estimate = _mm512_rcp14_ps(self.0);
                let rest = _mm512_fnmadd_ps(self.0, estimate, _mm512_set1_ps(1.0));
                Avx512(_mm512_fmadd_ps(estimate, rest, estimate))
            }
        }
        #[inline(always)]
        fn permute(self, lanes: &[i32; 16]) -> Self {
            // SAFETY: see above; the table has as many numbers as are read.
            unsafe {
                let index = _mm512_loadu_si512(lanes.as_ptr().cast());
                Avx512(_mm512_permutexvar_ps(index, self.0))
            }
        }
        #[inline(always)]
        fn maximum(self, other: Self) -> Self {
            // Of a NaN and a number the instruction returns the second operand.
            // SAFETY: see above.
            unsafe { Avx512(_mm512_max_ps(other.0, self.0)) }
        }
        #[inline(always)]
        fn minimum(self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { Avx512(_mm512_min_ps(other.0, self.0)) }
        }
        #[inline(always)]
        fn where_below(self, limit: Self, yes: Self, no: Self) -> Self {
            // SAFETY: see above.
            unsafe {
                let mask = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, limit.0);
                Avx512(_mm512_mask_blend_ps(mask, no.0, yes.0))
            }
        }
        #[inline(always)]
        fn shift_exponent(self, power: Self) -> Self {
            // SAFETY: see above.
            unsafe {
                let n = _mm512_slli_epi32::<23>(_mm512_castps_si512(power.0));
                let sum = _mm512_add_epi32(_mm512_castps_si512(self.0), n);
                Avx512(_mm512_castsi512_ps(sum))
            }
        }
        #[inline(always)]
        fn relu(self) -> Self {
            // Of a NaN and a number the instruction returns the second operand.
            // SAFETY: see above.
            unsafe { Avx512(_mm512_max_ps(_mm512_setzero_ps(), self.0)) }
        }
        #[inline(always)]
        fn relu6(self) -> Self {
            // SAFETY: see above.
            unsafe { Avx512(_mm512_min_ps(_mm512_set1_ps(6.0), self.relu().0)) }
        }
        #[inline(always)]
        fn where_positive(self, output: Self) -> Self {
            // SAFETY: see above.
            unsafe {
                let mask = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(output.0, _mm512_setzero_ps());
                Avx512(_mm512_maskz_mov_ps(mask, self.0))
            }
        }
        #[inline(always)]
        fn where_inside(self, output: Self) -> Self {
            // SAFETY: see above.
            unsafe {
                let mask = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(output.0, _mm512_setzero_ps());
                let six = _mm512_set1_ps(6.0);
                let mask = _mm512_mask_cmp_ps_mask::<_CMP_LT_OQ>(mask, output.0, six);
                Avx512(_mm512_maskz_mov_ps(mask, self.0))
            }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32, count: usize) -> Self {
            // SAFETY: valid for the lanes in use by the caller's promise; masked lanes are not
            // accessed.
            unsafe { Avx512(_mm512_maskz_loadu_ps(lanes(count), from)) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32, count: usize) {
            // SAFETY: as in `load`.
            unsafe { _mm512_mask_storeu_ps(to, lanes(count), self.0) }
        }
    }

    #[inline(always)]
    unsafe fn lanes8(count: usize) -> __m256i {
        // SAFETY: see above.
        unsafe {
            let index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), index)
        }
    }

    impl Vector for Avx2 {
        const LANES: usize = 8;
        const ROWS: usize = 6;
        const VECTORS: usize = 2;

        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: see above.
            unsafe { Avx2(_mm256_set1_ps(value)) }
        }
        #[inline(always)]
        fn mul_add(self, b: Self, c: Self) -> Self {
            // SAFETY: see above.
            unsafe { Avx2(_mm256_fmadd_ps(self.0, b.0, c.0)) }
        }
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { Avx2(_mm256_add_ps(self.0, other.0)) }
        }
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { Avx2(_mm256_sub_ps(self.0, other.0)) }
        }
        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { Avx2(_mm256_mul_ps(self.0, other.0)) }
        }
        #[inline(always)]
        fn reciprocal(self) -> Self {
            // A step of Newton's method doubles the digits of the estimate; a division would take
            // several times as long.
            // SAFETY: see above.
            unsafe {
                let estimate = _mm256_rcp_ps(self.0);
                let rest = _mm256_fnmadd_ps(self.0, estimate, _mm256_set1_ps(1.0));
                Avx2(_mm256_fmadd_ps(estimate, rest, estimate))
            }
        }
        #[inline(always)]
        fn permute(self, lanes: &[i32; 16]) -> Self {
            // SAFETY: see above; the table has as many numbers as are read.
            unsafe {
                let index = _mm256_loadu_si256(lanes.as_ptr().cast());
                Avx2(_mm256_permutevar8x32_ps(self.0, index))
            }
        }
        #[inline(always)]
        fn maximum(self, other: Self) -> Self {
            // Of a NaN and a number the instruction returns the second operand.
            // SAFETY: see above.
            unsafe { Avx2(_mm256_max_ps(other.0, self.0)) }
        }
        #[inline(always)]
        fn minimum(self, other: Self) -> Self {
            // SAFETY: see above.
            unsafe { Avx2(_mm256_min_ps(other.0, self.0)) }
        }
        #[inline(always)]
        fn where_below(self, limit: Self, yes: Self, no: Self) -> Self {
            // SAFETY: see above.
            unsafe {
                let mask = _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, limit.0);
                Avx2(_mm256_blendv_ps(no.0, yes.0, mask))
            }
        }
        #[inline(always)]
        fn shift_exponent(self, power: Self) -> Self {
            // SAFETY: see above.
            unsafe {
                let n = _mm256_slli_epi32::<23>(_mm256_castps_si256(power.0));
                let sum = _mm256_add_epi32(_mm256_castps_si256(self.0), n);
                Avx2(_mm256_castsi256_ps(sum))
            }
        }
        #[inline(always)]
        fn relu(self) -> Self {
            // SAFETY: see above.
            unsafe { Avx2(_mm256_max_ps(_mm256_setzero_ps(), self.0)) }
        }
        #[inline(always)]
        fn relu6(self) -> Self {
            // SAFETY: see above.
            unsafe { Avx2(_mm256_min_ps(_mm256_set1_ps(6.0), self.relu().0)) }
        }
        #[inline(always)]
        fn where_positive(self, output: Self) -> Self {
            // SAFETY: see above.
            unsafe {
                let mask = _mm256_cmp_ps::<_CMP_GT_OQ>(output.0, _mm256_setzero_ps());
                Avx2(_mm256_and_ps(mask, self.0))
            }
        }
        #[inline(always)]
        fn where_inside(self, output: Self) -> Self {
            // SAFETY: see above.
            unsafe {
                let below = _mm256_cmp_ps::<_CMP_LT_OQ>(output.0, _mm256_set1_ps(6.0));
                Avx2(_mm256_and_ps(below, self.where_positive(output).0))
            }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32, count: usize) -> Self {
            // SAFETY: valid for the lanes in use by the caller's promise; masked lanes are not
            // accessed.
            unsafe {
                Avx2(if count >= 8 {
                    _mm256_loadu_ps(from)
                } else {
                    _mm256_maskload_ps(from, lanes8(count))
                })
            }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32, count: usize) {
            // SAFETY: as in `load`.
            unsafe {
                if count >= 8 {
                    _mm256_storeu_ps(to, self.0);
                } else {
                    _mm256_maskstore_ps(to, lanes8(count), self.0);
                }
            }
        }
    }
}

//! Softmax over the keys of each query, and its gradient.

use super::super::activation::exponential;
use super::super::isa::{Arithmetic, Op};
use super::super::lanes::{fold, sum};
use super::super::vector::Vector;

/// Below this an exponential is not a normal number.
const FLAT: f32 = -87.0;

/// Turns rows of dot products into probabilities, in place. A NaN makes its whole row NaN.
pub(super) struct Softmax<'a> {
    /// `[rows][pitch]`, of which the first `tokens` of each row are used.
    pub scores: &'a mut [f32],
    pub pitch: usize,
    pub tokens: usize,
}

impl Op for Softmax<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        for row in self.scores.chunks_exact_mut(self.pitch) {
            let row = &mut row[..self.tokens];
            let larger = |v: f32, m: f32| if v > m { v } else { m };
            let largest = fold(row, row, f32::NEG_INFINITY, |v, _, m| larger(v, m), larger);
            exponentials::<A::Vector>(row, largest);
            let inverse = 1.0 / sum(row, row, |v, _, s| s + v);
            for value in row {
                *value *= inverse;
            }
        }
    }
}

/// Turns the gradients of probabilities into those of the dot products, in place.
pub(super) struct Scores<'a> {
    /// `[rows][pitch]`, of which the first `tokens` of each row are used.
    pub probabilities: &'a [f32],
    /// Of the same shape.
    pub slopes: &'a mut [f32],
    pub pitch: usize,
    pub tokens: usize,
    /// Factor on the result.
    pub scale: f32,
}

impl Op for Scores<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let rows = self.probabilities.chunks_exact(self.pitch);
        for (slopes, row) in self.slopes.chunks_exact_mut(self.pitch).zip(rows) {
            let (slopes, row) = (&mut slopes[..self.tokens], &row[..self.tokens]);
            let mean = sum(slopes, row, |g, p, s| A::mul_add(g, p, s));
            for (slope, &p) in slopes.iter_mut().zip(row) {
                *slope = (*slope - mean) * (p * self.scale);
            }
        }
    }
}

/// Replaces each value by `e^(value - largest)`.
#[inline(always)]
fn exponentials<V: Vector>(row: &mut [f32], largest: f32) {
    let (place, len) = (row.as_mut_ptr(), row.len());
    let (largest, flat) = (V::splat(largest), V::splat(FLAT));
    let mut at = 0;
    while at < len {
        // SAFETY: only those values of the vector at `at` that lie in the slice are read.
        let x = unsafe { V::load(place.add(at), len - at) };
        let x = x.sub(largest).maximum(flat);
        // The exponential of a NaN may be any number, so x - x is added: 0, or NaN for a NaN.
        let result = exponential(x).add(x.sub(x));
        // SAFETY: likewise for writes.
        unsafe { result.store(place.add(at), len - at) };
        at += V::LANES;
    }
}

//! The small linear maps of Winograd's F(4x4, 3x3), one register of channels at a time.
//!
//! A tile of 4 x 4 outputs depends on 6 x 6 inputs. With the points 0, ±√½, ±√2 and infinity, the
//! product of two polynomials is A^T [(G g) ⊙ (B^T d)] in each dimension (Lavin and Gray 2016,
//! "Fast Algorithms for Convolutional Neural Networks"). These points are each other's inverses,
//! which keeps the entries of all three matrices near 1: in single precision the error stays within
//! a few times that of direct summation, whereas the usual points 0, ±1, ±2 lose a digit.

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

use super::super::vector::Vector;

/// Number of outputs of a tile in each dimension.
pub(super) const OUT: usize = 4;
/// Number of inputs of a tile in each dimension.
pub(super) const IN: usize = 6;
/// Number of products of a tile.
pub(super) const POINTS: usize = IN * IN;

const A: f32 = FRAC_1_SQRT_2;
const B: f32 = SQRT_2;
const A2: f32 = 0.5;
const B2: f32 = 2.0;
/// 1 / prod(p - q) over the other finite points q, for p = ±a and p = ±b.
const NORM_A: f32 = -1.0 / 1.5;
const NORM_B: f32 = 1.0 / 6.0;

/// A linear map of `I` values to `O`, applied to the rows and then the columns of a square.
pub(super) trait Map<const I: usize, const O: usize> {
    /// Applies the map in one dimension.
    fn apply<V: Vector>(values: [V; I]) -> [V; O];

    /// Applies the map in both dimensions.
    // Loops instead of iterators: closures might not be compiled for the instruction set.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    fn square<V: Vector>(values: &[[V; I]; I]) -> [[V; O]; O] {
        let mut rows = [[V::splat(0.0); O]; I];
        for i in 0..I {
            rows[i] = Self::apply(values[i]);
        }
        let mut result = [[V::splat(0.0); O]; O];
        for j in 0..O {
            let mut column = [V::splat(0.0); I];
            for i in 0..I {
                column[i] = rows[i][j];
            }
            let column = Self::apply(column);
            for i in 0..O {
                result[i][j] = column[i];
            }
        }
        result
    }
}

/// Returns `value * factor + sum`.
#[inline(always)]
fn times<V: Vector>(value: V, factor: f32, sum: V) -> V {
    value.mul_add(V::splat(factor), sum)
}

#[inline(always)]
fn minus<V: Vector>(value: V, other: V) -> V {
    times(other, -1.0, value)
}

#[inline(always)]
fn scaled<V: Vector>(value: V, factor: f32) -> V {
    times(value, factor, V::splat(0.0))
}

/// B^T: transforms the input of a tile.
pub(super) struct Input;

impl Map<IN, IN> for Input {
    #[inline(always)]
    fn apply<V: Vector>(d: [V; IN]) -> [V; IN] {
        // a b = 1, hence a b^2 = b and a^2 b = a.
        let even_a = times(d[2], -B2, d[4]);
        let odd_a = times(d[3], A, scaled(d[1], -B));
        let even_b = times(d[2], -A2, d[4]);
        let odd_b = times(d[3], B, scaled(d[1], -A));
        [
            times(d[2], -A2 - B2, d[0].add(d[4])),
            even_a.add(odd_a),
            minus(even_a, odd_a),
            even_b.add(odd_b),
            minus(even_b, odd_b),
            times(d[3], -A2 - B2, d[1].add(d[5])),
        ]
    }
}

/// A^T: transforms products back to outputs.
pub(super) struct Output;

impl Map<IN, OUT> for Output {
    #[inline(always)]
    fn apply<V: Vector>(m: [V; IN]) -> [V; OUT] {
        let (even_a, odd_a) = (m[1].add(m[2]), minus(m[1], m[2]));
        let (even_b, odd_b) = (m[3].add(m[4]), minus(m[3], m[4]));
        [
            m[0].add(even_a.add(even_b)),
            times(odd_a, A, scaled(odd_b, B)),
            times(even_a, A2, scaled(even_b, B2)),
            times(odd_a, A * A2, times(odd_b, B * B2, m[5])),
        ]
    }
}

/// A: transforms the gradient of outputs to that of products.
pub(super) struct OutputGradient;

impl Map<OUT, IN> for OutputGradient {
    #[inline(always)]
    fn apply<V: Vector>(y: [V; OUT]) -> [V; IN] {
        let even_a = times(y[2], A2, y[0]);
        let odd_a = times(y[3], A * A2, scaled(y[1], A));
        let even_b = times(y[2], B2, y[0]);
        let odd_b = times(y[3], B * B2, scaled(y[1], B));
        [
            y[0],
            even_a.add(odd_a),
            minus(even_a, odd_a),
            even_b.add(odd_b),
            minus(even_b, odd_b),
            y[3],
        ]
    }
}

/// G: transforms a filter.
pub(super) struct Filter;

impl Map<3, IN> for Filter {
    #[inline(always)]
    fn apply<V: Vector>(g: [V; 3]) -> [V; IN] {
        let even_a = times(g[2], A2 * NORM_A, scaled(g[0], NORM_A));
        let odd_a = scaled(g[1], A * NORM_A);
        let even_b = times(g[2], B2 * NORM_B, scaled(g[0], NORM_B));
        let odd_b = scaled(g[1], B * NORM_B);
        [
            g[0],
            even_a.add(odd_a),
            minus(even_a, odd_a),
            even_b.add(odd_b),
            minus(even_b, odd_b),
            g[2],
        ]
    }
}

/// G^T: transforms the gradient of a transformed filter back to that of the filter.
pub(super) struct FilterGradient;

impl Map<IN, 3> for FilterGradient {
    #[inline(always)]
    fn apply<V: Vector>(u: [V; IN]) -> [V; 3] {
        let (even_a, odd_a) = (u[1].add(u[2]), minus(u[1], u[2]));
        let (even_b, odd_b) = (u[3].add(u[4]), minus(u[3], u[4]));
        [
            times(even_a, NORM_A, times(even_b, NORM_B, u[0])),
            times(odd_a, A * NORM_A, scaled(odd_b, B * NORM_B)),
            times(even_a, A2 * NORM_A, times(even_b, B2 * NORM_B, u[5])),
        ]
    }
}

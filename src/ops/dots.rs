//! Dot products of the rows of two matrices: `a b^T`, with both in row-major order.
//!
//! Nothing is packed: a register tile runs along several rows of both matrices at once, with
//! separate sums in each lane, which are added at the end. For matrices with long rows, one of
//! which is read only once.

use std::ops::Range;

use rayon::prelude::*;

use super::disjoint::Disjoint;
use super::isa::{Arithmetic, Isa, Op};
use super::matrix::Rows;
use super::vector::Vector;

/// Number of values of a row that are multiplied with all rows of the other matrix at a time, so
/// that those of a tile's rows stay in the L1 cache.
const RUN: usize = 1024;
/// Number of tiles that are processed together.
const TILES: usize = 8;
/// Number of rows of `b` of one task.
const TASK: usize = 24;
/// Number of lanes of the widest vector.
const LANES: usize = 16;
/// Number of sums of the largest tile: rows of `a` times rows of `b`.
const MAX_TILE: usize = 4 * 6;

/// Writes the dot product of row i of `a` and row j of `b` to `products[i * pitch + j]`.
///
/// # Panics
/// If the rows have different lengths, or `products` is too short.
pub(super) fn dots(isa: Isa, a: Rows, b: Rows, products: &mut [f32], pitch: usize) {
    assert_eq!(a.run, b.run);
    assert!(b.count <= pitch && products.len() >= a.count * pitch);
    let products = Disjoint::new(products);
    let parts = Parts::of(a);
    (0..b.count.div_ceil(TASK))
        .into_par_iter()
        .for_each(|task| {
            isa.run(Task {
                a: &parts,
                b,
                columns: task * TASK..((task + 1) * TASK).min(b.count),
                products: &products,
                pitch,
            });
        });
}

/// Rows split into parts, with the rows of each part adjacent: whole memory pages apart, they would
/// map to the same set of the L1 cache and evict each other.
struct Parts {
    values: Vec<f32>,
    count: usize,
    run: usize,
}

impl Parts {
    fn of(rows: Rows) -> Self {
        let mut values = Vec::with_capacity(rows.count * rows.run);
        for part in parts(rows.run) {
            for row in 0..rows.count {
                values.extend_from_slice(&rows.row(row)[part.clone()]);
            }
        }
        Parts {
            values,
            count: rows.count,
            run: rows.run,
        }
    }

    fn row(&self, part: &Range<usize>, row: usize) -> &[f32] {
        &self.values[part.start * self.count + row * part.len()..][..part.len()]
    }
}

/// Returns the parts of a row of `run` values.
fn parts(run: usize) -> impl Iterator<Item = Range<usize>> {
    let first = (0..run).step_by(RUN);
    first.map(move |first| first..(first + RUN).min(run))
}

/// Multiplies all rows of `a` with some of `b`.
struct Task<'a> {
    a: &'a Parts,
    b: Rows<'a>,
    columns: Range<usize>,
    products: &'a Disjoint<'a>,
    pitch: usize,
}

impl Op for Task<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        // The sums, a row of `a` and a vector of `b` fill the registers.
        match A::Vector::LANES * A::Vector::VECTORS {
            32 => self.tiles::<A::Vector, 4, 6>(),
            16 => self.tiles::<A::Vector, 3, 4>(),
            _ => self.tiles::<A::Vector, 2, 2>(),
        }
    }
}

impl Task<'_> {
    #[inline(always)]
    fn tiles<V: Vector, const R: usize, const C: usize>(self) {
        for column in self.columns.clone().step_by(C) {
            for row in (0..self.a.count).step_by(TILES * R) {
                self.chunk::<V, R, C>(row, column);
            }
        }
    }

    /// Computes at most [`TILES`] tiles of rows from `row` with at most `C` columns from `column`.
    #[inline(always)]
    fn chunk<V: Vector, const R: usize, const C: usize>(&self, row: usize, column: usize) {
        let end = (row + TILES * R).min(self.a.count);
        let mut sums = [[[0.0f32; LANES]; MAX_TILE]; TILES];
        let last = self.columns.end - 1;
        for part in parts(self.a.run) {
            let b: [&[f32]; C] =
                std::array::from_fn(|c| &self.b.row((column + c).min(last))[part.clone()]);
            for (tile, row) in (row..end).step_by(R).enumerate() {
                // Where there are fewer rows, the last row stands in for the missing ones.
                let a = std::array::from_fn(|r| self.a.row(&part, (row + r).min(end - 1)));
                accumulate::<V, R, C>(a, b, &mut sums[tile]);
            }
        }
        let columns = column..(column + C).min(self.columns.end);
        for (tile, first) in (row..end).step_by(R).enumerate() {
            for row in first..(first + R).min(end) {
                // SAFETY: each task has its own columns.
                let products = unsafe {
                    let from = row * self.pitch + columns.start;
                    self.products.range(from, columns.len())
                };
                let sums = &sums[tile][(row - first) * C..];
                for (product, sums) in products.iter_mut().zip(sums) {
                    *product = sum(sums);
                }
            }
        }
    }
}

/// The sums of the rows of a tile, separately for each lane.
type Sums = [[f32; LANES]; MAX_TILE];

/// Adds the products of rows of equal length to `sums`.
#[allow(
    clippy::needless_range_loop,
    reason = "constant ranges over registers unroll for certain"
)]
#[inline(always)]
fn accumulate<V: Vector, const R: usize, const C: usize>(
    a: [&[f32]; R],
    b: [&[f32]; C],
    sums: &mut Sums,
) {
    let run = a[0].len();
    assert!(a.iter().chain(&b).all(|row| row.len() == run));
    let mut registers = [[V::splat(0.0); C]; R];
    // SAFETY: a sum has room for `LANES` values, at least as many as `V::LANES`; rows have `run`
    // values, and no more than the rest of a row is read.
    unsafe {
        for r in 0..R {
            for c in 0..C {
                registers[r][c] = V::load(sums[r * C + c].as_ptr(), V::LANES);
            }
        }
        let mut step = |at: usize, count: usize| {
            let mut of_a = [V::splat(0.0); R];
            for r in 0..R {
                of_a[r] = V::load(a[r].as_ptr().add(at), count);
            }
            for c in 0..C {
                let of_b = V::load(b[c].as_ptr().add(at), count);
                for r in 0..R {
                    registers[r][c] = of_a[r].mul_add(of_b, registers[r][c]);
                }
            }
        };
        let whole = run - run % V::LANES;
        for at in (0..whole).step_by(V::LANES) {
            step(at, V::LANES);
        }
        if whole < run {
            step(whole, run - whole);
        }
        for r in 0..R {
            for c in 0..C {
                registers[r][c].store(sums[r * C + c].as_mut_ptr(), V::LANES);
            }
        }
    }
}

/// Returns the sum of all lanes, by repeated halving.
#[inline(always)]
fn sum(lanes: &[f32; LANES]) -> f32 {
    let mut sums = *lanes;
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_rows_are_those_of_double_precision_whatever_their_number() {
        for isa in Isa::available() {
            for (rows, others, run) in [(1, 1, 1), (3, 7, 40), (33, 50, 17), (37, 9, 1100)] {
                let value = |v: usize| ((v * v) as f32 * 0.37).sin();
                let matrix = |count: usize| (0..count * (run + 2)).map(value).collect::<Vec<_>>();
                let (a, b) = (matrix(rows), matrix(others));
                let rows_of = |values, count| Rows {
                    values,
                    pitch: run + 2,
                    count,
                    run,
                };
                let pitch = others + 1;
                let mut products = vec![7.0; rows * pitch];
                let (a, b) = (rows_of(&a, rows), rows_of(&b, others));
                dots(isa, a, b, &mut products, pitch);
                for (i, line) in products.chunks_exact(pitch).enumerate() {
                    for (j, &found) in line[..others].iter().enumerate() {
                        let pairs = a.row(i).iter().zip(b.row(j));
                        let expected: f64 = pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                        assert!((f64::from(found) - expected).abs() < 2e-5 * run as f64);
                    }
                    assert_eq!(line[others], 7.0);
                }
            }
        }
    }
}

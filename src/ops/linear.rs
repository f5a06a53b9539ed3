//! Linear layers with few rows and large matrices, such as a neck on a batch of features.
//!
//! Such a layer spends much of its time fetching its matrix from memory. So the matrix is read
//! once, in place, and its gradient, a product of two narrow matrices, is returned in pieces that
//! stay in cache, for callers that apply them to the matrix at once ([`Outer`]).

use std::ops::Range;

use rayon::prelude::*;

use super::buffer::AlignedVec;
use super::dots::dots;
use super::isa::Isa;
use super::matrix::{Rows, multiply, pack};

/// Number of values of a row that are transposed together, so that their destinations stay in the
/// L1 cache.
const BLOCK: usize = 16;

/// Number of rows of a piece of a product: whole register tiles of most instruction sets.
pub const ROWS: usize = 28;

/// Returns `x w^T + b` `[rows, outputs]`, for `x` `[rows, inputs]`, `weight` `[outputs, inputs]`
/// and `bias` `[outputs]`.
///
/// # Panics
/// If a slice has the wrong length.
pub fn forward(isa: Isa, x: &[f32], weight: &[f32], bias: &[f32], rows: usize) -> Vec<f32> {
    let outputs = bias.len();
    let inputs = weight.len() / outputs.max(1);
    assert_eq!((x.len(), weight.len()), (rows * inputs, outputs * inputs));
    if rows == 0 || inputs == 0 {
        return bias.repeat(rows);
    }
    let rows_of = |values, count| Rows {
        values,
        pitch: inputs,
        count,
        run: inputs,
    };
    let mut y = vec![0.0; rows * outputs];
    let (x, weight) = (rows_of(x, rows), rows_of(weight, outputs));
    dots(isa, x, weight, &mut y, outputs);
    for row in y.chunks_exact_mut(outputs) {
        row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
    }
    y
}

/// Returns the gradient `[rows, inputs]` of the input of a layer with the matrix `weight`
/// `[outputs, inputs]`, from that of its output `[rows, outputs]`.
///
/// # Panics
/// If there are no outputs, or a slice has the wrong length.
pub fn input_gradient(isa: Isa, gradient: &[f32], weight: &[f32], outputs: usize) -> Vec<f32> {
    assert!(gradient.len().is_multiple_of(outputs) && weight.len().is_multiple_of(outputs));
    Outer::of_rows(gradient.to_vec(), weight, outputs).product(isa)
}

/// Writes the transpose of a matrix with rows of `width` values; the rows of the transpose are
/// `pitch` values apart.
fn transpose(matrix: &[f32], width: usize, transposed: &mut [f32], pitch: usize) {
    for first in (0..width).step_by(BLOCK) {
        let end = (first + BLOCK).min(width);
        for (column, row) in matrix.chunks_exact(width).enumerate() {
            let places = transposed[first * pitch + column..]
                .iter_mut()
                .step_by(pitch);
            places
                .zip(&row[first..end])
                .for_each(|(place, &value)| *place = value);
        }
    }
}

/// The product `left^T right` of two matrices with the same number of rows, computed on demand row
/// by row.
#[derive(Debug)]
pub struct Outer {
    /// `left^T`.
    transposed: Vec<f32>,
    /// `right`, packed in panels.
    panels: AlignedVec,
    depth: usize,
    columns: usize,
}

impl Outer {
    /// Creates the product of `left` `[depth, rows]` and `right` `[depth, columns]`.
    ///
    /// # Panics
    /// If `depth` is 0 or does not divide both lengths.
    pub fn new(left: &[f32], right: &[f32], depth: usize) -> Self {
        assert!(left.len().is_multiple_of(depth) && right.len().is_multiple_of(depth));
        let rows = left.len() / depth;
        let mut transposed = vec![0.0; left.len()];
        if rows > 0 {
            transpose(left, rows, &mut transposed, depth);
        }
        Self::of_rows(transposed, right, depth)
    }

    /// Creates the product from the rows of `left^T` and `right`.
    fn of_rows(transposed: Vec<f32>, right: &[f32], depth: usize) -> Self {
        let columns = right.len() / depth;
        let mut panels = AlignedVec::default();
        let rows = Rows {
            values: right,
            pitch: columns,
            count: depth,
            run: columns,
        };
        pack(rows, &mut panels);
        Outer {
            transposed,
            panels,
            depth,
            columns,
        }
    }

    /// Returns the number of columns of the product.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Returns the number of rows of the product.
    pub fn num_rows(&self) -> usize {
        self.transposed.len() / self.depth
    }

    /// Returns all rows of the product.
    pub fn product(&self, isa: Isa) -> Vec<f32> {
        let mut product = vec![0.0; self.num_rows() * self.columns];
        let pieces = product.par_chunks_mut((ROWS * self.columns).max(1));
        pieces.enumerate().for_each(|(index, piece)| {
            let rows = index * ROWS..((index + 1) * ROWS).min(self.num_rows());
            self.rows(isa, rows, piece);
        });
        product
    }

    /// Writes these rows of the product. The values of a row do not depend on which other rows are
    /// computed with it.
    ///
    /// # Panics
    /// If the product has fewer rows, or the length of `product` does not match.
    pub fn rows(&self, isa: Isa, rows: Range<usize>, product: &mut [f32]) {
        let left = Rows {
            values: &self.transposed[rows.start * self.depth..rows.end * self.depth],
            pitch: self.depth,
            count: rows.len(),
            run: self.depth,
        };
        let columns = self.columns;
        multiply(isa, left, &self.panels, columns, product, columns);
    }
}

/// Returns the sum of the squares of all values of `left^T right`, for `left` and `right` with
/// `depth` rows each: the sum over pairs of rows i, j of (left_i left_j) (right_i right_j). This
/// avoids computing the product itself, which has many more values.
///
/// # Panics
/// If `depth` is 0.
pub fn sum_of_squares(isa: Isa, left: &[f32], right: &[f32], depth: usize) -> f64 {
    let pairs = products_of_rows(isa, left, depth).into_iter();
    let sum: f64 = pairs
        .zip(products_of_rows(isa, right, depth))
        .map(|(left, right)| f64::from(left) * f64::from(right))
        .sum();
    // Rounding must not make a sum near zero negative.
    sum.max(0.0)
}

/// Returns the dot products of all pairs of rows of a matrix, `[depth, depth]`.
fn products_of_rows(isa: Isa, matrix: &[f32], depth: usize) -> Vec<f32> {
    let width = matrix.len() / depth;
    let rows = Rows {
        values: matrix,
        pitch: width,
        count: depth,
        run: width,
    };
    let mut products = vec![0.0; depth * depth];
    dots(isa, rows, rows, &mut products, depth);
    products
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(from: usize, len: usize) -> Vec<f32> {
        (0..len)
            .map(|v| ((v * v + from) as f32 * 0.37).sin())
            .collect()
    }

    /// Returns `left^T right` in double precision.
    fn product(left: &[f32], right: &[f32], depth: usize) -> Vec<f64> {
        let (rows, columns) = (left.len() / depth, right.len() / depth);
        let mut product = vec![0.0; rows * columns];
        for d in 0..depth {
            for r in 0..rows {
                for c in 0..columns {
                    product[r * columns + c] +=
                        f64::from(left[d * rows + r]) * f64::from(right[d * columns + c]);
                }
            }
        }
        product
    }

    fn assert_close(found: &[f32], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let far = (f64::from(*found) - expected).abs();
            assert!(far < 2e-5 * expected.abs().max(1.0), "{found} {expected}");
        }
    }

    #[test]
    fn a_layer_of_any_size_is_a_matrix_product() {
        for isa in Isa::available() {
            for (rows, inputs, outputs) in [(1, 1, 1), (3, 40, 5), (33, 17, 45), (32, 2048, 31)] {
                let (x, weight) = (values(1, rows * inputs), values(2, outputs * inputs));
                let bias = values(3, outputs);
                // The first dimension of the transposes is the depth.
                let turn = |matrix: &[f32], width: usize| {
                    let mut turned = vec![0.0; matrix.len()];
                    transpose(matrix, width, &mut turned, matrix.len() / width);
                    turned
                };
                let mut expected = product(&turn(&x, inputs), &turn(&weight, inputs), inputs);
                for row in expected.chunks_exact_mut(outputs) {
                    row.iter_mut()
                        .zip(&bias)
                        .for_each(|(y, &b)| *y += f64::from(b));
                }
                assert_close(&forward(isa, &x, &weight, &bias, rows), &expected);
            }
        }
    }

    #[test]
    fn rows_of_an_outer_product_do_not_depend_on_how_many_are_asked_for() {
        for isa in Isa::available() {
            for (depth, rows, columns) in [(1, 1, 1), (5, 3, 40), (32, 37, 65)] {
                let (left, right) = (values(4, depth * rows), values(5, depth * columns));
                let outer = Outer::new(&left, &right, depth);
                assert_eq!((outer.num_rows(), outer.columns()), (rows, columns));
                let mut whole = vec![0.0; rows * columns];
                outer.rows(isa, 0..rows, &mut whole);
                assert_eq!(whole, outer.product(isa));
                assert_close(&whole, &product(&left, &right, depth));
                let mut turned = vec![0.0; left.len()];
                transpose(&left, rows, &mut turned, depth);
                assert_eq!(whole, input_gradient(isa, &turned, &right, depth));
                let mut one = vec![0.0; columns];
                for (index, row) in whole.chunks_exact(columns).enumerate() {
                    outer.rows(isa, index..index + 1, &mut one);
                    assert_eq!(one, row);
                }
            }
        }
    }

    #[test]
    fn the_sum_of_squares_needs_no_product() {
        for isa in Isa::available() {
            for (depth, rows, columns) in [(1, 1, 1), (5, 3, 40), (32, 37, 300)] {
                let (left, right) = (values(6, depth * rows), values(7, depth * columns));
                let expected: f64 = product(&left, &right, depth).iter().map(|v| v * v).sum();
                let found = sum_of_squares(isa, &left, &right, depth);
                assert!((found / expected - 1.0).abs() < 1e-6, "{found} {expected}");
            }
        }
    }
}

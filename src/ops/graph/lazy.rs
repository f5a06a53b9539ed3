//! Tensors that are read once, including matrix products that need not be materialised.

use std::cell::Cell;

use candle_core::{DType, Device, Storage, Tensor};
use rayon::prelude::*;

use super::{kernels, on_device, values};
use crate::ops::cuda::step;
use crate::ops::linear::{self, Outer, ROWS};
use crate::ops::{AlignedVec, Isa};

/// Number of scalars of a partial sum or of a piece of a tensor: fixed, so that nothing depends on
/// the number of threads.
const CHUNK: usize = 1 << 14;

/// Number of sums that run in parallel.
const LANES: usize = 32;

/// A tensor, or a matrix product that is evaluated by its reader: an optimiser evaluates it piece
/// by piece, so that the gradient of a large matrix is never held in memory as a whole.
#[derive(Debug, Clone)]
pub struct Lazy(Form);

#[derive(Debug, Clone)]
enum Form {
    Tensor(Tensor),
    /// `left^T right`, both of which the CPU kernels can handle.
    Product {
        left: Tensor,
        right: Tensor,
    },
}

impl From<Tensor> for Lazy {
    fn from(tensor: Tensor) -> Self {
        Lazy(Form::Tensor(tensor))
    }
}

impl Lazy {
    /// Creates `left^T right` from `left` `[depth, rows]` and `right` `[depth, columns]`, detached
    /// from the graph.
    ///
    /// # Errors
    /// If the shapes do not match.
    pub fn product(left: &Tensor, right: &Tensor) -> candle_core::Result<Self> {
        let ((depth, _), (other, _)) = (left.dims2()?, right.dims2()?);
        if depth != other {
            candle_core::bail!("a product of matrices of {depth} and {other} rows");
        }
        let (left, right) = (left.detach(), right.detach());
        if !kernels(&[&left, &right]) || depth == 0 {
            return Ok(left.t()?.matmul(&right)?.into());
        }
        let (left, right) = (left.contiguous()?, right.contiguous()?);
        Ok(Lazy(Form::Product { left, right }))
    }

    /// Returns all values as a tensor.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn tensor(&self) -> candle_core::Result<Tensor> {
        match &self.0 {
            Form::Tensor(tensor) => Ok(tensor.clone()),
            Form::Product { left, right } => {
                let outer = outer(left, right)?;
                let shape = (outer.num_rows(), outer.columns());
                Tensor::from_vec(outer.product(Isa::best()), shape, left.device())
            }
        }
    }

    /// Returns the sum of the squares of all values.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn sum_of_squares(&self) -> candle_core::Result<f64> {
        match &self.0 {
            Form::Tensor(tensor) => {
                let host = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
                read(&host.contiguous()?, |values| Ok(squares(values)))
            }
            Form::Product { left, right } => {
                let isa = Isa::best();
                let depth = left.dim(0)?;
                read(left, |left| {
                    read(right, |right| {
                        Ok(linear::sum_of_squares(isa, left, right, depth))
                    })
                })
            }
        }
    }

    /// Returns whether the CPU kernels can read it.
    pub(super) fn is_served(&self) -> bool {
        match &self.0 {
            Form::Tensor(tensor) => tensor.device().is_cpu(),
            Form::Product { .. } => true,
        }
    }

    /// Passes the values to `visit`, which can read them piece by piece. Only valid if
    /// [`Lazy::is_served`].
    pub(super) fn read<T>(
        &self,
        visit: impl FnOnce(&Pieces) -> candle_core::Result<T>,
    ) -> candle_core::Result<T> {
        match &self.0 {
            Form::Tensor(tensor) => read(&tensor.contiguous()?, |values| {
                visit(&Pieces::Values(values))
            }),
            Form::Product { left, right } => visit(&Pieces::Product(outer(left, right)?)),
        }
    }
}

/// Returns the sum of the squares of all values of all members. On a GPU, only this one number is
/// copied to the host.
///
/// # Errors
/// If a tensor operation fails.
pub fn sum_of_squares<'a>(all: impl IntoIterator<Item = &'a Lazy>) -> candle_core::Result<f64> {
    let (mut sum, mut there) = (0.0, Vec::new());
    for lazy in all {
        match &lazy.0 {
            Form::Tensor(tensor) if on_device(tensor) => there.push(tensor.contiguous()?),
            _ => sum += lazy.sum_of_squares()?,
        }
    }
    let there: Vec<&Tensor> = there.iter().collect();
    Ok(sum + step::sum_of_squares(&there)?)
}

/// The values of a tensor in pieces, split in a way that depends on its shape alone.
pub(super) enum Pieces<'a> {
    Values(&'a [f32]),
    Product(Outer),
}

thread_local! {
    /// A piece of a product.
    static PIECE: Cell<AlignedVec> = Cell::default();
}

impl Pieces<'_> {
    /// Returns the total number of values.
    pub(super) fn len(&self) -> usize {
        match self {
            Pieces::Values(values) => values.len(),
            Pieces::Product(outer) => outer.num_rows() * outer.columns(),
        }
    }

    /// Returns the number of values of each piece except the last, which may be shorter.
    pub(super) fn piece_len(&self) -> usize {
        match self {
            Pieces::Values(_) => CHUNK,
            Pieces::Product(outer) => (ROWS * outer.columns()).max(1),
        }
    }

    /// Passes piece number `index` to `visit`.
    pub(super) fn piece(&self, index: usize, visit: impl FnOnce(&[f32])) {
        let from = index * self.piece_len();
        let end = (from + self.piece_len()).min(self.len());
        match self {
            Pieces::Values(values) => visit(&values[from..end]),
            Pieces::Product(outer) => {
                let rows = index * ROWS..((index + 1) * ROWS).min(outer.num_rows());
                let mut piece = PIECE.take();
                piece.resize(end - from);
                outer.rows(Isa::best(), rows, &mut piece);
                visit(&piece);
                PIECE.set(piece);
            }
        }
    }
}

/// Returns the product of two matrices on the CPU, evaluated row by row.
fn outer(left: &Tensor, right: &Tensor) -> candle_core::Result<Outer> {
    let depth = left.dim(0)?;
    read(left, |left| {
        read(right, |right| Ok(Outer::new(left, right, depth)))
    })
}

/// Passes the values of a contiguous tensor on the CPU to `visit`.
fn read<T>(
    tensor: &Tensor,
    visit: impl FnOnce(&[f32]) -> candle_core::Result<T>,
) -> candle_core::Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => visit(values(storage, layout)?),
        _ => candle_core::bail!("expected a tensor of the CPU"),
    }
}

/// Returns the sum of squares, in chunks and in double precision.
fn squares(values: &[f32]) -> f64 {
    let partial: Vec<f64> = values.par_chunks(CHUNK).map(chunk_sum).collect();
    partial.iter().sum()
}

/// Returns the sum of squares of a chunk, using several sums in parallel: with a single one, each
/// addition would wait for the previous one.
fn chunk_sum(chunk: &[f32]) -> f64 {
    let (whole, rest) = chunk.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for values in whole {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    for (sum, &value) in sums.iter_mut().zip(rest) {
        *sum += f64::from(value) * f64::from(value);
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_read_as_the_tensor_that_it_stands_for() {
        let matrix = |from: usize, rows: usize, columns: usize| {
            let value = |v: usize| ((v * v + from) as f32 * 0.37).sin();
            let values: Vec<f32> = (0..rows * columns).map(value).collect();
            Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
        };
        let (left, right) = (matrix(1, 5, 70), matrix(2, 5, 33));
        let lazy = Lazy::product(&left, &right).unwrap();
        let whole = lazy.tensor().unwrap();
        let expected = left.t().unwrap().matmul(&right).unwrap();
        let far = (&whole - expected)
            .unwrap()
            .abs()
            .unwrap()
            .max_all()
            .unwrap();
        assert!(far.to_scalar::<f32>().unwrap() < 1e-6);

        let values: Vec<f32> = whole.flatten_all().unwrap().to_vec1().unwrap();
        let mut pieces = Vec::new();
        lazy.read(|found| {
            for index in 0..found.len().div_ceil(found.piece_len()) {
                found.piece(index, |piece| pieces.extend_from_slice(piece));
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(pieces, values);
        let (found, whole) = (lazy.sum_of_squares(), Lazy::from(whole).sum_of_squares());
        let (found, whole) = (found.unwrap(), whole.unwrap());
        assert!((found / whole - 1.0).abs() < 1e-6, "{found} {whole}");
        assert!(Lazy::product(&left, &matrix(3, 4, 33)).is_err());
    }
}

//! What several heads are made of, in operations that candle can differentiate.

use candle_core::{D, Tensor};

use crate::error::Result;
pub(super) use crate::model::builder::uniform;

/// Added to a sum of squares before its root is taken, so that a zero vector has a direction's
/// gradient of 0 and not of infinity. Far below the rounding of any other vector's norm.
const TINY: f64 = 1e-12;

/// `[..., in]` -> `[..., out]` by a weight `[out, in]` and a bias `[out]`.
pub(super) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let last = dims.len() - 1;
    let y = x.reshape(((), dims[last]))?.matmul(&weight.t()?)?;
    dims[last] = weight.dim(0)?;
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    Ok(y.reshape(dims)?)
}

/// The Euclidean norm over the last dimension, which is kept with size 1.
pub(super) fn norm(x: &Tensor) -> Result<Tensor> {
    Ok((x.sqr()?.sum_keepdim(D::Minus1)? + TINY)?.sqrt()?)
}

/// Vectors of length 1 along the last dimension.
pub(super) fn unit(x: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_div(&norm(x)?)?)
}

/// Feature maps `[N, rows, columns, F]` as a list of places `[N, rows * columns, F]`.
pub(super) fn places(maps: &Tensor) -> Result<Tensor> {
    let (batch, rows, columns, features) = maps.dims4()?;
    Ok(maps.reshape((batch, rows * columns, features))?)
}

//! Building blocks shared by several heads, in operations that candle can differentiate.

use candle_core::{D, Tensor};

use crate::error::Result;
pub(super) use crate::model::builder::uniform;
use crate::onnx::{Graph, Value};

/// The constant added to a sum of squares before the square root, so that the gradient of a zero
/// vector's direction is 0 and not infinite. It is far below the rounding error of any other
/// vector's norm.
const TINY: f64 = 1e-12;

/// Returns the Euclidean norm over the last dimension, which is kept with size 1.
pub(super) fn norm(x: &Tensor) -> Result<Tensor> {
    Ok((x.sqr()?.sum_keepdim(D::Minus1)? + TINY)?.sqrt()?)
}

/// Scales vectors along the last dimension to length 1.
pub(super) fn unit(x: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_div(&norm(x)?)?)
}

/// Writes [`norm`] into `graph`.
pub(super) fn norm_in(graph: &mut Graph, x: &Value) -> Value {
    let squares = graph.multiply(x, x);
    let sum = graph.sum_last(&squares);
    let sum = graph.plus(&sum, TINY);
    graph.root(&sum)
}

/// Writes [`unit`] into `graph`.
pub(super) fn unit_in(graph: &mut Graph, x: &Value) -> Value {
    let norm = norm_in(graph, x);
    graph.divide(x, &norm)
}

/// Reshapes feature maps `[N, rows, columns, F]` to a list of locations `[N, rows * columns, F]`.
pub(super) fn places(maps: &Tensor) -> Result<Tensor> {
    let (batch, rows, columns, features) = maps.dims4()?;
    Ok(maps.reshape((batch, rows * columns, features))?)
}

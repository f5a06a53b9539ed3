//! What several heads are made of, in operations that candle can differentiate.

use candle_core::{D, Tensor};

use crate::error::Result;
pub(super) use crate::model::builder::uniform;
use crate::onnx::{Graph, Value};

/// Added to a sum of squares before its root is taken, so that a zero vector has a direction's
/// gradient of 0 and not of infinity. Far below the rounding of any other vector's norm.
const TINY: f64 = 1e-12;

/// The Euclidean norm over the last dimension, which is kept with size 1.
pub(super) fn norm(x: &Tensor) -> Result<Tensor> {
    Ok((x.sqr()?.sum_keepdim(D::Minus1)? + TINY)?.sqrt()?)
}

/// Vectors of length 1 along the last dimension.
pub(super) fn unit(x: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_div(&norm(x)?)?)
}

/// [`norm`] written into `graph`.
pub(super) fn norm_in(graph: &mut Graph, x: &Value) -> Value {
    let squares = graph.multiply(x, x);
    let sum = graph.sum_last(&squares);
    let sum = graph.plus(&sum, TINY);
    graph.root(&sum)
}

/// [`unit`] written into `graph`.
pub(super) fn unit_in(graph: &mut Graph, x: &Value) -> Value {
    let norm = norm_in(graph, x);
    graph.divide(x, &norm)
}

/// Feature maps `[N, rows, columns, F]` as a list of places `[N, rows * columns, F]`.
pub(super) fn places(maps: &Tensor) -> Result<Tensor> {
    let (batch, rows, columns, features) = maps.dims4()?;
    Ok(maps.reshape((batch, rows * columns, features))?)
}

//! Softmax.

use candle_core::Tensor;

use crate::error::Result;

/// Computes the softmax along `dim` from primitive operations, so that it is part of the graph on
/// every device: candle-nn's `softmax_last_dim` silently drops the gradient. The maximum that is
/// subtracted first is treated as a constant, since the result does not depend on it.
///
/// # Errors
/// If there is no such dimension.
pub fn softmax(x: &Tensor, dim: usize) -> Result<Tensor> {
    let largest = x.max_keepdim(dim)?.detach();
    let power = x.broadcast_sub(&largest)?.exp()?;
    Ok(power.broadcast_div(&power.sum_keepdim(dim)?)?)
}

//! Softmax.

use candle_core::Tensor;

use crate::error::Result;

/// Softmax along `dim`, of primitive operations and so part of the graph on every device: candle-nn's
/// `softmax_last_dim` drops the gradient without a word. The largest value that is taken off first is
/// a constant: the result does not depend on it.
///
/// # Errors
/// If there is no such dimension.
pub fn softmax(x: &Tensor, dim: usize) -> Result<Tensor> {
    let largest = x.max_keepdim(dim)?.detach();
    let power = x.broadcast_sub(&largest)?.exp()?;
    Ok(power.broadcast_div(&power.sum_keepdim(dim)?)?)
}

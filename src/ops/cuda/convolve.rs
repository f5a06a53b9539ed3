//! Convolutions and their gradients, on pictures `[batch, height, width, channels]` with weights
//! `[outputs, kernel, kernel, channels / groups]`: with cuDNN on the GPU in builds with that
//! feature, otherwise with im2col columns.

use candle_core::{Result, Tensor};

use super::columns;
use super::convolution::Convolution;
#[cfg(feature = "cudnn")]
use super::cudnn;

/// Approximate maximum number of bytes of columns in memory at the same time.
const COLUMN_BYTES: usize = 256 << 20;

/// Returns the output of a convolution.
///
/// # Errors
/// If a kernel fails, or the shapes do not match.
pub fn forward(x: &Tensor, weights: &Tensor, convolution: &Convolution) -> Result<Tensor> {
    #[cfg(feature = "cudnn")]
    if x.device().is_cuda() {
        return cudnn::forward(x, weights, convolution);
    }
    columns::forward(x, weights, convolution, COLUMN_BYTES)
}

/// Returns the gradient of the input `[.., height, width, ..]` from that of the output.
///
/// # Errors
/// If a kernel fails, or the shapes do not match.
pub fn input_gradient(
    gradient: &Tensor,
    weights: &Tensor,
    convolution: &Convolution,
    size: (usize, usize),
) -> Result<Tensor> {
    #[cfg(feature = "cudnn")]
    if gradient.device().is_cuda() {
        return cudnn::input_gradient(gradient, weights, convolution, size);
    }
    columns::input_gradient(gradient, weights, convolution, size, COLUMN_BYTES)
}

/// Returns the gradient of the weights, from the input and the gradient of the output.
///
/// # Errors
/// If a kernel fails, or the shapes do not match.
pub fn weight_gradient(x: &Tensor, gradient: &Tensor, convolution: &Convolution) -> Result<Tensor> {
    #[cfg(feature = "cudnn")]
    if x.device().is_cuda() {
        return cudnn::weight_gradient(x, gradient, convolution);
    }
    columns::weight_gradient(x, gradient, convolution, COLUMN_BYTES)
}

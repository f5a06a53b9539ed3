//! Operations on candle's tensors: the kernels on the CPU in single precision, candle's primitive
//! operations elsewhere. Which of them serves a tensor is chosen here and nowhere else.

mod average;
mod batch_norm;
mod dropout;
mod in_place;
mod layer_norm;
mod lazy;
mod linear;
mod positions;
mod softmax;
#[cfg(test)]
mod testing;

pub use average::global_average;
pub use batch_norm::{Normalised, batch_norm};
pub use dropout::dropout_mask;
pub use in_place::{Pass, change, for_each, upload};
pub use layer_norm::layer_norm;
pub use lazy::{Lazy, sum_of_squares};
pub use linear::linear;
pub use positions::resampled;
pub use softmax::softmax;

use super::cuda;
use candle_core::{CpuStorage, DType, Device, Layout, Tensor};

/// Whether the kernels of [`crate::ops`] serve tensors of this device and type.
pub fn kernels_serve(device: &Device, dtype: DType) -> bool {
    device.is_cpu() && dtype == DType::F32
}

/// Whether the kernels of the GPU serve this tensor, there.
pub fn on_device(tensor: &Tensor) -> bool {
    !tensor.device().is_cpu() && cuda::serves(tensor.device(), tensor.dtype())
}

/// Whether the kernels can take these tensors.
fn kernels(tensors: &[&Tensor]) -> bool {
    let suits = |tensor: &&Tensor| kernels_serve(tensor.device(), tensor.dtype());
    tensors.iter().all(suits)
}

/// The values of a tensor whose elements lie one after the other.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => candle_core::bail!("the tensor is not contiguous"),
    }
}

/// The values of a tensor, for a backward pass.
fn flat(tensor: &Tensor) -> candle_core::Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

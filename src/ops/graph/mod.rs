//! Operations on candle's tensors: the CPU kernels in single precision, otherwise candle's
//! primitive operations or, for [`dropout_mask`] and [`sum_of_squares`], the GPU kernels. The
//! choice between them is made only here.

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

/// Returns whether the CPU kernels of [`crate::ops`] handle tensors of this device and type.
pub fn kernels_serve(device: &Device, dtype: DType) -> bool {
    device.is_cpu() && dtype == DType::F32
}

/// Returns whether the tensor is on a GPU whose kernels can handle it.
pub fn on_device(tensor: &Tensor) -> bool {
    !tensor.device().is_cpu() && cuda::serves(tensor.device(), tensor.dtype())
}

/// Returns whether the CPU kernels can handle all of these tensors.
fn kernels(tensors: &[&Tensor]) -> bool {
    let suits = |tensor: &&Tensor| kernels_serve(tensor.device(), tensor.dtype());
    tensors.iter().all(suits)
}

/// Returns the values of a contiguous tensor.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => candle_core::bail!("the tensor is not contiguous"),
    }
}

/// Returns the values of a tensor, for use in a backward pass.
fn flat(tensor: &Tensor) -> candle_core::Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

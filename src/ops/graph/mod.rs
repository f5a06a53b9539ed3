//! Operations of candle's graph with their own backward pass: the kernels on the CPU in single
//! precision, candle's primitive operations elsewhere.

mod average;
mod layer_norm;

pub use average::global_average;
pub use layer_norm::layer_norm;

use candle_core::{CpuStorage, DType, Layout, Tensor};

/// Whether the kernels can take these tensors.
fn kernels(tensors: &[&Tensor]) -> bool {
    let suits = |tensor: &&Tensor| tensor.device().is_cpu() && tensor.dtype() == DType::F32;
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

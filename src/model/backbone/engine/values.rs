//! Access to the values of candle's tensors for the kernels.

use candle_core::{Storage, Tensor};

use crate::error::Result;

/// Calls `read` with the values of a tensor on the CPU, without copying them if it is contiguous.
pub(super) fn with_values<R>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cpu(storage), Some((from, to))) = (&*storage, layout.contiguous_offsets()) else {
        return Err(candle_core::Error::Msg("the engine reads tensors on the CPU".into()).into());
    };
    Ok(read(&storage.as_slice::<f32>()?[from..to]))
}

/// Returns the values of a small tensor.
pub(super) fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    with_values(tensor, <[f32]>::to_vec)
}

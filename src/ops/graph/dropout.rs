//! Dropout masks.

use candle_core::Tensor;

use super::on_device;
use crate::error::Result;
use crate::ops::cuda::step;
use crate::rng::Stream;

/// Returns a mask of the shape of `x` on its device: 0 with `probability`, otherwise 1 / (1 -
/// probability). It takes as many draws from the stream as `x` has values; a GPU makes the same
/// draws.
///
/// # Errors
/// If the device is out of memory.
pub fn dropout_mask(x: &Tensor, probability: f64, stream: &mut Stream) -> Result<Tensor> {
    let count = x.elem_count();
    if on_device(x) {
        let (key, first) = stream.skip(count);
        let mask = step::dropout_mask((&key, first), count, probability, x)?;
        return Ok(mask.reshape(x.shape())?);
    }
    let kept = (1.0 / (1.0 - probability)) as f32;
    let mask: Vec<f32> = (0..count)
        .map(|_| match stream.chance(probability) {
            true => 0.0,
            false => kept,
        })
        .collect();
    let mask = Tensor::from_vec(mask, x.shape(), x.device())?;
    Ok(mask.to_dtype(x.dtype())?)
}

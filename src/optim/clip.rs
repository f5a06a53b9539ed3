//! The global norm of the gradients and the factor that keeps it under a bound.

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use rayon::prelude::*;

use crate::error::Result;

/// Scalars a partial sum covers: fixed, so that the sum does not depend on the number of threads.
const CHUNK: usize = 1 << 14;

/// Sums side by side.
const LANES: usize = 32;

/// The L2 norm over all `gradients` together, accumulated in f64.
pub fn gradient_norm<'a>(gradients: impl IntoIterator<Item = &'a Tensor>) -> Result<f64> {
    let mut total = 0.0;
    for gradient in gradients {
        total += sum_of_squares(gradient)?;
    }
    Ok(total.sqrt())
}

/// The factor on the gradients for a norm of at most `max_norm`, PyTorch's `clip_grad_norm_`.
pub fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}

fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    let on_cpu = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
    let tensor = on_cpu.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(CpuStorage::F32(values)) = &*storage else {
        return Ok(0.0);
    };
    let values = &values[layout.start_offset()..layout.start_offset() + tensor.elem_count()];
    let partial: Vec<f64> = values.par_chunks(CHUNK).map(chunk_sum).collect();
    Ok(partial.iter().sum())
}

/// The sum of squares of a chunk, in sums side by side: one after the other, each addition would
/// wait for the one before.
fn chunk_sum(chunk: &[f32]) -> f64 {
    let (whole, rest) = chunk.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for values in whole {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    for (sum, &value) in sums.iter_mut().zip(rest) {
        *sum += f64::from(value) * f64::from(value);
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norm_spans_all_tensors() {
        let a = Tensor::new(&[3.0f32, 0.0], &Device::Cpu).unwrap();
        let b = Tensor::new(&[[4.0f32], [12.0]], &Device::Cpu).unwrap();
        let norm = gradient_norm([&a, &b]).unwrap();
        assert!((norm - 13.0).abs() < 1e-12);
        assert!((clip_factor(norm, 6.5) - 0.5).abs() < 1e-6);
        assert_eq!(clip_factor(1.0, 35.0), 1.0);
    }
}

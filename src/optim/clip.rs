//! The global norm of the gradients and the factor that keeps it under a bound.

use crate::error::Result;
use crate::ops::graph::{self, Lazy};

/// Returns the L2 norm over all `gradients` together, accumulated in f64.
pub fn gradient_norm<'a>(gradients: impl IntoIterator<Item = &'a Lazy>) -> Result<f64> {
    Ok(graph::sum_of_squares(gradients)?.sqrt())
}

/// Returns the factor that limits gradients of this norm to `max_norm`, as in PyTorch's
/// `clip_grad_norm_`.
pub fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};

    #[test]
    fn norm_spans_all_tensors() {
        let a = Tensor::new(&[3.0f32, 0.0], &Device::Cpu).unwrap();
        let b = Tensor::new(&[[4.0f32], [12.0]], &Device::Cpu).unwrap();
        let norm = gradient_norm([&a.into(), &b.into()]).unwrap();
        assert!((norm - 13.0).abs() < 1e-12);
        assert!((clip_factor(norm, 6.5) - 0.5).abs() < 1e-6);
        assert_eq!(clip_factor(1.0, 35.0), 1.0);
    }
}

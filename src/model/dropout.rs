//! Dropout.

use candle_core::Tensor;

use crate::error::Result;
use crate::ops::graph;
use crate::rng::Stream;

/// Drops entries with `probability` and scales the others by 1 / (1 - probability), which preserves
/// the expectation. Nothing is drawn for a probability of 0.
pub(super) fn dropout(x: &Tensor, probability: f64, stream: &mut Stream) -> Result<Tensor> {
    if probability == 0.0 {
        return Ok(x.clone());
    }
    Ok((x * graph::dropout_mask(x, probability, stream)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn dropout_keeps_the_expectation_and_follows_its_stream() {
        let ones = Tensor::ones((200, 64), DType::F32, &Device::Cpu).unwrap();
        let drop = |step| {
            let mut stream = Stream::new(5, "dropout", 0, step);
            let y = dropout(&ones, 0.5, &mut stream).unwrap();
            y.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let values = drop(0);
        assert!(values.iter().all(|&v| v == 0.0 || v == 2.0));
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        assert!((mean - 1.0).abs() < 0.05, "{mean}");
        assert_eq!(values, drop(0));
        assert_ne!(values, drop(1));
    }
}

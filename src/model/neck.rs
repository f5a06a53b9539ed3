//! Between backbone and head: linear, batch norm, dropout (paper, section 4.1).

use candle_core::Tensor;
use candle_nn::Init;
use serde::{Deserialize, Serialize};

use super::builder::Builder;
use super::parameters::Parameter;
use crate::error::{KeyPath, Result};
use crate::range::Range;
use crate::rng::Stream;

/// Settings of the neck. The defaults are the published recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NeckConfig {
    /// Width of the embedding, 256.
    pub out_channels: usize,
    /// Probability that an entry is dropped while training, 0.5; in [0, 1).
    pub dropout: f64,
}

impl Default for NeckConfig {
    fn default() -> Self {
        NeckConfig {
            out_channels: 256,
            dropout: 0.5,
        }
    }
}

impl NeckConfig {
    /// Checks the ranges; `at` is the table's own key.
    pub fn check(&self, at: &KeyPath) -> Result<()> {
        Range::AtLeast(1).check_whole(&at.join("out_channels"), self.out_channels)?;
        Range::Below(0.0, 1.0).check(&at.join("dropout"), self.dropout)
    }
}

/// Constants of the batch norm, PyTorch's defaults.
const EPS: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

/// The neck. Parameters: `neck.fc.{weight,bias}`, `neck.bn.{weight,bias,running_mean,running_var}`.
#[derive(Debug)]
pub struct Neck {
    weight: Parameter,
    bias: Parameter,
    bn_weight: Parameter,
    bn_bias: Parameter,
    running_mean: Parameter,
    running_var: Parameter,
    dropout: f64,
}

impl Neck {
    /// Makes the parameters: weight Kaiming normal with fan-out, bias 0.
    pub fn new(config: &NeckConfig, in_features: usize, builder: &Builder) -> Result<Self> {
        let width = config.out_channels;
        // Kaiming normal, fan-out, gain of a ReLU.
        let drawn = Init::Randn {
            mean: 0.0,
            stdev: (2.0 / width as f64).sqrt(),
        };
        let builder = builder.pp("neck");
        let (fc, bn) = (builder.pp("fc"), builder.pp("bn"));
        Ok(Neck {
            weight: fc.parameter("weight", &[width, in_features], drawn)?,
            bias: fc.parameter("bias", &[width], Init::Const(0.0))?,
            bn_weight: bn.parameter("weight", &[width], Init::Const(1.0))?,
            bn_bias: bn.parameter("bias", &[width], Init::Const(0.0))?,
            running_mean: bn.buffer("running_mean", width, 0.0)?,
            running_var: bn.buffer("running_var", width, 1.0)?,
            dropout: config.dropout,
        })
    }

    /// Evaluation: [N, F] -> [N, width] with running statistics and without dropout.
    pub fn forward(&self, features: &Tensor) -> Result<Tensor> {
        let x = self.linear(features)?;
        self.normalise(
            &x,
            self.running_mean.var.as_tensor(),
            self.running_var.var.as_tensor(),
        )
    }

    /// Training: [N, F] -> [N, width] with batch statistics, which also move the running ones;
    /// `stream` draws the dropout mask.
    pub fn forward_train(&self, features: &Tensor, stream: &mut Stream) -> Result<Tensor> {
        let x = self.linear(features)?;
        let count = x.dim(0)?;
        let mean = x.mean(0)?;
        let variance = x.broadcast_sub(&mean)?.sqr()?.mean(0)?;
        let y = self.normalise(&x, &mean, &variance)?;

        // PyTorch keeps the unbiased variance but normalises with the biased one.
        let unbiased = (variance.detach() * (count as f64 / (count.max(2) - 1) as f64))?;
        for (running, batch) in [
            (&self.running_mean, mean.detach()),
            (&self.running_var, unbiased),
        ] {
            let kept = (running.var.as_tensor() * (1.0 - MOMENTUM))?;
            running.set(&(kept + (batch * MOMENTUM)?)?)?;
        }
        self.drop_entries(y, stream)
    }

    fn linear(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.matmul(&self.weight.var.t()?)?
            .broadcast_add(&self.bias.var)?)
    }

    fn normalise(&self, x: &Tensor, mean: &Tensor, variance: &Tensor) -> Result<Tensor> {
        let scale = (variance + EPS)?.sqrt()?.recip()?;
        Ok(x.broadcast_sub(mean)?
            .broadcast_mul(&(scale * self.bn_weight.var.as_tensor())?)?
            .broadcast_add(&self.bn_bias.var)?)
    }

    fn drop_entries(&self, x: Tensor, stream: &mut Stream) -> Result<Tensor> {
        if self.dropout == 0.0 {
            return Ok(x);
        }
        let kept = (1.0 / (1.0 - self.dropout)) as f32;
        let mask: Vec<f32> = (0..x.elem_count())
            .map(|_| {
                if stream.chance(self.dropout) {
                    0.0
                } else {
                    kept
                }
            })
            .collect();
        Ok((&x * Tensor::from_vec(mask, x.shape(), x.device())?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Parameters;
    use candle_core::{DType, Device};

    fn neck(dropout: f64) -> (Neck, Parameters) {
        let config = NeckConfig {
            out_channels: 64,
            dropout,
        };
        let builder = Builder::new(&Device::Cpu, DType::F32, 3);
        let neck = Neck::new(&config, 8, &builder).unwrap();
        (neck, builder.parameters())
    }

    fn features() -> Tensor {
        let mut stream = Stream::new(1, "features", 0, 0);
        let values: Vec<f32> = (0..32 * 8).map(|_| stream.normal() as f32).collect();
        Tensor::from_vec(values, (32, 8), &Device::Cpu).unwrap()
    }

    #[test]
    fn batch_statistics_normalise_the_output_and_move_the_running_ones() {
        let (neck, parameters) = neck(0.0);
        let mut stream = Stream::new(0, "dropout", 0, 0);
        let x = neck.linear(&features()).unwrap();
        let y = neck.forward_train(&features(), &mut stream).unwrap();
        let mean = y.mean(0).unwrap().abs().unwrap().max(0).unwrap();
        assert!(mean.to_scalar::<f32>().unwrap() < 1e-5);
        let expected = x.mean(0).unwrap().to_vec1::<f32>().unwrap();
        let running = parameters.var("neck.bn.running_mean").unwrap();
        for (running, mean) in running.to_vec1::<f32>().unwrap().iter().zip(expected) {
            assert!((running - 0.1 * mean).abs() < 1e-6);
        }
    }

    #[test]
    fn dropout_keeps_the_expectation_and_follows_its_stream() {
        let (neck, _) = neck(0.5);
        let ones = Tensor::ones((200, 64), DType::F32, &Device::Cpu).unwrap();
        let drop = |step| {
            let mut stream = Stream::new(5, "dropout", 0, step);
            let y = neck.drop_entries(ones.clone(), &mut stream).unwrap();
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

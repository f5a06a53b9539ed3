//! The classifier: one linear layer from the embedding to a logit a class.

use candle_core::Tensor;
use candle_nn::{Init, Linear, Module};

use super::builder::Builder;
use crate::error::Result;

/// Standard deviation of the initial weights, as published.
const INIT_STD: f64 = 0.01;

/// The head. Parameters: `head.weight` [C, width], `head.bias` [C].
#[derive(Debug)]
pub struct Head(Linear);

impl Head {
    /// Makes the parameters: weights normal(0, 0.01), bias 0.
    pub fn new(in_features: usize, num_classes: usize, builder: &Builder) -> Result<Self> {
        let builder = builder.pp("head");
        let drawn = Init::Randn {
            mean: 0.0,
            stdev: INIT_STD,
        };
        let weight = builder.parameter("weight", &[num_classes, in_features], drawn)?;
        let bias = builder.parameter("bias", &[num_classes], Init::Const(0.0))?;
        // The layer shares the variables' storage: it sees what the optimiser does.
        let (weight, bias) = (weight.var.into_inner(), bias.var.into_inner());
        Ok(Head(Linear::new(weight, Some(bias))))
    }

    /// [N, width] -> logits [N, C].
    pub fn forward(&self, embedding: &Tensor) -> Result<Tensor> {
        Ok(self.0.forward(embedding)?)
    }
}

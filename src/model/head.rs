//! The classifier: one linear layer from the embedding to a logit a class.

use candle_core::{Device, Tensor, Var};
use candle_nn::{Linear, Module};

use super::neck::normal;
use super::parameters::{Parameters, Role};
use crate::error::Result;

/// Standard deviation of the initial weights, as published.
const INIT_STD: f64 = 0.01;

/// The head. Parameters: `head.weight` [C, width], `head.bias` [C].
#[derive(Debug)]
pub struct Head(Linear);

impl Head {
    /// Defines the parameters: weights normal(0, 0.01), bias 0.
    pub fn new(
        in_features: usize,
        num_classes: usize,
        parameters: &mut Parameters,
        device: &Device,
        seed: u64,
    ) -> Result<Self> {
        let shape = [num_classes, in_features];
        let weight = normal(&shape, INIT_STD, "head.weight", seed, device)?;
        let bias = Var::from_tensor(&Tensor::full(0f32, num_classes, device)?)?;
        parameters.insert("head.weight", weight.clone(), Role::Trainable)?;
        parameters.insert("head.bias", bias.clone(), Role::Trainable)?;
        // The layer shares the variables' storage: it sees what the optimiser does.
        let (weight, bias) = (weight.into_inner(), bias.into_inner());
        Ok(Head(Linear::new(weight, Some(bias))))
    }

    /// [N, width] -> logits [N, C].
    pub fn forward(&self, embedding: &Tensor) -> Result<Tensor> {
        Ok(self.0.forward(embedding)?)
    }
}

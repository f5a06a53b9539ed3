//! The layers of a backbone: what the nodes of an architecture do, with their tensors.

use candle_core::Tensor;
use candle_nn::Init;

use super::architecture::{Architecture, ConvNode, MaxPoolNode, Operation};
use super::config::BackboneConfig;
use crate::error::Result;
use crate::model::builder::Builder;
use crate::model::parameters::Parameter;

/// Added to the variance by every batch norm.
pub const EPSILON: f64 = 1e-5;

/// Share of the new batch in the running statistics.
pub const MOMENTUM: f64 = 0.1;

/// What a node does, with what it needs for that.
#[derive(Debug, Clone)]
pub enum Layer {
    /// Convolution, batch norm, residual, activation.
    Conv(ConvNode, ConvParameters),
    /// Max pooling.
    MaxPool(MaxPoolNode),
}

impl Layer {
    /// A layer for each node, in order; tensors are made by `builder`.
    pub(super) fn create(
        config: &BackboneConfig,
        architecture: &Architecture,
        builder: &Builder,
    ) -> Result<Vec<Self>> {
        let nodes = architecture.nodes.iter();
        nodes
            .map(|node| match &node.operation {
                Operation::Conv(conv) => {
                    let builder = builder.at(node.stage, config.is_frozen(node.stage));
                    let created = ConvParameters::create(conv, &builder)?;
                    Ok(Layer::Conv(conv.clone(), created))
                }
                Operation::MaxPool(pool) => Ok(Layer::MaxPool(pool.clone())),
            })
            .collect()
    }

    /// Its parameters and buffers.
    pub fn parameters(&self) -> Vec<&Parameter> {
        match self {
            Layer::Conv(_, conv) => vec![
                &conv.weight,
                &conv.gamma,
                &conv.beta,
                &conv.mean,
                &conv.variance,
            ],
            Layer::MaxPool(_) => Vec::new(),
        }
    }
}

/// The tensors of one convolution and its batch norm.
#[derive(Debug, Clone)]
pub struct ConvParameters {
    /// `[out, in / groups, kernel, kernel]`.
    pub weight: Parameter,
    /// Scale of the batch norm.
    pub gamma: Parameter,
    /// Shift of the batch norm.
    pub beta: Parameter,
    /// Running mean.
    pub mean: Parameter,
    /// Running variance.
    pub variance: Parameter,
}

impl ConvParameters {
    /// Creates the tensors with torchvision's initial values: Kaiming normal by the fan out for
    /// the weight, 1 and 0 for the batch norm's scale and shift, mean 0, variance 1.
    fn create(node: &ConvNode, builder: &Builder) -> Result<Self> {
        // PyTorch counts the fan out without regard to groups.
        let fan_out = (node.out_channels * node.kernel * node.kernel) as f64;
        let drawn = Init::Randn {
            mean: 0.0,
            stdev: (2.0 / fan_out).sqrt(),
        };
        let (norm, len) = (builder.pp(&node.norm), node.out_channels);
        Ok(ConvParameters {
            weight: builder
                .pp(&node.conv)
                .parameter("weight", &node.weight_shape(), drawn)?,
            gamma: norm.parameter("weight", &[len], Init::Const(1.0))?,
            beta: norm.parameter("bias", &[len], Init::Const(0.0))?,
            mean: norm.buffer("running_mean", len, 0.0)?,
            variance: norm.buffer("running_var", len, 1.0)?,
        })
    }

    /// Grows with every change of any of them.
    pub(super) fn generation(&self) -> u64 {
        [
            &self.weight,
            &self.gamma,
            &self.beta,
            &self.mean,
            &self.variance,
        ]
        .map(Parameter::generation)
        .iter()
        .sum()
    }

    /// Moves the running statistics towards those of a batch (variance unbiased).
    pub(super) fn update_running(&self, mean: &Tensor, unbiased_variance: &Tensor) -> Result<()> {
        for (running, batch) in [(&self.mean, mean), (&self.variance, unbiased_variance)] {
            let kept = (running.var.as_detached_tensor() * (1.0 - MOMENTUM))?;
            running.set(&(kept + (batch.detach() * MOMENTUM)?)?)?;
        }
        Ok(())
    }
}

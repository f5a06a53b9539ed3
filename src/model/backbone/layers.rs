//! The layers of a backbone: what the nodes of an architecture do, with their tensors.

use candle_core::{DType, Device, Tensor, Var};

use super::architecture::{Architecture, ConvNode, MaxPoolNode, Operation};
use super::config::BackboneConfig;
use crate::error::Result;
use crate::model::parameters::{Parameters, Role};
use crate::rng::Stream;

/// What every parameter of the backbone is named with, before torchvision's name.
pub const PREFIX: &str = "backbone.";

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
    /// A layer for each node, in order; tensors are created in `parameters`.
    pub(super) fn create(
        config: &BackboneConfig,
        architecture: &Architecture,
        parameters: &mut Parameters,
        place: (&Device, DType),
        seed: u64,
    ) -> Result<Vec<Self>> {
        let nodes = architecture.nodes.iter();
        nodes
            .map(|node| match &node.operation {
                Operation::Conv(conv) => {
                    let frozen = config.is_frozen(node.stage);
                    let created = ConvParameters::create(conv, frozen, parameters, place, seed)?;
                    Ok(Layer::Conv(conv.clone(), created))
                }
                Operation::MaxPool(pool) => Ok(Layer::MaxPool(pool.clone())),
            })
            .collect()
    }
}

/// The tensors of one convolution and its batch norm; shared with the [`Parameters`].
#[derive(Debug, Clone)]
pub struct ConvParameters {
    /// Full name of the convolution's weight.
    pub weight_name: String,
    /// Full name of the batch norm, without `.weight`.
    pub norm_name: String,
    /// `[out, in / groups, kernel, kernel]`.
    pub weight: Var,
    /// Scale of the batch norm.
    pub gamma: Var,
    /// Shift of the batch norm.
    pub beta: Var,
    /// Running mean.
    pub mean: Var,
    /// Running variance.
    pub variance: Var,
}

impl ConvParameters {
    /// Creates the tensors with torchvision's initial values: Kaiming normal by the fan out for
    /// the weight, 1 and 0 for the batch norm's scale and shift, mean 0, variance 1.
    fn create(
        node: &ConvNode,
        frozen: bool,
        parameters: &mut Parameters,
        (device, dtype): (&Device, DType),
        seed: u64,
    ) -> Result<Self> {
        let role = if frozen {
            Role::Frozen
        } else {
            Role::Trainable
        };
        let weight_name = format!("{PREFIX}{}.weight", node.conv);
        let norm_name = format!("{PREFIX}{}", node.norm);
        let shape = node.weight_shape();
        // PyTorch counts the fan out without regard to groups.
        let deviation = (2.0 / (node.out_channels * node.kernel * node.kernel) as f64).sqrt();
        let mut stream = Stream::new(seed, &weight_name, 0, 0);
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| (deviation * stream.normal()) as f32)
            .collect();
        let weight = Tensor::from_vec(values, &shape, device)?.to_dtype(dtype)?;
        let weight = Var::from_tensor(&weight)?;
        let ones = || Var::ones(node.out_channels, dtype, device);
        let zeros = || Var::zeros(node.out_channels, dtype, device);
        let created = ConvParameters {
            weight,
            gamma: ones()?,
            beta: zeros()?,
            mean: zeros()?,
            variance: ones()?,
            weight_name,
            norm_name,
        };
        for (name, var, role) in [
            (created.weight_name.clone(), &created.weight, role),
            (created.gamma_name(), &created.gamma, role),
            (created.beta_name(), &created.beta, role),
            (
                format!("{}.running_mean", created.norm_name),
                &created.mean,
                Role::Buffer,
            ),
            (
                format!("{}.running_var", created.norm_name),
                &created.variance,
                Role::Buffer,
            ),
        ] {
            parameters.insert(name, var.clone(), role)?;
        }
        Ok(created)
    }

    /// Full name of the batch norm's scale.
    pub fn gamma_name(&self) -> String {
        format!("{}.weight", self.norm_name)
    }

    /// Full name of the batch norm's shift.
    pub fn beta_name(&self) -> String {
        format!("{}.bias", self.norm_name)
    }

    /// Moves the running statistics towards those of a batch (variance unbiased).
    pub(super) fn update_running(&self, mean: &Tensor, unbiased_variance: &Tensor) -> Result<()> {
        for (running, batch) in [(&self.mean, mean), (&self.variance, unbiased_variance)] {
            let kept = (running.as_detached_tensor() * (1.0 - MOMENTUM))?;
            running.set(&(kept + (batch.detach() * MOMENTUM)?)?)?;
        }
        Ok(())
    }
}

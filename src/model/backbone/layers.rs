//! The layers of a network: the operations of its nodes, with their tensors.

use candle_core::Tensor;
use candle_nn::Init;

use super::architecture::{
    Affine, Architecture, AttentionNode, AverageNode, AveragePoolNode, ConvNode, GateNode,
    LayerNormNode, LowRankNode, MaxPoolNode, Operation, TokensNode,
};
use super::config::BackboneConfig;
use crate::error::Result;
use crate::model::builder::{Builder, normal, uniform};
use crate::model::parameters::Parameter;

/// Standard deviation of the initial position embeddings and tokens (as in timm's vision
/// transformers; class tokens and registers start near 0).
const POSITION_DEVIATION: f64 = 0.02;
const TOKEN_DEVIATION: f64 = 1e-6;

/// The operation of a node, with its tensors.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    clippy::enum_variant_names,
    reason = "most of the few there are are convolutions; a layer norm is called so"
)]
pub enum Layer {
    /// Convolution, norm or bias, residual, activation.
    Conv(ConvNode, ConvParameters),
    /// Max pooling.
    MaxPool(MaxPoolNode),
    /// Mean over windows.
    AveragePool(AveragePoolNode),
    /// Normalisation over channels.
    LayerNorm(LayerNormNode, NormParameters),
    /// Mean over pixels.
    Average(AverageNode),
    /// Multiplication of each channel by one number.
    Gate(GateNode),
    /// From patches to tokens.
    Tokens(TokensNode, TokensParameters),
    /// Attention among tokens.
    Attention(AttentionNode),
}

impl Layer {
    /// Creates a layer for each node, in order, with tensors from `builder`.
    pub(super) fn create(
        config: &BackboneConfig,
        architecture: &Architecture,
        builder: &Builder,
    ) -> Result<Vec<Self>> {
        let nodes = architecture.nodes.iter();
        nodes
            .map(|node| {
                let builder = builder.at(node.stage, config.is_frozen(node.stage));
                let adapter = builder.at(node.stage, config.is_adapter_frozen());
                Ok(match &node.operation {
                    Operation::Conv(conv) => {
                        let builder = if conv.added { &adapter } else { &builder };
                        let parameters = ConvParameters::create(conv, builder, &adapter)?;
                        Layer::Conv(conv.clone(), parameters)
                    }
                    Operation::LayerNorm(norm) => {
                        Layer::LayerNorm(norm.clone(), NormParameters::create(norm, &builder)?)
                    }
                    Operation::MaxPool(pool) => Layer::MaxPool(pool.clone()),
                    Operation::AveragePool(pool) => Layer::AveragePool(pool.clone()),
                    Operation::Average(average) => Layer::Average(average.clone()),
                    Operation::Gate(gate) => Layer::Gate(gate.clone()),
                    Operation::Tokens(tokens) => {
                        let parameters = TokensParameters::create(tokens, &builder)?;
                        Layer::Tokens(tokens.clone(), parameters)
                    }
                    Operation::Attention(attention) => Layer::Attention(attention.clone()),
                })
            })
            .collect()
    }

    /// Returns its batch norm, if it has one.
    pub(super) fn norm(&self) -> Option<&BatchNorm> {
        match self {
            Layer::Conv(_, ConvParameters { affine, .. }) => match affine {
                AffineParameters::BatchNorm(norm) => Some(norm),
                AffineParameters::None
                | AffineParameters::Scaled { .. }
                | AffineParameters::Bias(_)
                | AffineParameters::LayerScale { .. } => None,
            },
            _ => None,
        }
    }

    /// Returns its parameters and buffers.
    pub fn parameters(&self) -> Vec<&Parameter> {
        match self {
            Layer::Conv(_, conv) => conv.all(),
            Layer::LayerNorm(_, norm) => vec![&norm.gamma, &norm.beta],
            Layer::Tokens(_, tokens) => tokens.all(),
            Layer::MaxPool(_)
            | Layer::AveragePool(_)
            | Layer::Average(_)
            | Layer::Gate(_)
            | Layer::Attention(_) => Vec::new(),
        }
    }
}

/// The tensors of a convolution and of its affine transformation.
#[derive(Debug, Clone)]
pub struct ConvParameters {
    /// `[out, in / groups, kernel, kernel]`.
    pub weight: Parameter,
    /// The low-rank update added to the weight of a linear layer.
    pub low_rank: Option<LowRank>,
    /// The tensors of its affine transformation.
    pub affine: AffineParameters,
}

/// The factors of the low-rank update of a linear layer's weight: `factor * up * down`.
#[derive(Debug, Clone)]
pub struct LowRank {
    /// `[rank, in]`.
    pub down: Parameter,
    /// `[out, rank]`, initially zero.
    pub up: Parameter,
    /// The factor on their product.
    pub factor: f64,
}

/// The tensors of an [`Affine`].
#[derive(Debug, Clone)]
pub enum AffineParameters {
    /// The tensors of a batch norm.
    BatchNorm(BatchNorm),
    /// The convolution's bias.
    Bias(Parameter),
    /// The convolution's bias and the scale after it.
    LayerScale {
        /// The bias, added first.
        bias: Parameter,
        /// The scale, applied after the bias.
        scale: Parameter,
    },
    /// The convolution's bias, followed by a constant factor.
    Scaled {
        /// The bias, added first.
        bias: Parameter,
        /// The factor, applied after the bias.
        factor: f64,
    },
    /// No tensors.
    None,
}

/// The tensors and constants of a batch norm.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    /// Scale.
    pub gamma: Parameter,
    /// Shift.
    pub beta: Parameter,
    /// Running mean.
    pub mean: Parameter,
    /// Running variance.
    pub variance: Parameter,
    /// The constant added to the variance.
    pub epsilon: f64,
    /// The weight of the new batch in the running statistics.
    pub momentum: f64,
}

/// The tensors of a [`TokensNode`], in the shapes given there.
#[derive(Debug, Clone)]
pub struct TokensParameters {
    /// The class token.
    pub class: Parameter,
    /// The registers.
    pub registers: Option<Parameter>,
    /// The position embeddings of the patches, preceded by that of the class token if it has one.
    pub positions: Parameter,
}

/// The tensors of a layer norm.
#[derive(Debug, Clone)]
pub struct NormParameters {
    /// Scale.
    pub gamma: Parameter,
    /// Shift.
    pub beta: Parameter,
}

impl ConvParameters {
    /// Creates the tensors with the initial values of the published code: Kaiming normal by the
    /// fan-out for convolutions; scale 1 and shift 0, mean 0 and variance 1 for a batch norm; for
    /// networks with layer norms, normal with standard deviation 0.02. `adapter` creates the
    /// low-rank update.
    fn create(node: &ConvNode, builder: &Builder, adapter: &Builder) -> Result<Self> {
        // PyTorch computes the fan-out without regard to groups.
        let fan_out = (node.out_channels * node.kernel * node.kernel) as f64;
        let drawn = node.initial.unwrap_or(normal((2.0 / fan_out).sqrt()));
        let (conv, len) = (builder.pp(&node.conv), node.out_channels);
        let weight = conv.parameter("weight", &node.weight_shape(), drawn)?;
        let bias = || conv.parameter("bias", &[len], Init::Const(0.0));
        let affine = match &node.affine {
            Affine::BatchNorm {
                name,
                epsilon,
                momentum,
            } => {
                let norm = builder.pp(name);
                AffineParameters::BatchNorm(BatchNorm {
                    gamma: norm.parameter("weight", &[len], Init::Const(1.0))?,
                    beta: norm.parameter("bias", &[len], Init::Const(0.0))?,
                    mean: norm.buffer("running_mean", len, 0.0)?,
                    variance: norm.buffer("running_var", len, 1.0)?,
                    epsilon: *epsilon,
                    momentum: *momentum,
                })
            }
            Affine::Bias => AffineParameters::Bias(bias()?),
            Affine::LayerScale {
                name,
                dimensions,
                initial,
            } => {
                let mut shape = vec![1; *dimensions];
                shape[0] = len;
                AffineParameters::LayerScale {
                    bias: bias()?,
                    scale: builder.parameter(name, &shape, Init::Const(*initial))?,
                }
            }
            Affine::Scaled(factor) => AffineParameters::Scaled {
                bias: bias()?,
                factor: *factor,
            },
            Affine::None => AffineParameters::None,
        };
        let low_rank = match &node.low_rank {
            Some(low_rank) => Some(LowRank::create(node, low_rank, &adapter.pp(&node.conv))?),
            None => None,
        };
        Ok(ConvParameters {
            weight,
            low_rank,
            affine,
        })
    }

    fn all(&self) -> Vec<&Parameter> {
        let mut all = vec![&self.weight];
        match &self.affine {
            AffineParameters::BatchNorm(norm) => {
                all.extend([&norm.gamma, &norm.beta, &norm.mean, &norm.variance]);
            }
            AffineParameters::Bias(bias) => all.push(bias),
            AffineParameters::Scaled { bias, .. } => all.push(bias),
            AffineParameters::None => {}
            AffineParameters::LayerScale { bias, scale } => all.extend([bias, scale]),
        }
        if let Some(LowRank { down, up, .. }) = &self.low_rank {
            all.extend([down, up]);
        }
        all
    }

    /// Returns the weight including its low-rank update; the trainable parts are in candle's graph.
    pub(super) fn whole_weight(&self) -> Result<Tensor> {
        let weight = self.weight.tensor();
        Ok(match &self.low_rank {
            Some(LowRank { down, up, factor }) => {
                let product = up.tensor().matmul(&down.tensor())?;
                (weight + (product * *factor)?)?
            }
            None => weight,
        })
    }

    /// Returns a number that grows with every change of any of the tensors.
    pub(super) fn generation(&self) -> u64 {
        let all = self.all();
        all.iter().map(|parameter| parameter.generation()).sum()
    }
}

impl LowRank {
    /// Creates the tensors as the authors' code does.
    fn create(conv: &ConvNode, node: &LowRankNode, builder: &Builder) -> Result<Self> {
        let (down, up) = (builder.pp("lora_A"), builder.pp("lora_B"));
        let drawn = uniform(conv.in_channels);
        Ok(LowRank {
            down: down.parameter("weight", &[node.rank, conv.in_channels], drawn)?,
            up: up.parameter("weight", &[conv.out_channels, node.rank], Init::Const(0.0))?,
            factor: node.factor,
        })
    }
}

impl BatchNorm {
    /// Moves the running statistics towards those of a batch (with the unbiased variance).
    pub(super) fn update_running(&self, mean: &Tensor, unbiased_variance: &Tensor) -> Result<()> {
        for (running, batch) in [(&self.mean, mean), (&self.variance, unbiased_variance)] {
            let kept = (running.var.as_detached_tensor() * (1.0 - self.momentum))?;
            running.set(&(kept + (batch.detach() * self.momentum)?)?)?;
        }
        Ok(())
    }
}

impl NormParameters {
    fn create(node: &LayerNormNode, builder: &Builder) -> Result<Self> {
        let norm = builder.pp(&node.name);
        Ok(NormParameters {
            gamma: norm.parameter("weight", &[node.channels], Init::Const(1.0))?,
            beta: norm.parameter("bias", &[node.channels], Init::Const(0.0))?,
        })
    }
}

impl TokensParameters {
    fn create(node: &TokensNode, builder: &Builder) -> Result<Self> {
        let make = |name: &str, count: usize, stdev: f64| {
            let drawn = Init::Randn { mean: 0.0, stdev };
            builder.parameter(name, &[1, count, node.channels], drawn)
        };
        let places = node.side * node.side + usize::from(node.class_has_position);
        let class = make(&node.class, 1, TOKEN_DEVIATION)?;
        let registers = match &node.registers {
            Some((name, count)) => Some(make(name, *count, TOKEN_DEVIATION)?),
            None => None,
        };
        Ok(TokensParameters {
            class,
            registers,
            positions: make(&node.positions, places, POSITION_DEVIATION)?,
        })
    }

    fn all(&self) -> Vec<&Parameter> {
        let class = std::iter::once(&self.class);
        class
            .chain(&self.registers)
            .chain([&self.positions])
            .collect()
    }
}

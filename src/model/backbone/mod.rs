//! Backbones: torchvision's ResNets and MobileNetV2 up to the pooled features.
//!
//! The structure is data ([`architecture`]). On the CPU the project's own engine runs it
//! ([`engine`]): channels last, forward and backward without candle's graph. Elsewhere, and as the
//! reference of the tests, it is composed of candle's operations ([`composed`]).

pub mod architecture;
pub mod composed;
pub mod engine;
mod footprint;
mod mobilenet;
pub mod profile;
mod resnet;

use std::fmt;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::{Gradients, Parameters, Role};
use crate::error::{Error, Result};
use crate::rng::Stream;
use architecture::{Architecture, ConvNode};
use composed::Composed;
use engine::Engine;
use resnet::Block;

/// What every parameter of the backbone is named with, before torchvision's name.
pub const PREFIX: &str = "backbone.";

/// Added to the variance by every batch norm.
pub const EPSILON: f64 = 1e-5;

/// Share of the new batch in the running statistics.
pub const MOMENTUM: f64 = 0.1;

/// The networks to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum BackboneKind {
    /// ResNet-18: 11.2 million parameters, 512 features.
    #[serde(rename = "resnet18")]
    ResNet18,
    /// ResNet-34: 21.3 million parameters, 512 features.
    #[serde(rename = "resnet34")]
    ResNet34,
    /// ResNet-50: 23.5 million parameters, 2048 features.
    #[serde(rename = "resnet50")]
    ResNet50,
    /// ResNet-101: 42.5 million parameters, 2048 features.
    #[serde(rename = "resnet101")]
    ResNet101,
    /// MobileNetV2 of width 1.0: 2.2 million parameters, 1280 features.
    #[serde(rename = "mobilenet_v2")]
    MobileNetV2,
}

impl BackboneKind {
    /// All of them.
    pub const ALL: [BackboneKind; 5] = [
        BackboneKind::ResNet18,
        BackboneKind::ResNet34,
        BackboneKind::ResNet50,
        BackboneKind::ResNet101,
        BackboneKind::MobileNetV2,
    ];

    /// The name in configurations, which is torchvision's.
    pub fn name(self) -> &'static str {
        match self {
            BackboneKind::ResNet18 => "resnet18",
            BackboneKind::ResNet34 => "resnet34",
            BackboneKind::ResNet50 => "resnet50",
            BackboneKind::ResNet101 => "resnet101",
            BackboneKind::MobileNetV2 => "mobilenet_v2",
        }
    }

    /// Its structure.
    pub fn architecture(self) -> Architecture {
        match self {
            BackboneKind::ResNet18 => resnet::resnet(Block::Basic, [2, 2, 2, 2]),
            BackboneKind::ResNet34 => resnet::resnet(Block::Basic, [3, 4, 6, 3]),
            BackboneKind::ResNet50 => resnet::resnet(Block::Bottleneck, [3, 4, 6, 3]),
            BackboneKind::ResNet101 => resnet::resnet(Block::Bottleneck, [3, 4, 23, 3]),
            BackboneKind::MobileNetV2 => mobilenet::mobilenet_v2(),
        }
    }

    /// Width of the pooled features.
    pub fn num_features(self) -> usize {
        match self {
            BackboneKind::ResNet18 | BackboneKind::ResNet34 => 512,
            BackboneKind::ResNet50 | BackboneKind::ResNet101 => 2048,
            BackboneKind::MobileNetV2 => 1280,
        }
    }
}

impl fmt::Display for BackboneKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Settings of a backbone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneConfig {
    /// Which network.
    pub name: BackboneKind,
    /// The parameters of stages 0 to this one do not learn: -1 none, 0 the stem, 1 the stem and
    /// the first layer, up to 4, everything. Which statistics their batch norms use is up to
    /// `norm_eval` all the same.
    #[serde(default = "default_frozen_stages")]
    pub frozen_stages: i32,
    /// True: batch norms use their running statistics in training too (their affine parameters
    /// still learn). False: statistics of the batch.
    #[serde(default = "default_norm_eval")]
    pub norm_eval: bool,
    /// Whether the CPU engine may trade a little rounding for speed in 3x3 convolutions.
    #[serde(default)]
    pub winograd: Winograd,
}

/// Winograd's minimal filtering for 3x3 convolutions of stride 1, on the CPU: about three times
/// fewer multiplications, rounding a few times larger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Winograd {
    /// Wherever it is faster.
    #[default]
    On,
    /// Nowhere: every sum as it is written.
    Off,
}

fn default_frozen_stages() -> i32 {
    1
}

fn default_norm_eval() -> bool {
    true
}

impl BackboneConfig {
    /// The published settings for a network: stem and first layer frozen, running statistics.
    pub fn new(name: BackboneKind) -> Self {
        BackboneConfig {
            name,
            frozen_stages: default_frozen_stages(),
            norm_eval: default_norm_eval(),
            winograd: Winograd::default(),
        }
    }

    /// Whether a node of `stage` keeps its parameters as they are.
    pub fn is_frozen(&self, stage: i32) -> bool {
        stage <= self.frozen_stages
    }

    /// Whether a training step changes anything at `stage`: what learns, and the running
    /// statistics of all stages where batch norms use the batch's.
    pub(crate) fn changes(&self, stage: i32) -> bool {
        !self.is_frozen(stage) || !self.norm_eval
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
    fn update_running(&self, mean: &Tensor, unbiased_variance: &Tensor) -> Result<()> {
        for (running, batch) in [(&self.mean, mean), (&self.variance, unbiased_variance)] {
            let kept = (running.as_detached_tensor() * (1.0 - MOMENTUM))?;
            running.set(&(kept + (batch.detach() * MOMENTUM)?)?)?;
        }
        Ok(())
    }
}

/// A network that turns pictures into features.
#[derive(Debug)]
pub struct Backbone {
    config: BackboneConfig,
    executor: Executor,
}

#[derive(Debug)]
enum Executor {
    Engine(Engine),
    Composed(Composed),
}

impl Backbone {
    /// Creates the parameters in `parameters`, named `backbone.` and torchvision's name, with
    /// torchvision's initial values, each drawn from its own stream of `seed`.
    ///
    /// # Errors
    /// If `frozen_stages` is not in -1..=4, or a parameter of that name exists.
    pub fn new(
        config: &BackboneConfig,
        parameters: &mut Parameters,
        device: &Device,
        seed: u64,
    ) -> Result<Self> {
        let place = (device, DType::F32);
        Self::with_executor(config, parameters, place, seed, device.is_cpu())
    }

    /// As [`Backbone::new`], but composed of candle's operations on any device, in `F32` or `F64`:
    /// slow on the CPU, there for comparison.
    ///
    /// # Errors
    /// As [`Backbone::new`].
    pub fn new_composed(
        config: &BackboneConfig,
        parameters: &mut Parameters,
        (device, dtype): (&Device, DType),
        seed: u64,
    ) -> Result<Self> {
        Self::with_executor(config, parameters, (device, dtype), seed, false)
    }

    fn with_executor(
        config: &BackboneConfig,
        parameters: &mut Parameters,
        place: (&Device, DType),
        seed: u64,
        engine: bool,
    ) -> Result<Self> {
        if !(-1..=4).contains(&config.frozen_stages) {
            return Err(Error::input(
                "backbone.frozen_stages",
                format_args!("expected -1 to 4, found {}", config.frozen_stages),
            )
            .hint("-1 freezes nothing, 0 the stem, 1 the stem and the first layer"));
        }
        let architecture = config.name.architecture();
        let convolutions = architecture
            .convolutions()
            .map(|(node, conv)| {
                let frozen = config.is_frozen(node.stage);
                ConvParameters::create(conv, frozen, parameters, place, seed)
            })
            .collect::<Result<Vec<_>>>()?;
        let executor = if engine {
            Executor::Engine(Engine::new(config, architecture, convolutions))
        } else {
            Executor::Composed(Composed::new(config, architecture, convolutions))
        };
        Ok(Backbone {
            config: config.clone(),
            executor,
        })
    }

    /// The settings it was made with.
    pub fn config(&self) -> &BackboneConfig {
        &self.config
    }

    /// Width of the features.
    pub fn num_features(&self) -> usize {
        self.config.name.num_features()
    }

    /// Features `[batch, features]` of normalised `f32` pictures `[batch, height, width, 3]`, in
    /// evaluation mode.
    ///
    /// # Errors
    /// If the pictures have another shape or type.
    pub fn features(&self, images: &Tensor) -> Result<Tensor> {
        check_images(images)?;
        match &self.executor {
            Executor::Engine(engine) => engine.features(images),
            Executor::Composed(composed) => Ok(composed.forward(images, false)?.detach()),
        }
    }

    /// Features in training mode, on which a loss can be built, and the tape that takes the loss's
    /// gradient back to the parameters. With `norm_eval = false` the running statistics of the
    /// stages that learn are updated.
    ///
    /// # Errors
    /// If the pictures have another shape or type.
    pub fn forward_train(&self, images: &Tensor) -> Result<(Tensor, Tape)> {
        check_images(images)?;
        match &self.executor {
            Executor::Engine(engine) => {
                let (features, tape) = engine.forward_train(images)?;
                Ok((features, Tape(TapeKind::Engine(Box::new(tape)))))
            }
            Executor::Composed(composed) => {
                let features = composed.forward(images, true)?;
                let tape = Tape(TapeKind::Composed(composed.learning().collect()));
                Ok((features, tape))
            }
        }
    }

    /// To be called after parameters were changed other than by training steps (weights loaded, a
    /// checkpoint restored) on a backbone that has run already: what was derived from them is
    /// derived anew. [`Backbone::forward_train`] itself forgets what an optimiser step outdates.
    pub fn weights_changed(&self) {
        if let Executor::Engine(engine) = &self.executor {
            engine.weights_changed();
        }
    }
}

fn check_images(images: &Tensor) -> Result<()> {
    match images.dims() {
        [_, height, width, 3] if images.dtype() == DType::F32 && height * width > 0 => Ok(()),
        dims => Err(Error::input(
            "images",
            format_args!(
                "expected `F32` pictures [batch, height, width, 3], found `{:?}` {dims:?}",
                images.dtype()
            ),
        )),
    }
}

/// What a training pass keeps for its backward pass. Call [`Tape::backward`] before the optimiser
/// changes the parameters.
#[derive(Debug)]
pub struct Tape(TapeKind);

#[derive(Debug)]
enum TapeKind {
    Engine(Box<engine::EngineTape>),
    Composed(Vec<(String, Var)>),
}

impl Tape {
    /// Gradients of the backbone's parameters that learn, by full name, from the gradients of a
    /// loss built on the features (`loss.backward()`). Empty if the loss does not depend on them.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn backward(self, gradients: &GradStore) -> Result<Gradients> {
        match self.0 {
            TapeKind::Engine(tape) => tape.backward(gradients),
            TapeKind::Composed(learning) => Ok(learning
                .into_iter()
                .filter_map(|(name, var)| Some((name, gradients.get(&var)?.clone())))
                .collect()),
        }
    }
}

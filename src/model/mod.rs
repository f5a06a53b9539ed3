//! Backbone, neck and head, with PyTorch's parameter names.

pub mod backbone;
pub mod builder;
pub mod head;
pub mod neck;
pub mod parameters;
pub mod pooling;
pub mod weights;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{KeyPath, Result};
use crate::range::Range;
use crate::rng::Stream;

use backbone::{Backbone, BackboneConfig, BackboneKind, Tape, Winograd};
use builder::Builder;
use head::Head;
use neck::{Neck, NeckConfig};
pub use parameters::{Gradients, Parameter, Parameters, Role};
pub use pooling::Features;

/// Settings of the network. The defaults are the published recipe, without weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// The backbone's architecture.
    pub backbone: BackboneKind,
    /// Where the backbone's weights come from: a file or folder, or a hub name.
    /// Empty for random initial weights.
    pub weights: String,
    /// Stages that do not learn: -1 none, 0 the stem, 1 the stem and layer1, ...
    pub frozen_stages: i32,
    /// True: the backbone's batch norms use their running statistics while training.
    pub norm_eval: bool,
    /// Whether the CPU engine may trade a little rounding for speed in 3x3 convolutions.
    pub winograd: Winograd,
    /// The neck.
    pub neck: NeckConfig,
}

impl Default for ModelConfig {
    fn default() -> Self {
        ModelConfig {
            backbone: BackboneKind::default(),
            weights: String::new(),
            frozen_stages: 1,
            norm_eval: true,
            winograd: Winograd::default(),
            neck: NeckConfig::default(),
        }
    }
}

impl ModelConfig {
    /// Checks the ranges; `at` is the table's own key.
    pub fn check(&self, at: &KeyPath) -> Result<()> {
        Range::WholeWithin(-1, self.backbone.architecture().last_stage() as i64)
            .check_whole(&at.join("frozen_stages"), self.frozen_stages)
            .map_err(|e| e.hint("-1 freezes nothing, 0 the stem, k the stem and stages 1 to k"))?;
        self.neck.check(&at.join("neck"))
    }

    /// The part of the settings that the backbone is made from.
    pub fn backbone_config(&self) -> BackboneConfig {
        BackboneConfig {
            name: self.backbone,
            frozen_stages: self.frozen_stages,
            norm_eval: self.norm_eval,
            winograd: self.winograd,
        }
    }
}

/// The network with its parameters.
pub struct Model {
    /// Every named tensor.
    pub parameters: Parameters,
    backbone: Box<dyn Backbone>,
    neck: Neck,
    head: Head,
    kind: BackboneKind,
    device: Device,
}

/// What a training step needs to turn a loss into gradients.
pub struct Trace {
    tape: Box<dyn Tape>,
    features: Features,
}

impl Trace {
    /// The backbone's pooled features, [N, F], outside the graph.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn features(&self) -> Result<Tensor> {
        Ok(self.features.pooled()?.detach())
    }
}

impl Model {
    /// A network for `num_classes` with initial weights drawn from the streams of `seed`.
    pub fn new(
        config: &ModelConfig,
        num_classes: usize,
        device: &Device,
        seed: u64,
    ) -> Result<Self> {
        let builder = Builder::new(device, DType::F32, seed);
        let backbone = backbone::build(&config.backbone_config(), &builder)?;
        let last = builder.parameters().iter().map(|p| p.stage).max();
        let builder = builder.at(last.map_or(0, |stage| stage + 1), false);
        let neck = Neck::new(&config.neck, backbone.num_pooled(), &builder)?;
        let head = Head::new(config.neck.out_channels, num_classes, &builder)?;
        Ok(Model {
            parameters: builder.parameters(),
            backbone,
            neck,
            head,
            kind: config.backbone,
            device: device.clone(),
        })
    }

    /// Loads the backbone's weights from a file or the hub, says what fitted, and returns the hash
    /// of what was read.
    pub fn load_backbone(&self, source: &str) -> Result<String> {
        let path = weights::locate(source)?;
        let name = self.kind.name();
        let report = weights::load_backbone(&self.parameters, &path, name, &self.device)?;
        weights::log_report(&report, &self.parameters, source);
        weights::hash(&path)
    }

    /// Where the tensors live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Evaluation: normalised images [N, H, W, 3] -> logits [N, C].
    pub fn logits(&self, images: &Tensor) -> Result<Tensor> {
        let features = self.backbone.features(images)?;
        self.head.forward(&self.neck.forward(&features.pooled()?)?)
    }

    /// Training: normalised images [N, H, W, 3] -> logits [N, C], and the trace for
    /// [`gradients`](Self::gradients); `dropout` draws the neck's mask.
    pub fn forward_train(&self, images: &Tensor, dropout: &mut Stream) -> Result<(Tensor, Trace)> {
        let (features, tape) = self.backbone.forward_train(images)?;
        let embedding = self.neck.forward_train(&features.pooled()?, dropout)?;
        Ok((self.head.forward(&embedding)?, Trace { tape, features }))
    }

    /// The gradients of every trainable parameter, from those that candle found.
    pub fn gradients(&self, trace: Trace, found: &GradStore) -> Result<Gradients> {
        let mut gradients = Gradients::none(&self.parameters);
        gradients.take_from(found, self.parameters.trainable());
        trace.tape.backward(found, &mut gradients)?;
        Ok(gradients)
    }
}

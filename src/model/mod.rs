//! Backbone, neck and head, with PyTorch's parameter names.

pub mod backbone;
pub mod builder;
mod config;
mod constants;
mod dropout;
mod given;
pub mod head;
pub mod names;
pub mod neck;
pub mod onnx;
pub mod parameters;
pub mod pooling;
pub mod weights;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};

use crate::data::labels::LabelTable;
use crate::error::{Error, Result};
use crate::rng::Stream;

use backbone::{Backbone, BackboneKind, Tape};
use builder::Builder;
pub use config::ModelConfig;
pub use given::GivenFeatures;
use head::{Head, HeadContext, Takes};
use neck::{Neck, NeckConfig};
pub use parameters::{Gradients, Parameter, Parameters, Role};
pub use pooling::Features;

/// The input of a network for one batch.
#[derive(Debug, Clone)]
pub enum Input {
    /// Normalised images, `[N, H, W, 3]`.
    Pictures(Tensor),
    /// Features, from a backbone or given in its place.
    Features(Features),
}

/// The network with its parameters.
pub struct Model {
    /// All named tensors.
    pub parameters: Parameters,
    /// `None` if the network is given features.
    backbone: Option<Box<dyn Backbone>>,
    neck: Option<Neck>,
    head: Box<dyn Head>,
    takes: Takes,
    held: Held,
    pub(crate) kind: BackboneKind,
    /// Whether training leaves the backbone unchanged.
    is_fixed: bool,
    device: Device,
}

/// The parts of a network that training leaves unchanged, besides the frozen stages of the
/// backbone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// The neck: its batch norm uses its running statistics and does not update them.
    pub neck: bool,
    /// The head: its memory, if it has one, is not updated.
    pub head: bool,
}

/// The state that a training step needs to turn a loss into gradients.
pub struct Trace {
    /// The tapes of backbone and neck, if they have any.
    tapes: Vec<Box<dyn Tape>>,
    features: Features,
    /// The input of the head, if the head is to observe it.
    seen: Option<Tensor>,
}

impl Trace {
    /// Returns the backbone's pooled features, [N, F], outside the graph; for features given as
    /// maps only, the mean over all locations.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn features(&self) -> Result<Tensor> {
        match self.features.given_maps() {
            Some(maps) => Ok(maps.mean((1, 2))?),
            None => Ok(self.features.pooled()?.detach()),
        }
    }
}

impl Model {
    /// Creates a network for the classes of the training labels `labels`, with initial weights
    /// drawn from the streams of `seed`, or read from the files named in the head's settings.
    ///
    /// # Errors
    /// If such a file cannot be read or does not fit.
    pub fn new(
        config: &ModelConfig,
        labels: &LabelTable,
        device: &Device,
        seed: u64,
    ) -> Result<Self> {
        let builder = Builder::new(device, DType::F32, seed);
        Self::made(config, None, labels, &builder, true)
    }

    /// Like [`Model::new`], for a network whose tensors will all come from a checkpoint: files of
    /// initial values are not read, and may be gone.
    ///
    /// # Errors
    /// If the settings are incompatible.
    pub fn empty(config: &ModelConfig, labels: &LabelTable, device: &Device) -> Result<Self> {
        let builder = Builder::new(device, DType::F32, 0);
        Self::made(config, None, labels, &builder, false)
    }

    /// Like [`Model::new`], for neck and head alone, which are given features of `width`: pooled
    /// ones, or maps if the head [takes](ModelConfig::takes_maps) them. Without a seed, like
    /// [`Model::empty`].
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn on_features(
        config: &ModelConfig,
        width: usize,
        labels: &LabelTable,
        device: &Device,
        seed: Option<u64>,
    ) -> Result<Self> {
        let builder = Builder::new(device, DType::F32, seed.unwrap_or(0));
        Self::made(config, Some(width), labels, &builder, seed.is_some())
    }

    fn made(
        config: &ModelConfig,
        given: Option<usize>,
        labels: &LabelTable,
        builder: &Builder,
        reads_files: bool,
    ) -> Result<Self> {
        let backbone = match given {
            Some(_) => None,
            None => Some(backbone::build(&config.backbone_config(), builder)?),
        };
        let last = builder.parameters().iter().map(|p| p.stage).max();
        let builder = builder.at(last.map_or(0, |stage| stage + 1), false);
        let wide = |of: fn(&dyn Backbone) -> usize| {
            given.or(backbone.as_deref().map(of)).unwrap_or_default()
        };
        let (neck, width) = match (config.head.takes(), &config.neck) {
            (Takes::Maps, _) => (None, wide(|b| b.num_map_features())),
            (Takes::Embedding, NeckConfig::None) => (None, wide(|b| b.num_pooled())),
            (Takes::Embedding, NeckConfig::Published(neck)) => {
                let made = Neck::new(neck, wide(|b| b.num_pooled()), &builder)?;
                (Some(made), neck.out_channels)
            }
        };
        let context = HeadContext {
            width,
            labels,
            reads_files,
        };
        let head = config.head.build(&context, &builder)?;
        Ok(Model {
            parameters: builder.parameters(),
            backbone,
            neck,
            head,
            takes: config.head.takes(),
            held: Held::default(),
            kind: config.backbone,
            is_fixed: config.is_backbone_fixed(),
            device: builder.device().clone(),
        })
    }

    /// Sets the parts that training leaves unchanged.
    pub fn hold(&mut self, held: Held) {
        self.held = held;
    }

    /// Loads the backbone's weights from a file, the hub or the program itself, logs what fitted,
    /// and returns the hash of what was read.
    pub fn load_backbone(&self, source: &str) -> Result<String> {
        let place = weights::locate(source)?;
        let name = self.kind.name();
        let report = weights::load_backbone(&self.parameters, place.clone(), name, &self.device)?;
        weights::log_report(&report, &self.parameters, source);
        weights::hash(&place)
    }

    /// Returns the device of the tensors.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns the backbone's features of normalised images [N, H, W, 3] in evaluation.
    ///
    /// # Errors
    /// If the network has no backbone, or the images have another shape.
    pub fn features(&self, pictures: &Tensor) -> Result<Features> {
        self.backbone()?.features(pictures)
    }

    fn backbone(&self) -> Result<&dyn Backbone> {
        let missing = || Error::input("pictures", "the network takes features, not pictures");
        self.backbone.as_deref().ok_or_else(missing)
    }

    /// Returns the logits [N, C] of a batch of N images in evaluation.
    ///
    /// # Errors
    /// If the network takes another kind of input.
    pub fn logits(&self, input: &Input) -> Result<Tensor> {
        let features = match input {
            Input::Pictures(pictures) => self.features(pictures)?,
            Input::Features(features) => features.clone(),
        };
        let input = match (self.takes, &self.neck) {
            (Takes::Maps, _) => features.maps()?,
            (Takes::Embedding, None) => features.pooled()?,
            (Takes::Embedding, Some(neck)) => neck.forward(&features.pooled()?)?,
        };
        self.head.forward(&input)
    }

    /// Returns the logits [N, C] of a batch of N images in training, and the trace for
    /// [`gradients`](Self::gradients); the dropout masks of neck and head are drawn from `dropout`.
    ///
    /// # Errors
    /// If the network takes another kind of input.
    pub fn forward_train(&self, input: &Input, dropout: &mut Stream) -> Result<(Tensor, Trace)> {
        let mut tapes = Vec::new();
        let features = match input {
            // A fixed backbone runs as in evaluation, and receives no gradient.
            Input::Pictures(pictures) if self.is_fixed => self.features(pictures)?.detached()?,
            Input::Pictures(pictures) => {
                let (features, tape) = self.backbone()?.forward_train(pictures)?;
                tapes.push(tape);
                features
            }
            Input::Features(features) => features.clone(),
        };
        let input = match (self.takes, &self.neck) {
            (Takes::Maps, _) => features.maps()?,
            (Takes::Embedding, None) => features.pooled()?,
            (Takes::Embedding, Some(neck)) if self.held.neck => {
                neck.forward_held(&features.pooled()?, dropout)?
            }
            (Takes::Embedding, Some(neck)) => {
                let (embedding, tape) = neck.forward_train(&features.pooled()?, dropout)?;
                tapes.extend(tape);
                embedding
            }
        };
        let logits = self.head.forward_train(&input, dropout)?;
        let watches = self.head.has_memory() && !self.held.head;
        let trace = Trace {
            tapes,
            features,
            seen: watches.then(|| input.detach()),
        };
        Ok((logits, trace))
    }

    /// Lets a head with a memory observe the batch of a training pass; `targets` are the labels,
    /// [N, C] in row-major order. Called once per batch, after its forward pass.
    ///
    /// # Errors
    /// If there are more or fewer targets than logits.
    pub fn observe(&self, trace: &Trace, targets: &[f32]) -> Result<()> {
        let Some(seen) = &trace.seen else {
            return Ok(());
        };
        let rows = seen.dim(0)?;
        let shape = (rows, targets.len() / rows.max(1));
        let targets = Tensor::from_slice(targets, shape, &self.device)?;
        self.head.observe(seen, &targets)
    }

    /// Returns the gradients of all trainable parameters, given those that candle found.
    pub fn gradients(&self, trace: Trace, found: &GradStore) -> Result<Gradients> {
        let mut gradients = Gradients::none(&self.parameters);
        gradients.take_from(found, self.parameters.trainable());
        for tape in trace.tapes {
            tape.backward(found, &mut gradients)?;
        }
        Ok(gradients)
    }
}

#[cfg(test)]
mod tests;

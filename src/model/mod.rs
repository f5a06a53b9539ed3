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

/// What a network is given of a batch.
#[derive(Debug, Clone)]
pub enum Input {
    /// Normalised pictures, `[N, H, W, 3]`.
    Pictures(Tensor),
    /// What a backbone made of them, or was said to.
    Features(Features),
}

/// The network with its parameters.
pub struct Model {
    /// Every named tensor.
    pub parameters: Parameters,
    /// None where the network is given features.
    backbone: Option<Box<dyn Backbone>>,
    neck: Option<Neck>,
    head: Box<dyn Head>,
    takes: Takes,
    held: Held,
    pub(crate) kind: BackboneKind,
    /// Whether a training leaves the backbone as it is.
    is_fixed: bool,
    device: Device,
}

/// Which parts of a network a training leaves as they are, beside the frozen stages of the backbone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// The neck: its batch norm uses its running statistics and does not move them.
    pub neck: bool,
    /// The head: a memory in it does not move.
    pub head: bool,
}

/// What a training step needs to turn a loss into gradients.
pub struct Trace {
    /// Those of backbone and neck, where they have any.
    tapes: Vec<Box<dyn Tape>>,
    features: Features,
    /// What the head took, where it wants to see it again.
    seen: Option<Tensor>,
}

impl Trace {
    /// The backbone's pooled features, [N, F], outside the graph; the mean over all places of
    /// features that are maps alone.
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
    /// A network for the classes of the training labels `labels`, with initial weights drawn from
    /// the streams of `seed`, or as the files say that the head's settings name.
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

    /// As [`Model::new`] for a network whose every tensor comes out of a checkpoint: files of
    /// initial values are not read, and need not be there any more.
    ///
    /// # Errors
    /// If the settings do not go together.
    pub fn empty(config: &ModelConfig, labels: &LabelTable, device: &Device) -> Result<Self> {
        let builder = Builder::new(device, DType::F32, 0);
        Self::made(config, None, labels, &builder, false)
    }

    /// As [`Model::new`] for neck and head alone, which are given features of `width`: pooled ones,
    /// or maps where the head [takes](ModelConfig::takes_maps) such. Without a seed as
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

    /// Says which parts a training leaves as they are.
    pub fn hold(&mut self, held: Held) {
        self.held = held;
    }

    /// Loads the backbone's weights from a file, the hub or the program itself, says what fitted, and returns the hash
    /// of what was read.
    pub fn load_backbone(&self, source: &str) -> Result<String> {
        let place = weights::locate(source)?;
        let name = self.kind.name();
        let report = weights::load_backbone(&self.parameters, place.clone(), name, &self.device)?;
        weights::log_report(&report, &self.parameters, source);
        weights::hash(&place)
    }

    /// Where the tensors live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What the backbone makes of normalised pictures [N, H, W, 3] in evaluation.
    ///
    /// # Errors
    /// If the network has no backbone, or the pictures have another shape.
    pub fn features(&self, pictures: &Tensor) -> Result<Features> {
        self.backbone()?.features(pictures)
    }

    fn backbone(&self) -> Result<&dyn Backbone> {
        let missing = || Error::input("pictures", "the network takes features, not pictures");
        self.backbone.as_deref().ok_or_else(missing)
    }

    /// Evaluation: logits [N, C] of a batch of N pictures.
    ///
    /// # Errors
    /// If the network takes something else.
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

    /// Training: logits [N, C] of a batch of N pictures, and the trace for
    /// [`gradients`](Self::gradients); `dropout` draws the masks of neck and head.
    ///
    /// # Errors
    /// If the network takes something else.
    pub fn forward_train(&self, input: &Input, dropout: &mut Stream) -> Result<(Tensor, Trace)> {
        let mut tapes = Vec::new();
        let features = match input {
            // What does not learn is as in evaluation, and no gradient comes back to it.
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

    /// Shows the batch of a training pass to a head that keeps a memory; `targets` are the labels
    /// [N, C], row by row. Once a batch, after its forward pass.
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

    /// The gradients of every trainable parameter, from those that candle found.
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

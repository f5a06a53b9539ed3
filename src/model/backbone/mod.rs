//! Backbones: torchvision's ResNets and MobileNetV2 up to the pooled features.
//!
//! The structure is data ([`architecture`]). On the CPU the project's own engine runs it
//! ([`engine`]): channels last, forward and backward without candle's graph. Elsewhere, and as the
//! reference of the tests, it is composed of candle's operations ([`composed`]).

pub mod architecture;
pub mod composed;
mod config;
pub mod engine;
mod footprint;
mod layers;
mod mobilenet;
pub mod profile;
mod resnet;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};

use super::parameters::{Gradients, Parameters};
use crate::error::{Error, Result};
use composed::Composed;
use engine::Engine;
use layers::Layer;

pub use config::{BackboneConfig, BackboneKind, Winograd};
pub use layers::PREFIX;

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
            return Err(Error::key(
                "model.frozen_stages",
                format_args!("expected -1 to 4, found {}", config.frozen_stages),
            )
            .hint("-1 freezes nothing, 0 the stem, 1 the stem and the first layer"));
        }
        let architecture = config.name.architecture();
        let layers = Layer::create(config, &architecture, parameters, place, seed)?;
        let executor = if engine {
            Executor::Engine(Engine::new(config, architecture, layers))
        } else {
            Executor::Composed(Composed::new(config, architecture, layers))
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

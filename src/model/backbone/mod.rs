//! Backbones: networks that turn pictures into feature maps.
//!
//! A convolutional network is data ([`architecture`]). On the CPU the project's own engine runs it
//! ([`engine`]): channels last, forward and backward without candle's graph. Elsewhere, and as the
//! reference of the tests, it is composed of candle's operations ([`composed`]). A network of
//! another kind implements [`Backbone`] itself.

pub mod architecture;
pub mod composed;
mod config;
mod definition;
pub mod engine;
mod footprint;
mod inverted;
mod layers;
pub mod profile;

use std::fmt;

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor};

use super::builder::Builder;
use super::parameters::{Gradients, Parameter};
use crate::error::{Error, Result};
use composed::Composed;
use engine::{Engine, NodeTime};
use layers::Layer;

pub use config::{BackboneConfig, BackboneKind, Winograd};
pub use definition::{Definition, ExpectedInput};

/// The list of backbones: a file each family, which names its members in `DEFINITIONS`.
macro_rules! backbones {
    ($($file:ident,)*) => {
        $(mod $file;)*

        /// All backbones, in the order of the list.
        pub fn definitions() -> impl Iterator<Item = &'static Definition> {
            [$($file::DEFINITIONS),*].into_iter().flatten()
        }
    };
}

backbones! {
    resnet,
    mobilenet_v2,
    mobilenet_v3,
    efficientnet,
    convnext,
}

/// The names of all backbones.
pub fn names() -> &'static [&'static str] {
    static NAMES: std::sync::LazyLock<Vec<&str>> =
        std::sync::LazyLock::new(|| definitions().map(|definition| definition.name).collect());
    &NAMES
}

/// What the parameters of the backbone are named with, before their published names.
pub const PREFIX: &str = "backbone";

/// A network that turns normalised `f32` pictures `[batch, height, width, 3]` into feature maps
/// `[batch, rows, columns, features]`, channels last. It reads its parameters anew whenever they
/// have changed.
pub trait Backbone: fmt::Debug + Send + Sync {
    /// Width of the features.
    fn num_features(&self) -> usize;

    /// Feature maps in evaluation mode, outside of the graph.
    ///
    /// # Errors
    /// If the pictures have another shape or type.
    fn features(&self, images: &Tensor) -> Result<Tensor>;

    /// Feature maps in training mode, on which a loss can be built, and the tape that takes the
    /// loss's gradient back to the parameters. Running statistics move where the batch's are used.
    ///
    /// # Errors
    /// If the pictures have another shape or type.
    fn forward_train(&self, images: &Tensor) -> Result<(Tensor, Box<dyn Tape>)>;

    /// Time of every node since the last call, where it is taken.
    fn take_times(&self) -> Vec<NodeTime> {
        Vec::new()
    }
}

/// What a training pass keeps for its backward pass, which is to come before the parameters change.
pub trait Tape: fmt::Debug {
    /// Puts the gradients of the backbone's parameters that learn into `gradients`, from those of
    /// a loss built on the feature maps (`loss.backward()`). None if the loss does not depend on
    /// them.
    ///
    /// # Errors
    /// If a tensor operation fails.
    fn backward(self: Box<Self>, found: &GradStore, gradients: &mut Gradients) -> Result<()>;
}

/// The tape of a network whose operations are all in candle's graph, with its parameters that learn.
#[derive(Debug)]
pub struct InGraph(pub Vec<Parameter>);

impl Tape for InGraph {
    fn backward(self: Box<Self>, found: &GradStore, gradients: &mut Gradients) -> Result<()> {
        gradients.take_from(found, self.0.iter());
        Ok(())
    }
}

/// Makes the backbone and its parameters, named [`PREFIX`] and their published names, with the
/// initial values that are usual for it, each drawn from its own stream.
///
/// # Errors
/// If `frozen_stages` is more than the network has.
pub fn build(config: &BackboneConfig, builder: &Builder) -> Result<Box<dyn Backbone>> {
    // The engine is for single precision on the CPU.
    let engine = builder.device().is_cpu() && builder.dtype() == DType::F32;
    with_executor(config, builder, engine)
}

/// As [`build`], but composed of candle's operations on any device, in `F32` or `F64`: slow on the
/// CPU, there for comparison.
///
/// # Errors
/// As [`build`].
pub fn build_composed(config: &BackboneConfig, builder: &Builder) -> Result<Box<dyn Backbone>> {
    with_executor(config, builder, false)
}

fn with_executor(
    config: &BackboneConfig,
    builder: &Builder,
    engine: bool,
) -> Result<Box<dyn Backbone>> {
    let architecture = config.name.architecture();
    let last = architecture.last_stage() as i32;
    if !(-1..=last).contains(&config.frozen_stages) {
        return Err(Error::key(
            "model.frozen_stages",
            format_args!("expected -1 to {last}, found {}", config.frozen_stages),
        )
        .hint("-1 freezes nothing, 0 the stem, 1 the stem and the first layer"));
    }
    let layers = Layer::create(config, &architecture, &builder.pp(PREFIX))?;
    Ok(if engine {
        Box::new(Engine::new(config, architecture, layers))
    } else {
        Box::new(Composed::new(config, architecture, layers))
    })
}

/// Refuses what is not a batch of pictures.
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

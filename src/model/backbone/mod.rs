//! Backbones: networks that turn pictures into features.
//!
//! A convolutional network is data ([`architecture`]). On the CPU the project's own engine runs it
//! ([`engine`]): channels last, forward and backward without candle's graph. On a GPU the kernels of
//! [`crate::ops::cuda`] do ([`taped`]). Elsewhere, and as the reference of the tests, it is composed of
//! candle's operations ([`composed`]). A network of another kind implements [`Backbone`] itself.

pub mod adapter;
pub mod architecture;
pub mod composed;
mod config;
pub mod engine;
mod families;
mod footprint;
mod interface;
mod layers;
pub mod onnx;
mod plan;
pub mod profile;
pub mod taped;

use super::builder::Builder;
use crate::error::{Error, KeyPath, Result};
use crate::ops::{cuda, graph};
use composed::Composed;
use engine::Engine;
use layers::Layer;
use taped::Taped;

pub use super::names::BACKBONE as PREFIX;
pub use config::{BackboneConfig, BackboneKind, Winograd};
pub use families::{Definition, ExpectedInput, Published, definitions, names};
pub use interface::{Backbone, InGraph, NodeTime, Parts, Tape};

/// Makes the backbone and its parameters, named [`PREFIX`] and their published names, with the
/// initial values that are usual for it, each drawn from its own stream.
///
/// # Errors
/// If `frozen_stages` is more than the network has, or its adapter does not fit it.
pub fn build(config: &BackboneConfig, builder: &Builder) -> Result<Box<dyn Backbone>> {
    let (device, dtype) = (builder.device(), builder.dtype());
    let executor = if graph::kernels_serve(device, dtype) {
        Executor::Engine
    } else if cuda::serves(device, dtype) {
        Executor::Taped
    } else {
        Executor::Composed
    };
    with_executor(config, builder, executor)
}

/// As [`build`], by the executor of the GPU: on the CPU for tests, which [install](cuda::install) its
/// kernels there.
///
/// # Errors
/// As [`build`].
pub fn build_taped(config: &BackboneConfig, builder: &Builder) -> Result<Box<dyn Backbone>> {
    with_executor(config, builder, Executor::Taped)
}

/// As [`build`], but composed of candle's operations on any device, in `F32` or `F64`: slow on the
/// CPU, there for comparison.
///
/// # Errors
/// As [`build`].
pub fn build_composed(config: &BackboneConfig, builder: &Builder) -> Result<Box<dyn Backbone>> {
    with_executor(config, builder, Executor::Composed)
}

/// Who runs the nodes.
enum Executor {
    Engine,
    Taped,
    Composed,
}

fn with_executor(
    config: &BackboneConfig,
    builder: &Builder,
    executor: Executor,
) -> Result<Box<dyn Backbone>> {
    let architecture = config.architecture();
    let last = architecture.last_stage() as i32;
    if !(-1..=last).contains(&config.frozen_stages) {
        return Err(Error::key(
            "model.frozen_stages",
            format_args!("expected -1 to {last}, found {}", config.frozen_stages),
        )
        .hint("-1 freezes nothing, 0 the stem, 1 the stem and the first layer"));
    }
    if let Some(adapter) = &config.adapter {
        adapter.check(&KeyPath::from("model.adapter"), &architecture)?;
    }
    let builder = builder.pp(PREFIX);
    let layers = Layer::create(config, &architecture, &builder)?;
    let stage = architecture.last_stage();
    let builder = builder.at(stage, config.is_frozen(stage));
    let width = architecture.num_map_features();
    let pooler = architecture.pooling.create(width, &builder)?;
    Ok(match executor {
        Executor::Engine => Box::new(Engine::new(config, architecture, layers, pooler)),
        Executor::Taped => Box::new(Taped::new(config, architecture, layers, pooler)),
        Executor::Composed => Box::new(Composed::new(config, architecture, layers, pooler)),
    })
}

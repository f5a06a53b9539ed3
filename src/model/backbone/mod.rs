//! Backbones: networks that turn images into features.
//!
//! A network of the list is data ([`architecture`]). On the CPU, the project's own engine runs it
//! ([`engine`]): channels last, forward and backward without candle's graph. On a GPU, [`taped`]
//! runs it with the kernels of [`crate::ops::cuda`]. On other devices, and as the reference for the
//! tests, it is composed of candle's operations ([`composed`]). A network of another kind
//! implements [`Backbone`] itself.

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

/// Creates the backbone and its parameters, named [`PREFIX`] and their published names, with the
/// usual initial values, each drawn from a stream of its own.
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

/// Like [`build`], but with the executor of the GPU. Tests use it on the CPU, where they
/// [install](cuda::install) its kernels.
///
/// # Errors
/// As [`build`].
pub fn build_taped(config: &BackboneConfig, builder: &Builder) -> Result<Box<dyn Backbone>> {
    with_executor(config, builder, Executor::Taped)
}

/// Like [`build`], but composed of candle's operations on any device, in `F32` or `F64`. It is slow
/// on the CPU, where it serves for comparison.
///
/// # Errors
/// As [`build`].
pub fn build_composed(config: &BackboneConfig, builder: &Builder) -> Result<Box<dyn Backbone>> {
    with_executor(config, builder, Executor::Composed)
}

/// The executor of the nodes.
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

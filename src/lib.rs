//! Training and comparison of image classifiers for long-tailed data with several labels per image.
//!
//! Data flows one way:
//!
//! annotations -> label table -> long-tailed split -> sampler, augmentation, loader -> model ->
//! loss -> optimiser -> checkpoint -> predictions -> metrics -> report
//!
//! The permitted dependencies between modules are listed and enforced by `tests/architecture.rs`.

#![warn(clippy::disallowed_methods, clippy::print_stderr, clippy::print_stdout)]
#![warn(clippy::too_many_lines)]

pub mod device;
pub mod error;
pub mod interrupt;
pub mod io;
pub mod layers;
pub mod memory;
pub mod progress;
pub mod range;
pub mod rng;
pub mod rows;
mod text;
pub mod wording;

pub mod data;
pub mod metrics;
pub mod onnx;
pub mod ops;

pub mod loss;
pub mod model;
pub mod optim;

pub mod features;
pub mod feeding;
pub mod predict;
pub mod run_dir;
pub mod train;

pub mod report;

pub mod config;
pub mod export;
pub mod init;
pub mod job;
pub mod plan;
pub mod watch;

pub use error::{Error, Result};

//! From what a backbone's network hands out to what necks and heads read: one vector a picture, or
//! one a place of it.

mod attention;
mod average;
mod class_token;
mod features;

use std::fmt;
use std::sync::Arc;

use candle_core::Tensor;

use super::builder::Builder;
use super::parameters::Parameter;
use crate::error::Result;
use crate::onnx::{Graph, Maps, Value};

pub use attention::AttentionPooling;
pub use average::{Average, NormedAverage};
pub use class_token::ClassToken;
pub use features::Features;

/// How a network's output becomes one vector a picture, as its architecture says it.
pub trait Pooling: fmt::Debug + Send + Sync {
    /// Width of the pooled features of an output of `channels`.
    fn num_pooled(&self, channels: usize) -> usize {
        channels
    }

    /// Makes its parameters, which are the backbone's, for an output of `channels`.
    ///
    /// # Errors
    /// If there is a parameter of one of their names.
    fn create(&self, channels: usize, builder: &Builder) -> Result<Arc<dyn Pooler>>;
}

/// A pooling with its parameters. Whatever it makes is part of candle's graph.
pub trait Pooler: fmt::Debug + Send + Sync {
    /// A network's output `[batch, rows, columns, channels]` -> `[batch, features]`.
    ///
    /// # Errors
    /// If a tensor operation fails.
    fn pooled(&self, output: &Tensor) -> Result<Tensor>;

    /// The output as maps `[batch, rows, columns, channels]`, one vector for each place of pictures
    /// of `size` (height and width).
    ///
    /// # Errors
    /// If a tensor operation fails.
    fn maps(&self, output: &Tensor, size: (usize, usize)) -> Result<Tensor> {
        let _ = size;
        Ok(output.clone())
    }

    /// [`Pooler::pooled`] written into `graph`.
    ///
    /// # Errors
    /// If a parameter cannot be read.
    fn pooled_in(&self, graph: &mut Graph, output: &Maps) -> Result<Value>;

    /// [`Pooler::maps`] written into `graph`, as a list of places `[batch, places, channels]`.
    ///
    /// # Errors
    /// If a parameter cannot be read.
    fn places_in(&self, graph: &mut Graph, output: &Maps) -> Result<Value> {
        Ok(output.places(graph))
    }

    /// Its parameters.
    fn parameters(&self) -> Vec<&Parameter> {
        Vec::new()
    }
}

//! Pooling, from the output of a backbone's network to the input of necks and heads: one vector per
//! image, or one per location in it.

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

/// The way in which an architecture reduces the output of its network to one vector per image.
pub trait Pooling: fmt::Debug + Send + Sync {
    /// Returns the width of the pooled features for an output of `channels`.
    fn num_pooled(&self, channels: usize) -> usize {
        channels
    }

    /// Creates its parameters, which belong to the backbone, for an output of `channels`.
    ///
    /// # Errors
    /// If there is already a parameter with one of their names.
    fn create(&self, channels: usize, builder: &Builder) -> Result<Arc<dyn Pooler>>;
}

/// A pooling with its parameters. Its results are part of candle's graph.
pub trait Pooler: fmt::Debug + Send + Sync {
    /// Pools a network's output `[batch, rows, columns, channels]` to `[batch, features]`.
    ///
    /// # Errors
    /// If a tensor operation fails.
    fn pooled(&self, output: &Tensor) -> Result<Tensor>;

    /// Returns the output as maps `[batch, rows, columns, channels]`, one vector per location in
    /// images of `size` (height and width).
    ///
    /// # Errors
    /// If a tensor operation fails.
    fn maps(&self, output: &Tensor, size: (usize, usize)) -> Result<Tensor> {
        let _ = size;
        Ok(output.clone())
    }

    /// Writes [`Pooler::pooled`] into `graph`.
    ///
    /// # Errors
    /// If a parameter cannot be read.
    fn pooled_in(&self, graph: &mut Graph, output: &Maps) -> Result<Value>;

    /// Writes [`Pooler::maps`] into `graph`, as a list of locations `[batch, locations, channels]`.
    ///
    /// # Errors
    /// If a parameter cannot be read.
    fn places_in(&self, graph: &mut Graph, output: &Maps) -> Result<Value> {
        Ok(output.places(graph))
    }

    /// Returns its parameters.
    fn parameters(&self) -> Vec<&Parameter> {
        Vec::new()
    }
}

//! Pooling by the mean over all locations.

use std::sync::Arc;

use candle_core::Tensor;
use candle_nn::Init;

use super::{Pooler, Pooling};
use crate::error::Result;
use crate::model::builder::Builder;
use crate::model::constants::constant;
use crate::model::parameters::Parameter;
use crate::onnx::{Graph, Maps, Value};
use crate::ops::graph;

/// The mean of each channel over its pixels.
#[derive(Debug, Clone, Copy)]
pub struct Average;

impl Pooling for Average {
    fn create(&self, _: usize, _: &Builder) -> Result<Arc<dyn Pooler>> {
        Ok(Arc::new(Average))
    }
}

impl Pooler for Average {
    fn pooled(&self, output: &Tensor) -> Result<Tensor> {
        graph::global_average(output)
    }

    fn pooled_in(&self, graph: &mut Graph, output: &Maps) -> Result<Value> {
        Ok(mean_in(graph, output))
    }
}

/// Writes the mean, `[batch, channels]`.
fn mean_in(graph: &mut Graph, output: &Maps) -> Value {
    match output.are_places() {
        true => {
            let places = output.places(graph.at("pool"));
            graph.mean(&places, 1, false)
        }
        false => {
            let pictures = output.pictures(graph.at("pool"));
            let mean = graph.global_average(&pictures);
            graph.flatten(&mean)
        }
    }
}

/// The mean of each channel over its pixels, followed by a layer norm. Parameters: `weight` and
/// `bias` under its name, `[channels]` each.
#[derive(Debug, Clone, Copy)]
pub struct NormedAverage {
    /// The norm's name.
    pub name: &'static str,
    /// The constant added to the variance.
    pub epsilon: f64,
}

impl Pooling for NormedAverage {
    fn create(&self, channels: usize, builder: &Builder) -> Result<Arc<dyn Pooler>> {
        let norm = builder.pp(self.name);
        Ok(Arc::new(NormedMean {
            gamma: norm.parameter("weight", &[channels], Init::Const(1.0))?,
            beta: norm.parameter("bias", &[channels], Init::Const(0.0))?,
            epsilon: self.epsilon,
        }))
    }
}

/// [`NormedAverage`] with its parameters.
#[derive(Debug)]
struct NormedMean {
    gamma: Parameter,
    beta: Parameter,
    epsilon: f64,
}

impl Pooler for NormedMean {
    fn pooled(&self, output: &Tensor) -> Result<Tensor> {
        let mean = graph::global_average(output)?;
        let (gamma, beta) = (self.gamma.var.as_tensor(), self.beta.var.as_tensor());
        graph::layer_norm(&mean, gamma, beta, self.epsilon)
    }

    fn pooled_in(&self, graph: &mut Graph, output: &Maps) -> Result<Value> {
        let mean = mean_in(graph, output);
        let (scale, shift) = (constant(graph, &self.gamma)?, constant(graph, &self.beta)?);
        Ok(graph.layer_norm(&mean, &scale, &shift, self.epsilon))
    }

    fn parameters(&self) -> Vec<&Parameter> {
        vec![&self.gamma, &self.beta]
    }
}

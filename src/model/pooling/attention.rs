//! Pooling by attention of the mean over all locations.

use std::sync::Arc;

use candle_core::Tensor;
use candle_nn::Init;

use super::{Pooler, Pooling};
use crate::error::Result;
use crate::model::builder::Builder;
use crate::model::constants::{derived, linear};
use crate::model::parameters::Parameter;
use crate::onnx::{Graph, Maps, Value};
use crate::ops::graph;

/// Attention pooling as in CLIP's residual networks: the mean over all locations attends, with
/// several heads, to itself and to each location, and the result is projected. The maps are those
/// of the network.
///
/// Parameters under its name: `positional_embedding` `[1 + side * side, channels]`, and `weight`
/// `[out, in]` and `bias` of `q_proj`, `k_proj`, `v_proj` and `c_proj`.
#[derive(Debug, Clone, Copy)]
pub struct AttentionPooling {
    /// The name of the module.
    pub name: &'static str,
    /// The number of heads.
    pub heads: usize,
    /// The number of rows (and columns) of locations for which the position embeddings are made.
    pub side: usize,
    /// The width of the pooled features.
    pub width: usize,
}

impl Pooling for AttentionPooling {
    fn num_pooled(&self, _: usize) -> usize {
        self.width
    }

    fn create(&self, channels: usize, builder: &Builder) -> Result<Arc<dyn Pooler>> {
        let builder = builder.pp(self.name);
        let stdev = (channels as f64).powf(-0.5);
        let drawn = Init::Randn { mean: 0.0, stdev };
        let linear = |name: &str, width: usize| -> Result<Linear> {
            let builder = builder.pp(name);
            Ok(Linear {
                weight: builder.parameter("weight", &[width, channels], drawn)?,
                bias: builder.parameter("bias", &[width], Init::Const(0.0))?,
            })
        };
        let places = 1 + self.side * self.side;
        Ok(Arc::new(Attending {
            design: *self,
            positions: builder.parameter("positional_embedding", &[places, channels], drawn)?,
            keys: linear("k_proj", channels)?,
            queries: linear("q_proj", channels)?,
            values: linear("v_proj", channels)?,
            output: linear("c_proj", self.width)?,
        }))
    }
}

/// [`AttentionPooling`] with its parameters.
#[derive(Debug)]
struct Attending {
    design: AttentionPooling,
    positions: Parameter,
    keys: Linear,
    queries: Linear,
    values: Linear,
    output: Linear,
}

/// A linear layer.
#[derive(Debug)]
struct Linear {
    weight: Parameter,
    bias: Parameter,
}

impl Linear {
    /// Maps `[rows, in]` to `[rows, out]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.var.as_tensor();
        graph::linear(x, self.weight.var.as_tensor(), Some(bias))
    }

    /// Maps `[..., in]` to `[..., out]`.
    fn forward_in(&self, graph: &mut Graph, x: &Value) -> Result<Value> {
        linear(graph, x, &self.weight, Some(&self.bias))
    }
}

impl Attending {
    /// Returns the position embeddings `[1 + locations, channels]` for a grid of (rows, columns).
    fn positions(&self, size: (usize, usize)) -> Result<Tensor> {
        let side = self.design.side;
        let positions = self.positions.var.as_tensor();
        let places = positions.narrow(0, 1, side * side)?;
        let places = graph::resampled(&places, side, size)?;
        Ok(Tensor::cat(&[&positions.narrow(0, 0, 1)?, &places], 0)?)
    }
}

impl Pooler for Attending {
    fn pooled(&self, output: &Tensor) -> Result<Tensor> {
        let (batch, rows, columns, channels) = output.dims4()?;
        let heads = self.design.heads;
        let (tokens, width) = (1 + rows * columns, channels / heads);
        let positions = self.positions((rows, columns))?;
        let mean = graph::global_average(output)?.unsqueeze(1)?;
        let output = output
            .contiguous()?
            .reshape((batch, rows * columns, channels))?;
        let all = Tensor::cat(&[&mean, &output], 1)?;
        let all = all.broadcast_add(&positions.unsqueeze(0)?)?;
        let first = all.narrow(1, 0, 1)?.reshape((batch, channels))?;
        let all = all.reshape((batch * tokens, channels))?;
        let split = |x: Tensor, tokens: usize| -> Result<Tensor> {
            let x = x.reshape((batch, tokens, heads, width))?;
            Ok(x.transpose(1, 2)?.contiguous()?)
        };
        let queries = split(self.queries.forward(&first)?, 1)?;
        let keys = split(self.keys.forward(&all)?, tokens)?;
        let values = split(self.values.forward(&all)?, tokens)?;
        let products = queries.matmul(&keys.transpose(2, 3)?.contiguous()?)?;
        let products = (products * (width as f64).powf(-0.5))?;
        let shares = graph::softmax(&products, 3)?;
        let found = shares.matmul(&values)?.reshape((batch, channels))?;
        self.output.forward(&found)
    }

    fn pooled_in(&self, graph: &mut Graph, output: &Maps) -> Result<Value> {
        let heads = self.design.heads as i64;
        let (channels, width) = (output.channels as i64, output.channels as i64 / heads);
        let places = output.places(graph.at(self.design.name));
        let mean = graph.mean(&places, 1, true);
        let all = graph.join(&[&mean, &places], 1);
        let positions = self.positions(output.size)?;
        let positions = derived(graph, &self.positions, "grid", &positions)?;
        let all = graph.add(&all, &positions);
        let first = graph.part(&all, 0, 1, 1);
        let split = |graph: &mut Graph, x: &Value, order: &[i64]| {
            let x = graph.reshape(x, &[0, 0, heads, width]);
            graph.transpose(&x, order)
        };
        let queries = self.queries.forward_in(graph, &first)?;
        let queries = split(graph, &queries, &[0, 2, 1, 3]);
        let keys = self.keys.forward_in(graph, &all)?;
        let keys = split(graph, &keys, &[0, 2, 3, 1]);
        let values = self.values.forward_in(graph, &all)?;
        let values = split(graph, &values, &[0, 2, 1, 3]);
        let products = graph.matrix_product(&queries, &keys);
        let products = graph.times(&products, (width as f64).powf(-0.5));
        let shares = graph.softmax(&products, -1);
        let found = graph.matrix_product(&shares, &values);
        let found = graph.reshape(&found, &[0, channels]);
        self.output.forward_in(graph, &found)
    }

    fn parameters(&self) -> Vec<&Parameter> {
        let linear = [&self.keys, &self.queries, &self.values, &self.output];
        let linear = linear.into_iter().flat_map(|l| [&l.weight, &l.bias]);
        std::iter::once(&self.positions).chain(linear).collect()
    }
}

//! The executor of the GPU: runs an [`Architecture`] forward with the kernels of
//! [`crate::ops::cuda`], channels last, and keeps what the backward pass needs. It is not part of
//! candle's graph, whose backward pass allocates, zeroes and adds a tensor for every gradient.
//!
//! Nodes without kernels of their own (tokens, attention, gates, means over windows, layers with
//! the low-rank product of an adapter) have a small graph each.

mod convolution;
mod in_graph;

use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

use super::architecture::{Architecture, Source};
use super::config::BackboneConfig;
use super::interface::{Backbone, InGraph, Parts, Tape, check_images};
use super::layers::Layer;
use super::plan::Plan;
use crate::error::Result;
use crate::model::parameters::{Gradients, Role};
use crate::model::pooling::{Features, Pooler};
use crate::ops::cuda::{rows, windows};

/// The executor; clones share everything.
#[derive(Debug, Clone)]
pub struct Taped {
    network: Arc<Network>,
    pooler: Arc<dyn Pooler>,
}

#[derive(Debug)]
struct Network {
    config: BackboneConfig,
    architecture: Architecture,
    /// One layer per node.
    layers: Vec<Layer>,
    plan: Plan,
}

/// The data that a training pass keeps of one node.
#[derive(Debug)]
enum Record {
    /// Nothing is trainable here or below.
    Nothing,
    Convolution(convolution::Record),
    MaxPool {
        winners: Tensor,
        size: (usize, usize),
    },
    Average {
        size: (usize, usize),
    },
    LayerNorm {
        input: Tensor,
        statistics: Tensor,
    },
    InGraph(in_graph::Record),
}

impl Taped {
    /// Creates an executor for an architecture with its layers.
    pub fn new(
        config: &BackboneConfig,
        architecture: Architecture,
        layers: Vec<Layer>,
        pooler: Arc<dyn Pooler>,
    ) -> Self {
        Taped {
            network: Arc::new(Network {
                config: config.clone(),
                plan: Plan::new(config, &architecture),
                architecture,
                layers,
            }),
            pooler,
        }
    }
}

/// Returns the height and width of images.
fn size(tensor: &Tensor) -> Result<(usize, usize)> {
    let (_, height, width, _) = tensor.dims4()?;
    Ok((height, width))
}

impl Network {
    /// Returns the output of the last node and, if `train`, the data that the backward pass needs.
    fn forward(&self, images: &Tensor, train: bool) -> Result<(Tensor, Vec<Record>)> {
        let nodes = &self.architecture.nodes;
        let mut outputs: Vec<Option<Tensor>> = Vec::with_capacity(nodes.len());
        let mut records = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let of = |at: usize| outputs.get(at).and_then(Option::as_ref);
            let input = match node.input() {
                Source::Image => Some(images),
                Source::Node(at) => of(at),
            };
            let input = input.unwrap_or(images);
            let second = node.second().and_then(of);
            let (output, record) = self.node(index, input, second, train)?;
            let learns = train && self.plan.learns[index];
            records.push(if learns { record } else { Record::Nothing });
            outputs.push(Some(output));
            for read in node
                .reads()
                .filter(|&read| self.plan.last_use[read] == index)
            {
                outputs[read] = None;
            }
        }
        let last = outputs.pop().flatten();
        Ok((last.unwrap_or_else(|| images.clone()), records))
    }

    fn node(
        &self,
        index: usize,
        input: &Tensor,
        second: Option<&Tensor>,
        train: bool,
    ) -> Result<(Tensor, Record)> {
        let layer = &self.layers[index];
        let own_statistics = train && !self.config.norm_eval;
        Ok(match layer {
            Layer::Conv(node, parameters) if !self.by_graph(layer) => {
                let (output, record) =
                    convolution::forward(node, parameters, input, second, own_statistics)?;
                (output, Record::Convolution(record))
            }
            Layer::MaxPool(node) => {
                let (output, winners) = windows::max_pool(input, &node.shape)?;
                let size = size(input)?;
                (output, Record::MaxPool { winners, size })
            }
            Layer::Average(_) => {
                let size = size(input)?;
                (windows::average(input)?, Record::Average { size })
            }
            Layer::LayerNorm(node, parameters) => {
                let gamma = parameters.gamma.var.as_detached_tensor();
                let beta = parameters.beta.var.as_detached_tensor();
                let (output, statistics) = rows::layer_norm(input, &gamma, &beta, node.epsilon)?;
                let input = input.clone();
                (output, Record::LayerNorm { input, statistics })
            }
            _ if train && self.plan.learns[index] => {
                let (output, record) = in_graph::forward(layer, input, second)?;
                (output, Record::InGraph(record))
            }
            _ => (in_graph::evaluate(layer, input, second)?, Record::Nothing),
        })
    }

    /// Returns whether a convolution's weight is composed of several tensors.
    fn by_graph(&self, layer: &Layer) -> bool {
        matches!(layer, Layer::Conv(_, parameters) if parameters.low_rank.is_some())
    }

    /// Returns the gradients of a node's input and second node, from that of its output.
    fn back(
        &self,
        index: usize,
        record: &Record,
        gradient: &Tensor,
        gradients: &mut Gradients,
    ) -> Result<[Option<Tensor>; 2]> {
        let layer = &self.layers[index];
        Ok(match (layer, record) {
            (Layer::Conv(node, parameters), Record::Convolution(record)) => {
                let wanted = match node.input {
                    Source::Image => false,
                    Source::Node(input) => self.plan.learns[input],
                };
                let back =
                    convolution::backward(node, parameters, record, gradient, wanted, gradients)?;
                [back.of_input, Some(back.of_residual)]
            }
            (Layer::MaxPool(node), Record::MaxPool { winners, size }) => {
                let of = windows::max_pool_input(gradient, winners, &node.shape, *size)?;
                [Some(of), None]
            }
            (Layer::Average(_), Record::Average { size }) => {
                [Some(windows::average_input(gradient, *size)?), None]
            }
            (Layer::LayerNorm(_, parameters), Record::LayerNorm { input, statistics }) => {
                let (gamma, beta) = (&parameters.gamma, &parameters.beta);
                if gamma.role == Role::Trainable {
                    let both = rows::layer_norm_parameters(input, statistics, gradient)?;
                    gradients.set(gamma, both.get(0)?);
                    gradients.set(beta, both.get(1)?);
                }
                let gamma = gamma.var.as_detached_tensor();
                let of = rows::layer_norm_input(input, &gamma, statistics, gradient)?;
                [Some(of), None]
            }
            (layer, Record::InGraph(record)) => {
                in_graph::backward(layer, record, gradient, gradients)?
            }
            _ => [None, None],
        })
    }
}

impl Backbone for Taped {
    fn num_pooled(&self) -> usize {
        self.network.architecture.num_pooled()
    }

    fn num_map_features(&self) -> usize {
        self.network.architecture.num_map_features()
    }

    fn features(&self, images: &Tensor) -> Result<Features> {
        let size = check_images(images, self.network.architecture.patch())?;
        let (maps, _) = self.network.forward(&images.contiguous()?, false)?;
        Ok(Features::new(maps, size, self.pooler.clone()))
    }

    fn forward_train(&self, images: &Tensor) -> Result<(Features, Box<dyn Tape>)> {
        let size = check_images(images, self.network.architecture.patch())?;
        let (maps, records) = self.network.forward(&images.contiguous()?, true)?;
        let maps = Var::from_tensor(&maps)?.into_inner();
        let features = Features::new(maps.clone(), size, self.pooler.clone());
        let tape = NodeTape {
            network: self.network.clone(),
            pooling: InGraph::of(self.pooler.parameters()),
            maps,
            records,
        };
        Ok((features, Box::new(tape)))
    }

    fn parts(&self) -> Option<Parts<'_>> {
        Some(Parts {
            architecture: &self.network.architecture,
            layers: &self.network.layers,
            pooler: &*self.pooler,
        })
    }
}

/// The tape of a training pass over all nodes.
#[derive(Debug)]
struct NodeTape {
    network: Arc<Network>,
    pooling: InGraph,
    maps: Tensor,
    /// One record per node.
    records: Vec<Record>,
}

impl Tape for NodeTape {
    fn backward(self: Box<Self>, found: &GradStore, gradients: &mut Gradients) -> Result<()> {
        let NodeTape {
            network,
            pooling,
            maps,
            mut records,
        } = *self;
        Box::new(pooling).backward(found, gradients)?;
        let nodes = &network.architecture.nodes;
        let (Some(gradient), Some(last)) = (found.get(&maps), nodes.len().checked_sub(1)) else {
            return Ok(());
        };
        let mut arriving: Vec<Option<Tensor>> = vec![None; nodes.len()];
        arriving[last] = Some(gradient.contiguous()?);
        for (index, node) in nodes.iter().enumerate().rev() {
            let (Some(gradient), Some(record)) = (arriving[index].take(), records.pop()) else {
                records.truncate(index);
                continue;
            };
            let [of_input, of_second] = network.back(index, &record, &gradient, gradients)?;
            let input = match node.input() {
                Source::Image => None,
                Source::Node(input) => Some(input),
            };
            for (read, of) in [(input, of_input), (node.second(), of_second)] {
                if let (Some(read), Some(of)) = (read, of)
                    && network.plan.learns[read]
                {
                    arriving[read] = Some(match arriving[read].take() {
                        Some(before) => (before + of)?,
                        None => of,
                    });
                }
            }
        }
        Ok(())
    }
}

//! The network that the engine runs: its layers, the data derived from their tensors, and what is
//! shared by the passes over it.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Tensor;

use super::super::architecture::{Architecture, ConvNode, Geometry, Operation, Source};
use super::super::config::{BackboneConfig, Winograd};
use super::super::layers::{ConvParameters, Layer};
use super::super::plan::Plan;
use super::batch_statistics::Normalised;
use super::clock::Clock;
use super::folded::Folded;
use super::values::with_values;
use crate::error::Result;
use crate::ops::depthwise::{self, DepthwiseShape, DepthwiseWeights};
use crate::ops::grouped::{self, GroupedShape};
use crate::ops::{Activation, Algorithm, Arena, Buffer, ConvShape, ForwardWeights, Isa, conv};

/// Packed weights, and the generation of the parameters they were made from.
type Current = (u64, Arc<Packed>);

#[derive(Debug)]
pub(super) struct Network {
    pub config: BackboneConfig,
    pub architecture: Architecture,
    /// One layer per node.
    pub layers: Vec<Layer>,
    pub plan: Plan,
    /// Whether training uses batch statistics.
    pub batch_statistics: bool,
    pub isa: Isa,
    pub arena: Arena,
    /// Per node: folded and packed weights, with the generation of the parameters they were made
    /// from.
    packed: Mutex<Vec<Option<Current>>>,
    /// Per node: the time spent so far.
    pub clock: Clock,
}

/// Packed weights of one convolution.
#[derive(Debug)]
pub(super) enum Packed {
    Dense(ConvShape, ForwardWeights),
    Depthwise(DepthwiseShape, DepthwiseWeights),
    Grouped(GroupedShape, grouped::ForwardWeights),
}

/// The data that a training pass keeps of one node.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// The output, `[batch, height, width, channels]`.
    pub output: Option<Buffer>,
    /// The derivatives of the activation, where they are kept.
    pub slope: Option<Buffer>,
    /// The data that a batch norm with batch statistics needs.
    pub normalised: Option<Normalised>,
    /// The index of the maximum in each pooling window.
    pub winners: Option<Vec<u8>>,
}

impl Record {
    /// Returns the values from which the derivative of the node's activation is computed; `None` if
    /// there is no activation.
    pub(super) fn points(&self, activation: Activation) -> Option<&[f32]> {
        if activation == Activation::None {
            return None;
        }
        match activation.keeps_slope() {
            true => self.slope.as_deref(),
            false => self.output.as_deref(),
        }
    }
}

/// Feature maps, ready to become a tensor.
pub(super) struct Maps {
    pub values: Vec<f32>,
    /// Batch, rows, columns, features.
    pub shape: (usize, usize, usize, usize),
}

/// The input images and the output sizes of the nodes.
#[derive(Clone, Copy)]
pub(super) struct Pictures<'a> {
    pub values: &'a [f32],
    pub batch: usize,
    /// Height and width.
    pub size: (usize, usize),
    /// Height and width of each node's output.
    pub sizes: &'a [(usize, usize)],
    /// The height and width that determine how each node's work is divided.
    pub working: &'a [(usize, usize)],
}

impl Network {
    /// Creates a network from the layers of its architecture's nodes.
    pub(super) fn new(
        config: &BackboneConfig,
        architecture: Architecture,
        layers: Vec<Layer>,
    ) -> Self {
        let nodes = &architecture.nodes;
        let normed = architecture.convolutions().any(|(_, conv)| conv.has_norm());
        Network {
            config: config.clone(),
            layers,
            plan: Plan::new(config, &architecture),
            batch_statistics: normed && !config.norm_eval,
            isa: Isa::best(),
            arena: Arena::new(),
            packed: Mutex::new((0..nodes.len()).map(|_| None).collect()),
            clock: Clock::new(nodes.len()),
            architecture,
        }
    }

    /// Drops the packed weights of all nodes that a training step changes.
    pub(super) fn release_changing(&self) {
        let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        for (entry, changes) in packed.iter_mut().zip(&self.plan.changes) {
            if *changes {
                *entry = None;
            }
        }
    }

    /// Returns whether the gradient of a node is wanted.
    pub(super) fn learns(&self, index: usize) -> bool {
        self.plan.learns[index]
    }

    /// Returns whether a node has trainable parameters.
    pub(super) fn has_learning(&self, index: usize) -> bool {
        self.plan.has_learning[index]
    }

    /// Returns, per node, how many of the nodes that read its output have a gradient that is
    /// wanted.
    pub(super) fn readers_that_learn(&self) -> Vec<usize> {
        let nodes = &self.architecture.nodes;
        let mut readers = vec![0; nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            if self.learns(index) {
                for read in node.reads() {
                    readers[read] += 1;
                }
            }
        }
        readers
    }

    /// Returns the height and width of each node's output for images of a given size.
    pub(super) fn sizes(&self, height: usize, width: usize) -> Vec<(usize, usize)> {
        let mut sizes: Vec<(usize, usize)> = Vec::with_capacity(self.architecture.nodes.len());
        for node in &self.architecture.nodes {
            let size = match node.input() {
                Source::Image => (height, width),
                Source::Node(index) => sizes[index],
            };
            sizes.push(node.output_size(size));
        }
        sizes
    }

    /// Returns the height and width that determine how each node's work is divided: those of its
    /// output, or, for nodes after a mean over pixels, those of the averaged maps, so that such
    /// nodes stay in the same group as their neighbours.
    fn working_sizes(&self, sizes: &[(usize, usize)]) -> Vec<(usize, usize)> {
        let mut working: Vec<(usize, usize)> = Vec::with_capacity(sizes.len());
        let mut averaged = vec![false; sizes.len()];
        for (index, node) in self.architecture.nodes.iter().enumerate() {
            let average = matches!(node.operation, Operation::Average(_));
            let inherited = match node.input() {
                Source::Node(input) if average || averaged[input] => Some(working[input]),
                _ => None,
            };
            averaged[index] = inherited.is_some();
            working.push(inherited.unwrap_or(sizes[index]));
        }
        working
    }

    /// Returns the height and width of a node's input.
    pub(super) fn input_size(
        &self,
        index: usize,
        image_size: (usize, usize),
        sizes: &[(usize, usize)],
    ) -> (usize, usize) {
        match self.architecture.nodes[index].input() {
            Source::Image => image_size,
            Source::Node(input) => sizes[input],
        }
    }

    /// Returns the feature maps and the records of all nodes; the records are complete only if
    /// `train` is set.
    pub(super) fn forward(&self, images: &Tensor, train: bool) -> Result<(Maps, Vec<Record>)> {
        let (batch, height, width, _) = images.dims4()?;
        let sizes = self.sizes(height, width);
        let working = self.working_sizes(&sizes);
        let mut records: Vec<Record> = Vec::with_capacity(sizes.len());
        with_values(images, |images| -> Result<()> {
            let pictures = Pictures {
                values: images,
                batch,
                size: (height, width),
                sizes: &sizes,
                working: &working,
            };
            if train && self.batch_statistics {
                self.forward_with_statistics(pictures, &mut records)
            } else {
                self.forward_grouped(pictures, train, &mut records)
            }
        })??;
        let (height, width) = sizes.last().copied().unwrap_or((height, width));
        let output = records.last().and_then(|record| record.output.as_deref());
        let maps = Maps {
            values: output.map(<[f32]>::to_vec).unwrap_or_default(),
            shape: (batch, height, width, self.architecture.num_map_features()),
        };
        Ok((maps, records))
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn convolve(
        &self,
        dims: (usize, usize, usize),
        input: &[f32],
        weights: &Packed,
        residual: Option<&[f32]>,
        activation: Activation,
        output: &mut [f32],
    ) {
        match weights {
            Packed::Dense(shape, weights) => conv::forward(
                self.isa, shape, dims, input, weights, residual, activation, output,
            ),
            Packed::Depthwise(shape, weights) => depthwise::forward(
                self.isa, shape, dims, input, weights, residual, activation, output,
            ),
            Packed::Grouped(shape, weights) => grouped::forward(
                self.isa, shape, dims, input, weights, residual, activation, output,
            ),
        }
    }

    /// Returns the weights with the fixed batch norm folded in, for an input of `size`; they are
    /// packed now unless that has been done before.
    pub(super) fn folded_weights(
        &self,
        index: usize,
        conv: &ConvNode,
        size: (usize, usize),
        parameters: &ConvParameters,
    ) -> Result<Arc<Packed>> {
        let lock = || self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = parameters.generation();
        let suits = |packed: &Packed| match packed {
            Packed::Dense(shape, weights) => weights.algorithm() == self.algorithm(shape, size),
            Packed::Depthwise(..) | Packed::Grouped(..) => true,
        };
        if let Some((made_at, packed)) = &lock()[index]
            && *made_at == generation
            && suits(packed)
        {
            return Ok(packed.clone());
        }
        let folded = Folded::new(parameters)?;
        let packed = Arc::new(self.pack(conv, size, parameters, Some(folded))?);
        lock()[index] = Some((generation, packed.clone()));
        Ok(packed)
    }

    /// Returns the algorithm for a dense convolution of an input of `size`.
    pub(super) fn algorithm(&self, shape: &ConvShape, size: (usize, usize)) -> Algorithm {
        let winograd = self.config.winograd == Winograd::On;
        Algorithm::choose(shape, size, winograd)
    }

    pub(super) fn pack(
        &self,
        conv: &ConvNode,
        size: (usize, usize),
        parameters: &ConvParameters,
        folded: Option<Folded>,
    ) -> Result<Packed> {
        let (scale, bias) = match folded {
            Some(folded) => (folded.scale, Some(folded.bias)),
            None => (None, None),
        };
        let scale = scale.as_deref();
        with_values(&parameters.whole_weight()?, |weight| {
            match conv.geometry() {
                Geometry::Depthwise(shape) => {
                    let packed = DepthwiseWeights::pack(&shape, weight, scale, bias);
                    Packed::Depthwise(shape, packed)
                }
                Geometry::Grouped(shape) => {
                    let place = (self.isa, &self.arena);
                    let packed = grouped::ForwardWeights::pack(place, &shape, weight, scale, bias);
                    Packed::Grouped(shape, packed)
                }
                Geometry::Dense(shape) => {
                    let algorithm = self.algorithm(&shape, size);
                    let place = (self.isa, &self.arena);
                    let packed =
                        ForwardWeights::pack(place, &shape, algorithm, weight, scale, bias);
                    Packed::Dense(shape, packed)
                }
            }
        })
    }
}

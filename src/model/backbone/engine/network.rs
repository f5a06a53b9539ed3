//! The network that the engine runs: its layers, what is derived from their tensors, and what the
//! passes over it share.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Storage, Tensor};

use super::super::architecture::{Architecture, ConvNode, Operation, Source};
use super::super::config::{BackboneConfig, Winograd};
use super::super::layers::{ConvParameters, EPSILON, Layer};
use super::batch_statistics::Normalised;
use super::clock::Clock;
use crate::error::Result;
use crate::ops::depthwise::{self, DepthwiseWeights};
use crate::ops::{Activation, Algorithm, Arena, Buffer, ForwardWeights, Isa, conv, pool};

#[derive(Debug)]
pub(super) struct Network {
    pub config: BackboneConfig,
    pub architecture: Architecture,
    /// By node.
    pub layers: Vec<Layer>,
    /// By node: the last node that reads its output.
    pub last_use: Vec<usize>,
    /// By node: whether the backward pass needs its output.
    pub kept: Vec<bool>,
    pub isa: Isa,
    pub arena: Arena,
    /// By node: folded and packed weights, where they are known to be current.
    packed: Mutex<Vec<Option<Arc<Packed>>>>,
    /// By node: how long it took so far.
    pub clock: Clock,
}

/// Packed weights of one convolution.
#[derive(Debug)]
pub(super) enum Packed {
    Dense(ForwardWeights),
    Depthwise(DepthwiseWeights),
}

/// Scale and bias of a fixed batch norm.
pub(super) struct Folded {
    pub scale: Vec<f32>,
    pub bias: Vec<f32>,
    mean: Vec<f32>,
    inverse: Vec<f32>,
}

/// What a training pass keeps of one node.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Output, `[batch, height, width, channels]`.
    pub output: Option<Buffer>,
    /// What a batch norm with the batch's statistics needs.
    pub normalised: Option<Normalised>,
    /// Index of the maximum in each window of a pooling.
    pub winners: Option<Vec<u8>>,
}

/// The pictures and the sizes of what the nodes make of them.
#[derive(Clone, Copy)]
pub(super) struct Pictures<'a> {
    pub values: &'a [f32],
    pub batch: usize,
    /// Height and width.
    pub size: (usize, usize),
    /// Height and width of each node's output.
    pub sizes: &'a [(usize, usize)],
}

impl Network {
    /// A network with the layers of its architecture's nodes.
    pub fn new(config: &BackboneConfig, architecture: Architecture, layers: Vec<Layer>) -> Self {
        let nodes = &architecture.nodes;
        let learns = |index: usize| !config.is_frozen(nodes[index].stage);
        let mut last_use: Vec<usize> = (0..nodes.len()).collect();
        let mut kept: Vec<bool> = (0..nodes.len())
            .map(|i| learns(i) && nodes[i].activation() != Activation::None)
            .collect();
        for (index, node) in nodes.iter().enumerate() {
            if let Source::Node(input) = node.input() {
                last_use[input] = index;
                kept[input] |= learns(index) && matches!(node.operation, Operation::Conv(_));
            }
            if let Some(residual) = node.residual() {
                last_use[residual] = index;
            }
        }
        if let Some(last) = last_use.last_mut() {
            *last = nodes.len();
        }
        Network {
            config: config.clone(),
            layers,
            last_use,
            kept,
            isa: Isa::best(),
            arena: Arena::new(),
            packed: Mutex::new((0..nodes.len()).map(|_| None).collect()),
            clock: Clock::new(nodes.len()),
            architecture,
        }
    }

    /// Forgets what was derived from the parameters of these stages.
    pub fn forget(&self, which: impl Fn(i32) -> bool) {
        let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        for (entry, node) in packed.iter_mut().zip(&self.architecture.nodes) {
            if which(node.stage) {
                *entry = None;
            }
        }
    }

    pub fn learns(&self, index: usize) -> bool {
        !self.config.is_frozen(self.architecture.nodes[index].stage)
    }

    /// By node: how many learning nodes read its output.
    pub fn readers_that_learn(&self) -> Vec<usize> {
        let nodes = &self.architecture.nodes;
        let mut readers = vec![0; nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            if self.learns(index) {
                if let Source::Node(input) = node.input() {
                    readers[input] += 1;
                }
                if let Some(residual) = node.residual() {
                    readers[residual] += 1;
                }
            }
        }
        readers
    }

    /// Height and width of the output of each node, for pictures of a given size.
    pub fn sizes(&self, height: usize, width: usize) -> Vec<(usize, usize)> {
        let mut sizes: Vec<(usize, usize)> = Vec::with_capacity(self.architecture.nodes.len());
        for node in &self.architecture.nodes {
            let (height, width) = match node.input() {
                Source::Image => (height, width),
                Source::Node(index) => sizes[index],
            };
            sizes.push((node.output_size(height), node.output_size(width)));
        }
        sizes
    }

    /// Height and width of what a node reads.
    pub fn input_size(
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

    /// Features, and the records of all nodes if `train`.
    pub fn forward(&self, images: &Tensor, train: bool) -> Result<(Tensor, Vec<Record>)> {
        let (batch, height, width, _) = images.dims4()?;
        let sizes = self.sizes(height, width);
        let mut records: Vec<Record> = Vec::with_capacity(sizes.len());
        with_values(images, |images| -> Result<()> {
            let pictures = Pictures {
                values: images,
                batch,
                size: (height, width),
                sizes: &sizes,
            };
            if train && !self.config.norm_eval {
                self.forward_with_statistics(pictures, &mut records)
            } else {
                self.forward_grouped(pictures, train, &mut records)
            }
        })??;
        let channels = self.architecture.num_features();
        let pixels = sizes.last().map_or(0, |(height, width)| height * width);
        let mut features = vec![0.0; batch * channels];
        if let Some(output) = records.last().and_then(|r| r.output.as_ref()) {
            pool::global_average(self.isa, output, pixels, channels, &mut features);
        }
        let features = Tensor::from_vec(features, (batch, channels), images.device())?;
        Ok((features, records))
    }

    #[allow(clippy::too_many_arguments)]
    pub fn convolve(
        &self,
        node: &ConvNode,
        dims: (usize, usize, usize),
        input: &[f32],
        weights: &Packed,
        residual: Option<&[f32]>,
        activation: Activation,
        output: &mut [f32],
    ) {
        match weights {
            Packed::Dense(weights) => {
                let shape = node.dense();
                conv::forward(
                    self.isa, &shape, dims, input, weights, residual, activation, output,
                );
            }
            Packed::Depthwise(weights) => {
                let shape = node.per_channel();
                depthwise::forward(
                    self.isa, &shape, dims, input, weights, residual, activation, output,
                );
            }
        }
    }

    /// Weights with the fixed batch norm folded in, packed now or before, for an input of `size`.
    pub fn folded_weights(
        &self,
        index: usize,
        conv: &ConvNode,
        size: (usize, usize),
        parameters: &ConvParameters,
    ) -> Result<Arc<Packed>> {
        let lock = || self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        let algorithm = self.algorithm(conv, size);
        let suits = |packed: &Packed| match packed {
            Packed::Dense(weights) => weights.algorithm() == algorithm,
            Packed::Depthwise(_) => true,
        };
        if let Some(packed) = lock()[index].as_ref().filter(|packed| suits(packed)) {
            return Ok(packed.clone());
        }
        let folded = Folded::new(parameters)?;
        let packed = Arc::new(self.pack(conv, size, parameters, Some(folded))?);
        lock()[index] = Some(packed.clone());
        Ok(packed)
    }

    /// How a dense convolution of an input of `size` is computed.
    pub fn algorithm(&self, conv: &ConvNode, size: (usize, usize)) -> Algorithm {
        let winograd = self.config.winograd == Winograd::On;
        Algorithm::choose(&conv.dense(), size, winograd)
    }

    pub fn pack(
        &self,
        conv: &ConvNode,
        size: (usize, usize),
        parameters: &ConvParameters,
        folded: Option<Folded>,
    ) -> Result<Packed> {
        let (scale, bias) = folded.map(|f| (f.scale, f.bias)).unzip();
        let scale = scale.as_deref();
        with_values(&parameters.weight, |weight| {
            if conv.depthwise {
                let shape = conv.per_channel();
                Packed::Depthwise(DepthwiseWeights::pack(&shape, weight, scale, bias))
            } else {
                let algorithm = self.algorithm(conv, size);
                let shape = conv.dense();
                let packed = ForwardWeights::pack(
                    (self.isa, &self.arena),
                    &shape,
                    algorithm,
                    weight,
                    scale,
                    bias,
                );
                Packed::Dense(packed)
            }
        })
    }
}

impl Folded {
    /// Gradient of gamma from those of the scale (through the weights) and of the bias:
    /// s = gamma * inverse reaches the loss through W * s and through -mean * s.
    pub fn gamma_gradient(&self, dot: &[f32], bias: &[f32]) -> Vec<f32> {
        (0..dot.len())
            .map(|c| (dot[c] - self.mean[c] * bias[c]) * self.inverse[c])
            .collect()
    }

    pub fn new(parameters: &ConvParameters) -> Result<Self> {
        let mean = values(&parameters.mean)?;
        let variance = values(&parameters.variance)?;
        let inverse: Vec<f32> = variance
            .iter()
            .map(|&v| (1.0 / (f64::from(v) + EPSILON).sqrt()) as f32)
            .collect();
        let gamma = values(&parameters.gamma)?;
        let scale: Vec<f32> = inverse.iter().zip(&gamma).map(|(i, g)| i * g).collect();
        let bias = values(&parameters.beta)?
            .iter()
            .zip(mean.iter().zip(&scale))
            .map(|(b, (m, s))| b - m * s)
            .collect();
        Ok(Folded {
            scale,
            bias,
            mean,
            inverse,
        })
    }
}

/// Calls `read` with the values of a tensor on the CPU, without copying them if it is contiguous.
pub(super) fn with_values<R>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cpu(storage), Some((from, to))) = (&*storage, layout.contiguous_offsets()) else {
        return Err(candle_core::Error::Msg("the engine reads tensors on the CPU".into()).into());
    };
    Ok(read(&storage.as_slice::<f32>()?[from..to]))
}

/// The values of a small tensor.
pub(super) fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    with_values(tensor, <[f32]>::to_vec)
}

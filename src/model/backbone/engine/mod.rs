//! The CPU engine: runs an [`Architecture`] forward with the kernels of [`crate::ops`], channels
//! last, and keeps what the backward pass (`backward`) needs.
//!
//! A batch norm with fixed statistics is folded into the convolution before it: with
//! s = gamma / sqrt(variance + epsilon) the weights become W * s and the bias beta - mean * s, so
//! that no activation-sized work is left of it.

mod backward;
mod batch_statistics;
mod clock;
mod grouped;
mod transposed;
mod weight_sums;

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Storage, Tensor, Var};

use super::architecture::{Architecture, ConvNode, Operation, Source};
use super::{BackboneConfig, ConvParameters, EPSILON, Winograd};
use crate::error::Result;
use crate::ops::depthwise::{self, DepthwiseWeights};
use crate::ops::{Activation, Algorithm, Arena, Buffer, ForwardWeights, Isa, conv, pool};

use batch_statistics::{Normalised, Pictures};

pub use backward::EngineTape;
pub use clock::{NodeTime, Phase};

/// The executor; clones share everything.
#[derive(Debug, Clone)]
pub struct Engine(Arc<Network>);

#[derive(Debug)]
struct Network {
    config: BackboneConfig,
    architecture: Architecture,
    /// By node; `None` for a pooling.
    convolutions: Vec<Option<ConvParameters>>,
    /// By node: the last node that reads its output.
    last_use: Vec<usize>,
    /// By node: whether the backward pass needs its output.
    kept: Vec<bool>,
    isa: Isa,
    arena: Arena,
    /// By node: folded and packed weights, where they are known to be current.
    packed: Mutex<Vec<Option<Arc<Packed>>>>,
    /// By node: how long it took so far.
    clock: clock::Clock,
}

/// Packed weights of one convolution.
#[derive(Debug)]
enum Packed {
    Dense(ForwardWeights),
    Depthwise(DepthwiseWeights),
}

/// Scale and bias of a fixed batch norm.
struct Folded {
    scale: Vec<f32>,
    bias: Vec<f32>,
    mean: Vec<f32>,
    inverse: Vec<f32>,
}

/// What a training pass keeps of one node.
#[derive(Debug, Default)]
struct Record {
    /// Output, `[batch, height, width, channels]`.
    output: Option<Buffer>,
    /// What a batch norm with the batch's statistics needs.
    normalised: Option<Normalised>,
    /// Index of the maximum in each window of a pooling.
    winners: Option<Vec<u8>>,
}

impl Engine {
    /// An executor for an architecture with the parameters of its convolutions, in order.
    pub fn new(
        config: &BackboneConfig,
        architecture: Architecture,
        convolutions: Vec<ConvParameters>,
    ) -> Self {
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
        let mut given = convolutions.into_iter();
        let convolutions = nodes
            .iter()
            .map(|node| match node.operation {
                Operation::Conv(_) => given.next(),
                Operation::MaxPool(_) => None,
            })
            .collect();
        Engine(Arc::new(Network {
            config: config.clone(),
            convolutions,
            last_use,
            kept,
            isa: Isa::best(),
            arena: Arena::new(),
            packed: Mutex::new((0..nodes.len()).map(|_| None).collect()),
            clock: clock::Clock::new(nodes.len()),
            architecture,
        }))
    }

    /// Features in evaluation mode.
    ///
    /// # Errors
    /// If the parameters cannot be read.
    pub fn features(&self, images: &Tensor) -> Result<Tensor> {
        let (features, _) = self.0.forward(images, false)?;
        Ok(features)
    }

    /// Features in training mode, as a variable, and the tape for the backward pass.
    ///
    /// # Errors
    /// If the parameters cannot be read.
    pub fn forward_train(&self, images: &Tensor) -> Result<(Tensor, EngineTape)> {
        // The optimiser is about to change what learns.
        self.0.forget(|stage| self.0.config.changes(stage));
        let (features, records) = self.0.forward(images, true)?;
        self.0.forget(|stage| self.0.config.changes(stage));
        let features = Var::from_tensor(&features)?.into_inner();
        let tape = EngineTape::new(self.0.clone(), images.clone(), records, features.clone());
        Ok((features, tape))
    }

    /// Time of every node since the last call, in the network's order: of all threads together
    /// where they work on pictures of their own.
    pub fn take_times(&self) -> Vec<NodeTime> {
        self.0.clock.take(&self.0.architecture)
    }

    /// Forgets everything that was derived from parameters.
    pub fn weights_changed(&self) {
        self.0.forget(|_| true);
    }
}

impl Network {
    fn forget(&self, which: impl Fn(i32) -> bool) {
        let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        for (entry, node) in packed.iter_mut().zip(&self.architecture.nodes) {
            if which(node.stage) {
                *entry = None;
            }
        }
    }

    fn learns(&self, index: usize) -> bool {
        !self.config.is_frozen(self.architecture.nodes[index].stage)
    }

    /// By node: how many learning nodes read its output.
    fn readers_that_learn(&self) -> Vec<usize> {
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
    fn sizes(&self, height: usize, width: usize) -> Vec<(usize, usize)> {
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
    fn input_size(
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
    fn forward(&self, images: &Tensor, train: bool) -> Result<(Tensor, Vec<Record>)> {
        let (batch, height, width, _) = images.dims4()?;
        let sizes = self.sizes(height, width);
        let mut records: Vec<Record> = Vec::with_capacity(sizes.len());
        with_values(images, |images| -> Result<()> {
            let size = (height, width);
            if train && !self.config.norm_eval {
                let pictures = Pictures {
                    values: images,
                    batch,
                    size,
                    sizes: &sizes,
                };
                self.forward_with_statistics(pictures, &mut records)
            } else {
                self.forward_grouped(images, batch, size, &sizes, train, &mut records)
            }
        })??;
        let channels = self.architecture.num_features();
        let pixels = sizes.last().map_or(0, |(height, width)| height * width);
        let mut features = vec![0.0; batch * channels];
        if let Some(output) = records.last().and_then(|r| r.output.as_ref()) {
            pool::global_average(output, pixels, channels, &mut features);
        }
        let features = Tensor::from_vec(features, (batch, channels), images.device())?;
        Ok((features, records))
    }

    #[allow(clippy::too_many_arguments)]
    fn convolve(
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
    fn folded_weights(
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
    fn algorithm(&self, conv: &ConvNode, size: (usize, usize)) -> Algorithm {
        let winograd = self.config.winograd == Winograd::On;
        Algorithm::choose(&conv.dense(), size, winograd)
    }

    fn pack(
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
    fn gamma_gradient(&self, dot: &[f32], bias: &[f32]) -> Vec<f32> {
        (0..dot.len())
            .map(|c| (dot[c] - self.mean[c] * bias[c]) * self.inverse[c])
            .collect()
    }

    fn new(parameters: &ConvParameters) -> Result<Self> {
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
fn with_values<R>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cpu(storage), Some((from, to))) = (&*storage, layout.contiguous_offsets()) else {
        return Err(candle_core::Error::Msg("the engine reads tensors on the CPU".into()).into());
    };
    Ok(read(&storage.as_slice::<f32>()?[from..to]))
}

/// The values of a small tensor.
fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    with_values(tensor, <[f32]>::to_vec)
}

//! The backward pass of the engine.
//!
//! Nodes are visited in reverse. The gradient that a node finds is that before its activation: the
//! last of its readers to contribute applies the mask as it writes. A residual branch receives the
//! gradient's buffer itself, so that in a ResNet nothing is ever added in a pass of its own.

use std::sync::Arc;

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use super::super::architecture::{ConvNode, MaxPoolNode, Source};
use super::super::layers::{ConvParameters, Layer};
use super::clock::Phase;
use super::network::{Folded, Network, Record, with_values};
use super::transposed::Transposed;
use super::weight_sums;
use crate::error::Result;
use crate::model::parameters::Gradients;
use crate::ops::batch_norm::GradientSums;
use crate::ops::weight_gradient::{self, WeightGradientParts};
use crate::ops::{Activation, Buffer, depthwise, elementwise, pool};

/// What a training pass keeps for its backward pass.
#[derive(Debug)]
pub struct EngineTape {
    network: Arc<Network>,
    images: Tensor,
    records: Vec<Record>,
    features: Tensor,
}

/// The state of a backward pass.
pub(super) struct Backward<'a> {
    pub network: &'a Network,
    pub images: &'a Tensor,
    pub records: Vec<Record>,
    pub sizes: Vec<(usize, usize)>,
    pub batch: usize,
    pub image_size: (usize, usize),
    /// By node: the gradient as far as it is known.
    pub gradients: Vec<Option<Buffer>>,
    /// By node: what a norm with the batch's statistics needs to know of its whole gradient, if
    /// that was found in passing.
    pub sums: Vec<Option<GradientSums>>,
    /// By node: how many of its readers have yet to contribute.
    awaited: Vec<usize>,
    pub result: Gradients,
}

impl EngineTape {
    pub(super) fn new(
        network: Arc<Network>,
        images: Tensor,
        records: Vec<Record>,
        features: Tensor,
    ) -> Self {
        EngineTape {
            network,
            images,
            records,
            features,
        }
    }

    /// Gradients of the parameters that learn, by full name.
    ///
    /// # Errors
    /// If the gradient or the parameters cannot be read.
    pub fn backward(self, gradients: &GradStore) -> Result<Gradients> {
        let network = &*self.network;
        let nodes = &network.architecture.nodes;
        let (Some(gradient), Some(last)) =
            (gradients.get(&self.features), nodes.len().checked_sub(1))
        else {
            return Ok(Gradients::new());
        };
        if !network.learns(last) {
            return Ok(Gradients::new());
        }
        let (batch, height, width, _) = self.images.dims4()?;
        if network.groups_backward() {
            return network.backward_grouped(&self.images, &self.records, gradient);
        }
        let awaited = network.readers_that_learn();
        let mut pass = Backward {
            network,
            images: &self.images,
            records: self.records,
            sizes: network.sizes(height, width),
            batch,
            image_size: (height, width),
            gradients: nodes.iter().map(|_| None).collect(),
            sums: nodes.iter().map(|_| None).collect(),
            awaited,
            result: Gradients::new(),
        };
        pass.start(last, gradient)?;
        for index in (0..nodes.len()).rev() {
            // What is frozen comes first, and nothing before it learns.
            if !network.learns(index) {
                break;
            }
            if let Some(gradient) = pass.gradients[index].take() {
                // Every reader of this output has been visited.
                let record = std::mem::take(&mut pass.records[index]);
                match &network.layers[index] {
                    Layer::Conv(node, parameters) => {
                        pass.convolution(index, node, parameters, record, gradient)?;
                    }
                    Layer::MaxPool(node) => pass.max_pool(node, &record, &gradient),
                }
            }
        }
        Ok(pass.result)
    }
}

impl Backward<'_> {
    pub fn len(&self, index: usize) -> usize {
        let (height, width) = self.sizes[index];
        self.batch * height * width * self.network.architecture.nodes[index].channels()
    }

    fn start(&mut self, last: usize, features_gradient: &Tensor) -> Result<()> {
        let mut gradient = self.network.arena.take(self.len(last));
        let (height, width) = self.sizes[last];
        let channels = self.network.architecture.num_features();
        let mask = self.mask_of(last);
        with_values(features_gradient, |values| {
            pool::global_average_gradient(
                self.network.isa,
                values,
                height * width,
                channels,
                false,
                mask,
                &mut gradient,
            );
        })?;
        self.gradients[last] = Some(gradient);
        Ok(())
    }

    /// Output and activation of a node, if it has one.
    pub fn mask_of(&self, index: usize) -> Option<(&[f32], Activation)> {
        let activation = self.network.architecture.nodes[index].activation();
        let output = self.records[index].output.as_deref()?;
        (activation != Activation::None).then_some((output, activation))
    }

    /// The gradient of node `index`, for one more contribution: whether it is to be added to what is
    /// there, and whether it is the last one, which applies the mask.
    pub fn contribution(&mut self, index: usize) -> (bool, bool, Buffer) {
        let known = self.gradients[index].take();
        let accumulate = known.is_some();
        let gradient = known.unwrap_or_else(|| self.network.arena.take(self.len(index)));
        self.awaited[index] -= 1;
        (accumulate, self.awaited[index] == 0, gradient)
    }

    /// Lets `write(accumulate, mask, gradient)` contribute to the gradient of node `index`.
    fn contribute(
        &mut self,
        index: usize,
        write: impl FnOnce(bool, Option<(&[f32], Activation)>, &mut [f32]),
    ) {
        let (accumulate, last, mut gradient) = self.contribution(index);
        let mask = if last { self.mask_of(index) } else { None };
        write(accumulate, mask, &mut gradient);
        self.gradients[index] = Some(gradient);
    }

    fn convolution(
        &mut self,
        index: usize,
        node: &ConvNode,
        parameters: &ConvParameters,
        record: Record,
        gradient: Buffer,
    ) -> Result<()> {
        let network = self.network;
        drop(record.output);
        if let Some(normalised) = record.normalised {
            self.convolution_with_statistics(index, node, parameters, normalised, &gradient)?;
        } else {
            let folded = Folded::new(parameters)?;
            let parts = network.clock.time(index, Phase::WeightGradient, || {
                self.weight_gradient(node, parameters, &gradient, Some(&folded.scale))
            })?;
            let gamma = folded.gamma_gradient(&parts.dot, &parts.bias);
            let (weight, beta) = (parts.weight, parts.bias);
            weight_sums::keep(&mut self.result, node, parameters, weight, gamma, beta)?;
            network.clock.time(index, Phase::InputGradient, || {
                self.input_gradient(node, parameters, &gradient, &folded.scale)
            })?;
        }
        if let Some(residual) = node.residual
            && network.learns(residual)
        {
            self.residual_gradient(residual, gradient);
        }
        Ok(())
    }

    /// Gradients of the weights (times `scale`), of the scale (before it), and of the bias.
    pub fn weight_gradient(
        &self,
        node: &ConvNode,
        parameters: &ConvParameters,
        gradient: &[f32],
        scale: Option<&[f32]>,
    ) -> Result<WeightGradientParts> {
        match node.input {
            Source::Image => with_values(self.images, |images| {
                self.weight_gradient_from(
                    node,
                    parameters,
                    self.image_size,
                    images,
                    gradient,
                    scale,
                )
            })?,
            Source::Node(input) => {
                let output = self.records[input].output.as_deref().unwrap_or(&[]);
                let size = self.sizes[input];
                self.weight_gradient_from(node, parameters, size, output, gradient, scale)
            }
        }
    }

    fn weight_gradient_from(
        &self,
        node: &ConvNode,
        parameters: &ConvParameters,
        (height, width): (usize, usize),
        input: &[f32],
        gradient: &[f32],
        scale: Option<&[f32]>,
    ) -> Result<WeightGradientParts> {
        let network = self.network;
        let dims = (self.batch, height, width);
        let (isa, arena) = (network.isa, &network.arena);
        let sums = if node.depthwise {
            let shape = node.per_channel();
            depthwise::weight_gradient(isa, &shape, dims, input, gradient, arena)
        } else {
            let shape = node.dense();
            let algorithm = network.algorithm(node, (height, width));
            weight_gradient::weight_gradient(isa, &shape, algorithm, dims, input, gradient, arena)
        };
        with_values(&parameters.weight, |weight| {
            weight_sums::unpack(isa, node, &sums, weight, scale)
        })
    }

    fn input_gradient(
        &mut self,
        node: &ConvNode,
        parameters: &ConvParameters,
        gradient: &[f32],
        scale: &[f32],
    ) -> Result<()> {
        let network = self.network;
        let input = match node.input {
            Source::Node(input) if network.learns(input) => input,
            _ => return Ok(()),
        };
        let (height, width) = self.sizes[input];
        let dims = (self.batch, height, width);
        let size = (height, width);
        let weights = Transposed::pack(network, node, size, parameters, Some(scale))?;
        self.contribute(input, |add, mask, out| {
            weights.apply(network.isa, dims, gradient, add, mask, out);
        });
        Ok(())
    }

    /// Hands a node's gradient on to the node that was added to it.
    fn residual_gradient(&mut self, residual: usize, gradient: Buffer) {
        let isa = self.network.isa;
        if self.gradients[residual].is_some() {
            self.contribute(residual, |_, mask, out| {
                elementwise::add_mask(isa, out, Some(&gradient), mask);
            });
        } else {
            self.gradients[residual] = Some(gradient);
            self.contribute(residual, |_, mask, out| {
                if mask.is_some() {
                    elementwise::add_mask(isa, out, None, mask);
                }
            });
        }
    }

    fn max_pool(&mut self, node: &MaxPoolNode, record: &Record, gradient: &[f32]) {
        let network = self.network;
        if !network.learns(node.input) {
            return;
        }
        let (height, width) = self.sizes[node.input];
        let dims = (self.batch, height, width);
        let winners = record.winners.as_deref().unwrap_or(&[]);
        self.contribute(node.input, |accumulate, mask, out| {
            // No architecture here reads the input of a pooling twice.
            debug_assert!(!accumulate);
            pool::max_pool_gradient(network.isa, &node.shape, dims, gradient, winners, mask, out);
        });
    }
}

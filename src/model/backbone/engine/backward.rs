//! The backward pass of the engine.
//!
//! Nodes are visited in reverse. The gradient that a node receives is the one before its
//! activation: the last of its readers to contribute applies the activation's mask as it writes. A
//! residual branch takes over the buffer of the gradient, so that in a ResNet no addition ever
//! needs a pass of its own.

use std::sync::Arc;

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use super::super::architecture::{
    AttentionNode, AverageNode, AveragePoolNode, ConvNode, GateNode, Geometry, LayerNormNode,
    MaxPoolNode, Source, TokensNode,
};
use super::super::interface::{InGraph, Tape};
use super::super::layers::{
    AffineParameters, ConvParameters, Layer, NormParameters, TokensParameters,
};
use super::clock::Phase;
use super::folded::{self, Folded};
use super::low_rank::Narrow;
use super::network::{Network, Record};
use super::positioned::Positioned;
use super::transposed::Transposed;
use super::values::{values, with_values};
use super::weight_sums;
use crate::error::Result;
use crate::model::parameters::Gradients;
use crate::ops::batch_norm::GradientSums;
use crate::ops::weight_gradient::{self, WeightGradientParts};
use crate::ops::{
    Activation, Buffer, attention, average_pool, depthwise, elementwise, gate, grouped, layer_norm,
    pool, tokens,
};

/// The number of tasks into which the work on a pair of low-rank matrices is split.
const TASKS: usize = 8;

/// The state that a training pass keeps for its backward pass.
#[derive(Debug)]
pub(super) struct EngineTape {
    network: Arc<Network>,
    images: Tensor,
    records: Vec<Record>,
    maps: Tensor,
    /// The pooling after the maps.
    pooling: InGraph,
}

/// The state of a backward pass.
pub(super) struct Backward<'a> {
    pub network: &'a Network,
    pub images: &'a Tensor,
    pub records: Vec<Record>,
    pub sizes: Vec<(usize, usize)>,
    pub batch: usize,
    pub image_size: (usize, usize),
    /// Per node: the gradient accumulated so far.
    pub gradients: Vec<Option<Buffer>>,
    /// Per node: the sums that a norm with batch statistics needs over its complete gradient, if
    /// they were computed along with it.
    pub sums: Vec<Option<GradientSums>>,
    /// Per node: the number of readers that have yet to contribute.
    awaited: Vec<usize>,
    pub result: &'a mut Gradients,
}

impl EngineTape {
    pub(super) fn new(
        network: Arc<Network>,
        images: Tensor,
        records: Vec<Record>,
        maps: Tensor,
        pooling: InGraph,
    ) -> Self {
        EngineTape {
            network,
            images,
            records,
            maps,
            pooling,
        }
    }
}

impl Tape for EngineTape {
    fn backward(self: Box<Self>, found: &GradStore, gradients: &mut Gradients) -> Result<()> {
        Box::new(self.pooling).backward(found, gradients)?;
        let network = &*self.network;
        let nodes = &network.architecture.nodes;
        let (Some(gradient), Some(last)) = (found.get(&self.maps), nodes.len().checked_sub(1))
        else {
            return Ok(());
        };
        if !network.learns(last) {
            return Ok(());
        }
        let (batch, height, width, _) = self.images.dims4()?;
        if network.groups_backward() {
            return network.backward_grouped(&self.images, &self.records, gradient, gradients);
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
            result: gradients,
        };
        pass.start(last, gradient)?;
        for index in (0..nodes.len()).rev() {
            if let Some(gradient) = pass.gradients[index].take() {
                // By now, every reader of this output has been visited.
                let record = std::mem::take(&mut pass.records[index]);
                match &network.layers[index] {
                    Layer::Conv(node, parameters) => {
                        pass.convolution(index, node, parameters, record, gradient)?;
                    }
                    Layer::MaxPool(node) => pass.max_pool(node, &record, &gradient),
                    Layer::AveragePool(node) => pass.average_pool(node, &gradient),
                    Layer::LayerNorm(node, parameters) => {
                        pass.layer_norm(index, node, parameters, &gradient)?;
                    }
                    Layer::Average(node) => pass.average(node, &gradient),
                    Layer::Gate(node) => pass.gate(node, &gradient),
                    Layer::Tokens(node, parameters) => {
                        pass.tokens(index, node, parameters, &gradient)?;
                    }
                    Layer::Attention(node) => pass.attention(index, node, &gradient),
                }
            }
        }
        Ok(())
    }
}

impl Backward<'_> {
    pub(super) fn len(&self, index: usize) -> usize {
        let (height, width) = self.sizes[index];
        self.batch * height * width * self.network.architecture.nodes[index].channels()
    }

    fn start(&mut self, last: usize, maps_gradient: &Tensor) -> Result<()> {
        let mut gradient = self.network.arena.take(self.len(last));
        with_values(maps_gradient, |values| gradient.copy_from_slice(values))?;
        elementwise::add_mask(self.network.isa, &mut gradient, None, self.mask_of(last));
        self.gradients[last] = Some(gradient);
        Ok(())
    }

    /// Returns the values from which the derivative of a node's activation is computed, if it has
    /// one.
    pub(super) fn mask_of(&self, index: usize) -> Option<(&[f32], Activation)> {
        let activation = self.network.architecture.nodes[index].activation();
        Some((self.records[index].points(activation)?, activation))
    }

    /// Returns the output of a node that was kept for the backward pass.
    fn output(&self, index: usize) -> &[f32] {
        self.records[index].output.as_deref().unwrap_or(&[])
    }

    /// Takes the gradient of node `index` for one more contribution. Also returns whether the
    /// contribution must be added to what is there, and whether it is the last one, which applies
    /// the mask.
    pub(super) fn contribution(&mut self, index: usize) -> (bool, bool, Buffer) {
        let known = self.gradients[index].take();
        let accumulate = known.is_some();
        let gradient = known.unwrap_or_else(|| self.network.arena.take(self.len(index)));
        self.awaited[index] -= 1;
        (accumulate, self.awaited[index] == 0, gradient)
    }

    /// Calls `write(add, mask, gradient)` to contribute to the gradient of node `index`, if that is
    /// wanted.
    fn contribute(
        &mut self,
        index: usize,
        write: impl FnOnce(bool, Option<(&[f32], Activation)>, &mut [f32]),
    ) {
        self.contribute_from(index, index, |_, add, mask, out| write(add, mask, out));
    }

    /// Calls `write(output, add, mask, gradient)` with the output of node `source` to contribute to
    /// the gradient of node `target`, if that is wanted.
    fn contribute_from(
        &mut self,
        source: usize,
        target: usize,
        write: impl FnOnce(&[f32], bool, Option<(&[f32], Activation)>, &mut [f32]),
    ) {
        if !self.network.learns(target) {
            return;
        }
        let (add, last, mut gradient) = self.contribution(target);
        let mask = if last { self.mask_of(target) } else { None };
        write(self.output(source), add, mask, &mut gradient);
        self.gradients[target] = Some(gradient);
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
        match (&parameters.affine, record.normalised) {
            (AffineParameters::BatchNorm(norm), Some(made)) => {
                self.convolution_with_statistics(index, node, (parameters, norm), made, &gradient)?;
            }
            _ => {
                let folded = Folded::new(parameters)?;
                let scale = folded.scale.as_deref();
                if network.has_learning(index) {
                    network.clock.time(index, Phase::WeightGradient, || {
                        self.parameter_gradients(node, parameters, &gradient, &folded)
                    })?;
                }
                network.clock.time(index, Phase::InputGradient, || {
                    self.input_gradient(node, parameters, &gradient, scale)
                })?;
            }
        }
        if let Some(residual) = node.residual
            && network.learns(residual)
        {
            self.residual_gradient(residual, gradient);
        }
        Ok(())
    }

    /// Stores the gradients of a convolution's trainable parameters in the result.
    fn parameter_gradients(
        &mut self,
        node: &ConvNode,
        parameters: &ConvParameters,
        gradient: &[f32],
        folded: &Folded,
    ) -> Result<()> {
        let (network, scale) = (self.network, folded.scale.as_deref());
        match (&node.low_rank, &parameters.low_rank, node.input) {
            (Some(low_rank), Some(own), Source::Node(input)) => {
                let narrow = Narrow::pack(network, node, low_rank, own, scale)?;
                let (place, (height, width)) = ((network.isa, &network.arena), self.sizes[input]);
                let (dims, output) = ((self.batch, height, width), self.output(input));
                let mut sums = network.arena.take(narrow.len());
                narrow.write(place, dims, output, gradient, TASKS, &mut sums);
                narrow.keep(network.isa, &sums, self.result)
            }
            _ => {
                let parts = self.weight_gradient(node, parameters, gradient, scale)?;
                folded.keep(&parameters.weight, parts, self.result)
            }
        }
    }

    /// Returns the gradients of the weights (times `scale`), of the scale (not multiplied by it),
    /// and of the bias.
    pub(super) fn weight_gradient(
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
                let (output, size) = (self.output(input), self.sizes[input]);
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
        let sums = match node.geometry() {
            Geometry::Depthwise(shape) => {
                depthwise::weight_gradient(isa, &shape, dims, input, gradient, arena)
            }
            Geometry::Grouped(shape) => {
                grouped::weight_gradient(isa, &shape, dims, input, gradient, arena)
            }
            Geometry::Dense(shape) => {
                let how = network.algorithm(&shape, (height, width));
                weight_gradient::weight_gradient(isa, &shape, how, dims, input, gradient, arena)
            }
        };
        with_values(&parameters.weight.var, |weight| {
            weight_sums::unpack(isa, node, &sums, weight, scale)
        })
    }

    fn input_gradient(
        &mut self,
        node: &ConvNode,
        parameters: &ConvParameters,
        gradient: &[f32],
        scale: Option<&[f32]>,
    ) -> Result<()> {
        let network = self.network;
        let input = match node.input {
            Source::Node(input) if network.learns(input) => input,
            _ => return Ok(()),
        };
        let (height, width) = self.sizes[input];
        let dims = (self.batch, height, width);
        let size = (height, width);
        let weights = Transposed::pack(network, node, size, parameters, scale)?;
        self.contribute(input, |add, mask, out| {
            weights.apply(network.isa, dims, gradient, add, mask, out);
        });
        Ok(())
    }

    /// Passes a node's gradient on to the node that was added to it.
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

    fn layer_norm(
        &mut self,
        index: usize,
        node: &LayerNormNode,
        parameters: &NormParameters,
        gradient: &[f32],
    ) -> Result<()> {
        let network = self.network;
        let (isa, channels, epsilon) = (network.isa, node.channels, node.epsilon as f32);
        if network.has_learning(index) {
            let mut gamma = network.clock.time(index, Phase::WeightGradient, || {
                let values = self.output(node.input);
                layer_norm::parameter_gradients(isa, channels, epsilon, values, gradient)
            });
            let beta = gamma.split_off(channels);
            folded::keep(&parameters.gamma, gamma, self.result)?;
            folded::keep(&parameters.beta, beta, self.result)?;
        }
        if network.learns(node.input) {
            let gamma = values(&parameters.gamma.var)?;
            network.clock.time(index, Phase::InputGradient, || {
                self.contribute_from(node.input, node.input, |values, add, mask, out| {
                    layer_norm::input_gradient(
                        isa, channels, epsilon, values, &gamma, gradient, add, mask, out,
                    );
                });
            });
        }
        Ok(())
    }

    fn average(&mut self, node: &AverageNode, gradient: &[f32]) {
        let (height, width) = self.sizes[node.input];
        let (isa, pixels, channels) = (self.network.isa, height * width, node.channels);
        self.contribute(node.input, |add, mask, out| {
            pool::global_average_gradient(isa, gradient, pixels, channels, add, mask, out);
        });
    }

    fn average_pool(&mut self, node: &AveragePoolNode, gradient: &[f32]) {
        let (height, width) = self.sizes[node.input];
        let (isa, dims) = (self.network.isa, (self.batch, height, width));
        self.contribute(node.input, |add, mask, out| {
            average_pool::gradient(isa, &node.shape, dims, gradient, add, mask, out);
        });
    }

    fn gate(&mut self, node: &GateNode, gradient: &[f32]) {
        let network = self.network;
        let (height, width) = self.sizes[node.input];
        let (isa, pixels, channels) = (network.isa, height * width, node.channels);
        self.contribute_from(node.input, node.gate, |values, add, mask, out| {
            gate::gate_gradient(isa, pixels, channels, values, gradient, add, mask, out);
        });
        self.contribute_from(node.gate, node.input, |factors, add, mask, out| {
            gate::input_gradient(isa, pixels, channels, factors, gradient, add, mask, out);
        });
    }

    fn tokens(
        &mut self,
        index: usize,
        node: &TokensNode,
        parameters: &TokensParameters,
        gradient: &[f32],
    ) -> Result<()> {
        let network = self.network;
        let (isa, size) = (network.isa, self.sizes[node.input]);
        let tokens = self.len(index) / self.batch.max(1);
        let mut sums = network.arena.take(tokens);
        network.clock.time(index, Phase::WeightGradient, || {
            tokens::partial_sums(isa, gradient, &mut sums);
        });
        let positioned = Positioned::new(node, parameters, size)?;
        positioned.keep(node, parameters, &sums, self.result)?;
        let patches = positioned.places.len();
        network.clock.time(index, Phase::InputGradient, || {
            self.contribute(node.input, |add, mask, out| {
                tokens::input_gradient(isa, patches, gradient, add, mask, out);
            });
        });
        Ok(())
    }

    fn attention(&mut self, index: usize, node: &AttentionNode, gradient: &[f32]) {
        let network = self.network;
        let (rows, columns) = self.sizes[index];
        network.clock.time(index, Phase::InputGradient, || {
            self.contribute_from(node.input, node.input, |projected, add, mask, out| {
                // Nothing else reads the projection, which has no activation.
                debug_assert!(!add && mask.is_none());
                let shape = &node.shape;
                attention::gradient(network.isa, shape, rows * columns, projected, gradient, out);
            });
        });
    }

    fn max_pool(&mut self, node: &MaxPoolNode, record: &Record, gradient: &[f32]) {
        let isa = self.network.isa;
        let (height, width) = self.sizes[node.input];
        let dims = (self.batch, height, width);
        let winners = record.winners.as_deref().unwrap_or(&[]);
        self.contribute(node.input, |accumulate, mask, out| {
            // No architecture here reads the input of a pooling twice.
            debug_assert!(!accumulate);
            pool::max_pool_gradient(isa, &node.shape, dims, gradient, winners, mask, out);
        });
    }
}

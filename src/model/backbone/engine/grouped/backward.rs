//! The backward pass by groups of images, for networks with so few weights that every group can
//! have its own sums.

use std::ops::Range;

use candle_core::Tensor;
use rayon::prelude::*;

use super::super::super::architecture::{ConvNode, Operation, Source};
use super::super::clock::Phase;
use super::super::network::{Network, Record};
use super::super::transposed::Transposed;
use super::super::values::with_values;
use super::super::weight_sums;
use super::step::{Kind, Learning, Step};
use crate::error::Result;
use crate::model::parameters::Gradients;
use crate::ops::{
    Activation, Buffer, attention, average_pool, elementwise, gate, layer_norm, pool, tokens,
    weight_gradient,
};

/// The number of groups of images in a backward pass, each with its own partial sums of all weight
/// gradients.
const GROUPS: usize = 8;
/// The largest number of trainable weights for which that many partial sums are worth their memory.
const WEIGHTS: usize = 4 << 20;

impl Network {
    /// Returns whether the backward pass runs in groups: with fixed batch norms, and so few weights
    /// that every group can have its own sums.
    pub(in super::super) fn groups_backward(&self) -> bool {
        let learning = self.architecture.nodes.iter().enumerate();
        let mut weights = 0;
        for (index, node) in learning.filter(|(index, _)| self.learns(*index)) {
            match &node.operation {
                Operation::Conv(conv) if self.has_learning(index) => {
                    weights += match conv.low_rank {
                        Some(low_rank) => low_rank.rank * (conv.in_channels + conv.out_channels),
                        None => conv.weight_shape().iter().product::<usize>(),
                    };
                }
                Operation::MaxPool(_) => return false,
                Operation::Conv(_)
                | Operation::LayerNorm(_)
                | Operation::AveragePool(_)
                | Operation::Average(_)
                | Operation::Gate(_)
                | Operation::Tokens(_)
                | Operation::Attention(_) => {}
            }
        }
        !self.batch_statistics && weights <= WEIGHTS
    }

    /// Stores the gradients of all trainable parameters in `result`.
    pub(in super::super) fn backward_grouped(
        &self,
        images: &Tensor,
        records: &[Record],
        maps_gradient: &Tensor,
        result: &mut Gradients,
    ) -> Result<()> {
        let (batch, height, width, _) = images.dims4()?;
        let sizes = self.sizes(height, width);
        let mut steps = Vec::new();
        let mut len = 0;
        for index in (0..sizes.len()).filter(|&index| self.learns(index)) {
            let size = self.input_size(index, (height, width), &sizes);
            let step = Step::new(self, index, size, len)?;
            len += step.len;
            steps.push(step);
        }
        let groups = GROUPS.min(batch).max(1);
        let mut partial = self.arena.take(groups * len);
        with_values(images, |images| {
            with_values(maps_gradient, |maps_gradient| {
                partial
                    .par_chunks_mut(len.max(1))
                    .enumerate()
                    .for_each(|(group, sums)| {
                        let pictures = batch * group / groups..batch * (group + 1) / groups;
                        let mut pass = Group {
                            network: self,
                            steps: &steps,
                            records,
                            images,
                            image_size: (height, width),
                            sizes: &sizes,
                            pictures,
                            awaited: self.readers_that_learn(),
                            gradients: sizes.iter().map(|_| None).collect(),
                        };
                        pass.run(maps_gradient, sums);
                    });
            })
        })??;
        weight_gradient::sum_partial(&mut partial, len);
        for step in &steps {
            step.keep(self, &partial[step.start..][..step.len], result)?;
        }
        Ok(())
    }
}

/// The backward pass of one group of images.
struct Group<'a> {
    network: &'a Network,
    steps: &'a [Step<'a>],
    records: &'a [Record],
    images: &'a [f32],
    image_size: (usize, usize),
    sizes: &'a [(usize, usize)],
    pictures: Range<usize>,
    /// Per node: the number of readers that have yet to contribute to its gradient.
    awaited: Vec<usize>,
    /// Per node: the gradient accumulated so far.
    gradients: Vec<Option<Buffer>>,
}

impl<'a> Group<'a> {
    /// Writes the sums of all weight gradients over these images.
    fn run(&mut self, maps_gradient: &[f32], sums: &mut [f32]) {
        let network = self.network;
        if let Some(last) = self.sizes.len().checked_sub(1) {
            let mut gradient = network.arena.take(self.len(last));
            let picture = gradient.len() / self.pictures.len().max(1);
            let own = self.pictures.start * picture..self.pictures.end * picture;
            gradient.copy_from_slice(&maps_gradient[own]);
            elementwise::add_mask(network.isa, &mut gradient, None, self.mask_of(last));
            self.gradients[last] = Some(gradient);
        }
        for step in self.steps.iter().rev() {
            let sums = &mut sums[step.start..][..step.len];
            match self.gradients[step.index].take() {
                Some(gradient) => self.step(step, gradient, sums),
                None => sums.fill(0.0),
            }
        }
    }

    /// Runs the backward pass of one node from the gradient of its output.
    fn step(&mut self, step: &'a Step<'a>, gradient: Buffer, sums: &mut [f32]) {
        let (network, index) = (self.network, step.index);
        let (isa, clock) = (network.isa, &network.clock);
        let channels = network.architecture.nodes[index].channels();
        match &step.kind {
            Kind::Conv {
                node,
                parameters,
                weights,
            } => {
                self.convolution(index, node, parameters, weights.as_ref(), &gradient, sums);
                if let Some(residual) = node.residual {
                    self.hand_on(residual, gradient);
                }
            }
            Kind::LayerNorm { node, gamma, .. } => {
                let (input, _) = self.input(Source::Node(node.input));
                let epsilon = node.epsilon as f32;
                if network.has_learning(index) {
                    clock.time(index, Phase::WeightGradient, || {
                        layer_norm::partial_sums(isa, channels, epsilon, input, &gradient, sums);
                    });
                }
                self.contribute(index, node.input, |add, mask, out| {
                    layer_norm::input_gradient(
                        isa, channels, epsilon, input, gamma, &gradient, add, mask, out,
                    );
                });
            }
            Kind::AveragePool(node) => {
                let (height, width) = self.sizes[node.input];
                let dims = (self.pictures.len(), height, width);
                self.contribute(index, node.input, |add, mask, out| {
                    average_pool::gradient(isa, &node.shape, dims, &gradient, add, mask, out);
                });
            }
            Kind::Average { input } => {
                let (height, width) = self.sizes[*input];
                let pixels = height * width;
                self.contribute(index, *input, |add, mask, out| {
                    pool::global_average_gradient(isa, &gradient, pixels, channels, add, mask, out);
                });
            }
            Kind::Gate(node) => {
                let (values, (height, width)) = self.input(Source::Node(node.input));
                let (factors, _) = self.input(Source::Node(node.gate));
                let pixels = height * width;
                self.contribute(index, node.gate, |add, mask, out| {
                    gate::gate_gradient(isa, pixels, channels, values, &gradient, add, mask, out);
                });
                self.contribute(index, node.input, |add, mask, out| {
                    gate::input_gradient(isa, pixels, channels, factors, &gradient, add, mask, out);
                });
            }
            Kind::Tokens {
                node, positioned, ..
            } => {
                clock.time(index, Phase::WeightGradient, || {
                    tokens::partial_sums(isa, &gradient, sums);
                });
                let patches = positioned.places.len();
                self.contribute(index, node.input, |add, mask, out| {
                    tokens::input_gradient(isa, patches, &gradient, add, mask, out);
                });
            }
            Kind::Attention(node) => {
                let (projected, (height, width)) = self.input(Source::Node(node.input));
                let (shape, count) = (&node.shape, height * width);
                self.contribute(index, node.input, |add, mask, out| {
                    // Nothing else reads the projection, which has no activation.
                    debug_assert!(!add && mask.is_none());
                    attention::gradient(isa, shape, count, projected, &gradient, out);
                });
            }
            Kind::End => {}
        }
    }

    /// Computes the gradients of a convolution's parameters and of its input.
    fn convolution(
        &mut self,
        index: usize,
        node: &ConvNode,
        parameters: &Learning,
        weights: Option<&Transposed>,
        gradient: &[f32],
        sums: &mut [f32],
    ) {
        let (isa, clock) = (self.network.isa, &self.network.clock);
        let place = (isa, &self.network.arena);
        let (input, (height, width)) = self.input(node.input);
        let dims = (self.pictures.len(), height, width);
        clock.time(index, Phase::WeightGradient, || match parameters {
            Learning::All(..) => weight_sums::write(place, node, dims, input, gradient, sums),
            Learning::Narrow(narrow) => narrow.write(place, dims, input, gradient, 1, sums),
            Learning::Nothing => {}
        });
        if let (Source::Node(input), Some(weights)) = (node.input, weights) {
            self.contribute(index, input, |add, mask, out| {
                weights.apply(isa, dims, gradient, add, mask, out);
            });
        }
    }

    /// Calls `write(add, mask, gradient)` to contribute to the gradient of node `target`, if that
    /// is wanted; the last contribution applies the mask.
    fn contribute(
        &mut self,
        index: usize,
        target: usize,
        write: impl FnOnce(bool, Option<(&[f32], Activation)>, &mut [f32]),
    ) {
        let network = self.network;
        if !network.learns(target) {
            return;
        }
        let known = self.gradients[target].take();
        let add = known.is_some();
        let mut out = known.unwrap_or_else(|| network.arena.take(self.len(target)));
        self.awaited[target] -= 1;
        let mask = self.mask_of(target).filter(|_| self.awaited[target] == 0);
        network.clock.time(index, Phase::InputGradient, || {
            write(add, mask, &mut out);
        });
        self.gradients[target] = Some(out);
    }

    /// Passes a gradient on to a residual branch: as its gradient, or added to it.
    fn hand_on(&mut self, residual: usize, mut gradient: Buffer) {
        let isa = self.network.isa;
        if !self.network.learns(residual) {
            return;
        }
        self.awaited[residual] -= 1;
        let mask = (self.mask_of(residual)).filter(|_| self.awaited[residual] == 0);
        if let Some(known) = self.gradients[residual].take() {
            elementwise::add_mask(isa, &mut gradient, Some(&known), mask);
        } else if mask.is_some() {
            elementwise::add_mask(isa, &mut gradient, None, mask);
        }
        self.gradients[residual] = Some(gradient);
    }

    /// Returns the number of values in the output of a node for these images.
    fn len(&self, index: usize) -> usize {
        let (height, width) = self.sizes[index];
        self.pictures.len() * height * width * self.network.architecture.nodes[index].channels()
    }

    /// Returns the slice for these images of a node's tensor over the whole batch.
    fn own(&self, index: usize, whole: &'a [f32]) -> &'a [f32] {
        let picture = self.len(index) / self.pictures.len().max(1);
        &whole[self.pictures.start * picture..self.pictures.end * picture]
    }

    /// Returns the input of a node, with its height and width.
    fn input(&self, source: Source) -> (&'a [f32], (usize, usize)) {
        match source {
            Source::Image => {
                let size = self.image_size.0 * self.image_size.1 * 3;
                let range = self.pictures.start * size..self.pictures.end * size;
                (&self.images[range], self.image_size)
            }
            Source::Node(input) => {
                let whole = self.records[input].output.as_deref();
                let values = whole.map(|whole| self.own(input, whole));
                (values.unwrap_or_default(), self.sizes[input])
            }
        }
    }

    /// Returns the values from which the derivative of a node's activation is computed, if it has
    /// one.
    fn mask_of(&self, index: usize) -> Option<(&'a [f32], Activation)> {
        let activation = self.network.architecture.nodes[index].activation();
        let whole = self.records[index].points(activation)?;
        Some((self.own(index, whole), activation))
    }
}

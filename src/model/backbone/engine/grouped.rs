//! Running a few pictures through many layers, instead of all pictures through one.
//!
//! What a layer hands to the next then stays in cache, and threads meet once a pass instead of once
//! a layer. That is possible wherever pictures do not depend on each other, that is without batch
//! statistics.

use std::ops::Range;
use std::sync::Arc;

use candle_core::Tensor;
use rayon::prelude::*;

use super::super::architecture::{ConvNode, MaxPoolNode, Operation, Source};
use super::super::layers::{ConvParameters, Layer};
use super::clock::Phase;
use super::network::{Folded, Network, Packed, Pictures, Record, with_values};
use super::transposed::Transposed;
use super::weight_sums;
use crate::error::Result;
use crate::model::parameters::Gradients;
use crate::ops::{Activation, Buffer, elementwise, pool, weight_gradient};

/// Pixels of a layer that a group of pictures should have, so that the weights are worth loading.
const PIXELS: usize = 392;
/// Groups of pictures of a backward pass, each with its own partial sums of all weight gradients.
const BACKWARD_GROUPS: usize = 8;
/// Learning weights, at most, for which so many partial sums are worth their memory.
const BACKWARD_WEIGHTS: usize = 4 << 20;

/// What a group needs to know of a node's tensors.
enum Place<'a> {
    /// Not yet computed, or no longer needed.
    Nowhere,
    /// The group's part of a tensor of the whole batch.
    Whole(&'a mut [f32]),
    /// A tensor of the group alone.
    Local(Buffer),
}

/// Where a group's output is, and the winners of a pooling, if they are kept.
type Output<'a> = (Place<'a>, Option<&'a mut [u8]>);

impl Place<'_> {
    fn values(&self) -> &[f32] {
        match self {
            Place::Nowhere => &[],
            Place::Whole(values) => values,
            Place::Local(buffer) => buffer,
        }
    }

    fn values_mut(&mut self) -> &mut [f32] {
        match self {
            Place::Nowhere => &mut [],
            Place::Whole(values) => values,
            Place::Local(buffer) => buffer,
        }
    }
}

/// What a node does, with its weights at hand.
enum Work<'a> {
    Conv(&'a ConvNode, Arc<Packed>),
    MaxPool(&'a MaxPoolNode),
}

/// The forward pass of a range of nodes, as every group of pictures sees it.
struct Forward<'a> {
    network: &'a Network,
    range: Range<usize>,
    /// By node of the range.
    work: Vec<Work<'a>>,
    pictures: Pictures<'a>,
    /// Of the nodes before the range.
    earlier: &'a [Record],
}

impl Network {
    /// Pictures that go together through a node with an output of this size.
    pub(super) fn group_size(batch: usize, (height, width): (usize, usize)) -> usize {
        let pictures = PIXELS
            .div_ceil((height * width).max(1))
            .clamp(1, batch.max(1));
        // Groups of equal size.
        batch.div_ceil(batch.div_ceil(pictures).max(1)).max(1)
    }

    /// Runs all nodes; batch norms use their running statistics.
    pub(super) fn forward_grouped(
        &self,
        pictures: Pictures,
        train: bool,
        records: &mut Vec<Record>,
    ) -> Result<()> {
        let Pictures { batch, sizes, .. } = pictures;
        let end = sizes.len();
        let mut first = 0;
        while first < end {
            let group = Self::group_size(batch, sizes[first]);
            let last = (first..end)
                .find(|&index| Self::group_size(batch, sizes[index]) != group)
                .unwrap_or(end);
            self.run_range(first..last, group, pictures, train, records)?;
            first = last;
        }
        Ok(())
    }

    /// Runs a range of nodes, `group` pictures at a time.
    fn run_range(
        &self,
        range: Range<usize>,
        group: usize,
        pictures: Pictures,
        train: bool,
        records: &mut Vec<Record>,
    ) -> Result<()> {
        let end = range.end;
        let work = range.clone().map(|index| match &self.layers[index] {
            Layer::Conv(conv, parameters) => {
                let size = self.input_size(index, pictures.size, pictures.sizes);
                let weights = self.folded_weights(index, conv, size, parameters)?;
                Ok(Work::Conv(conv, weights))
            }
            Layer::MaxPool(pool) => Ok(Work::MaxPool(pool)),
        });
        let forward = Forward {
            network: self,
            work: work.collect::<Result<_>>()?,
            range,
            pictures,
            earlier: records,
        };
        let mut made = forward.records(train);
        let mut places = forward.places(group, &mut made);
        let groups = places.par_iter_mut().enumerate();
        groups.for_each(|(number, places)| {
            let some = number * group..((number + 1) * group).min(pictures.batch);
            forward.run(&some, places);
        });
        drop(places);
        records.extend(made);
        for (index, record) in records.iter_mut().enumerate() {
            if self.last_use[index] < end && !(train && self.kept[index]) {
                record.output = None;
            }
        }
        Ok(())
    }

    /// Whether the backward pass runs in groups: with fixed batch norms, and few enough weights
    /// that every group may have sums of its own.
    pub(super) fn groups_backward(&self) -> bool {
        let learning = self.architecture.nodes.iter().enumerate();
        let mut weights = 0;
        for (_, node) in learning.filter(|(index, _)| self.learns(*index)) {
            match &node.operation {
                Operation::Conv(conv) => weights += conv.weight_shape().iter().product::<usize>(),
                Operation::MaxPool(_) => return false,
            }
        }
        self.config.norm_eval && weights <= BACKWARD_WEIGHTS
    }

    /// Gradients of all parameters that learn.
    pub(super) fn backward_grouped(
        &self,
        images: &Tensor,
        records: &[Record],
        features_gradient: &Tensor,
    ) -> Result<Gradients> {
        let (batch, height, width, _) = images.dims4()?;
        let sizes = self.sizes(height, width);
        let mut layers = Vec::new();
        let mut len = 0;
        for (index, layer) in self.layers.iter().enumerate() {
            if let (Layer::Conv(conv, parameters), true) = (layer, self.learns(index)) {
                let size = self.input_size(index, (height, width), &sizes);
                let layer = Learning::new(self, index, (conv, size), parameters, len)?;
                len += weight_sums::len(layer.node);
                layers.push(layer);
            }
        }
        let groups = BACKWARD_GROUPS.min(batch).max(1);
        let mut partial = self.arena.take(groups * len);
        with_values(images, |images| {
            with_values(features_gradient, |features_gradient| {
                partial
                    .par_chunks_mut(len.max(1))
                    .enumerate()
                    .for_each(|(group, sums)| {
                        let pictures = batch * group / groups..batch * (group + 1) / groups;
                        let pass = Group {
                            network: self,
                            layers: &layers,
                            records,
                            images,
                            image_size: (height, width),
                            sizes: &sizes,
                            pictures,
                        };
                        pass.run(features_gradient, sums);
                    });
            })
        })??;
        weight_gradient::sum_partial(&mut partial, len);
        let mut result = Gradients::new();
        for layer in &layers {
            layer.keep(self, &partial[layer.start..], &mut result)?;
        }
        Ok(result)
    }
}

impl<'a> Forward<'a> {
    /// Values of a picture that a node makes.
    fn picture(&self, index: usize) -> usize {
        let (height, width) = self.pictures.sizes[index];
        height * width * self.network.architecture.nodes[index].channels()
    }

    /// By node of the range: tensors of the whole batch, for what the backward pass or later ranges
    /// need.
    fn records(&self, train: bool) -> Vec<Record> {
        let network = self.network;
        let record = |(index, work): (usize, &Work)| {
            let kept = train && network.kept[index];
            let learns = train && network.learns(index);
            let len = self.pictures.batch * self.picture(index);
            let whole = kept || network.last_use[index] >= self.range.end;
            Record {
                output: whole.then(|| network.arena.take(len)),
                winners: (learns && matches!(work, Work::MaxPool(_))).then(|| vec![0; len]),
                normalised: None,
            }
        };
        self.range.clone().zip(&self.work).map(record).collect()
    }

    /// The parts of these tensors, by group and node.
    fn places<'b>(&self, group: usize, made: &'b mut [Record]) -> Vec<Vec<Output<'b>>> {
        let groups = self.pictures.batch.div_ceil(group);
        let mut places: Vec<Vec<Output>> = (0..groups).map(|_| Vec::new()).collect();
        for (index, record) in self.range.clone().zip(made) {
            let size = (group * self.picture(index)).max(1);
            let mut outputs = record.output.as_deref_mut().map(|o| o.chunks_mut(size));
            let mut winners = record.winners.as_deref_mut().map(|w| w.chunks_mut(size));
            for places in &mut places {
                let output = outputs.as_mut().and_then(Iterator::next);
                let winners = winners.as_mut().and_then(Iterator::next);
                places.push((output.map_or(Place::Nowhere, Place::Whole), winners));
            }
        }
        places
    }

    /// Takes a group of pictures through the range.
    fn run(&self, group: &Range<usize>, places: &mut [Output]) {
        let start = self.range.start;
        for index in self.range.clone() {
            let (mut output, mut winners) =
                std::mem::replace(&mut places[index - start], (Place::Nowhere, None));
            if matches!(output, Place::Nowhere) {
                let len = group.len() * self.picture(index);
                output = Place::Local(self.network.arena.take(len));
            }
            self.network.clock.time(index, Phase::Forward, || {
                let winners = winners.as_deref_mut();
                self.apply(index, group, places, output.values_mut(), winners);
            });
            places[index - start] = (output, winners);
            for (earlier, place) in self.range.clone().zip(places.iter_mut()) {
                let last = self.network.last_use[earlier] == index;
                if last && matches!(place.0, Place::Local(_)) {
                    place.0 = Place::Nowhere;
                }
            }
        }
    }

    /// Runs one node; `places` are those of the nodes before it in the range.
    fn apply(
        &self,
        index: usize,
        group: &Range<usize>,
        places: &[Output],
        out: &mut [f32],
        winners: Option<&mut [u8]>,
    ) {
        let (network, start) = (self.network, self.range.start);
        let values = |source: usize| -> &[f32] {
            if source >= start {
                return places[source - start].0.values();
            }
            let size = self.picture(source);
            let whole = self.earlier[source].output.as_deref().unwrap_or(&[]);
            &whole[group.start * size..group.end * size]
        };
        let (input, (height, width)) = match network.architecture.nodes[index].input() {
            Source::Image => {
                let (height, width) = self.pictures.size;
                let size = height * width * 3;
                let images = &self.pictures.values[group.start * size..group.end * size];
                (images, (height, width))
            }
            Source::Node(source) => (values(source), self.pictures.sizes[source]),
        };
        let dims = (group.len(), height, width);
        match &self.work[index - start] {
            Work::Conv(conv, weights) => {
                let residual = conv.residual.map(values);
                network.convolve(conv, dims, input, weights, residual, conv.activation, out);
            }
            Work::MaxPool(node) => {
                pool::max_pool(network.isa, &node.shape, dims, input, out, winners);
            }
        }
    }
}

/// A convolution that learns.
struct Learning<'a> {
    index: usize,
    node: &'a ConvNode,
    parameters: &'a ConvParameters,
    folded: Folded,
    /// Where its gradient starts in the sums.
    start: usize,
    /// For the gradient of its input, if that is wanted.
    weights: Option<Transposed>,
}

impl<'a> Learning<'a> {
    fn new(
        network: &Network,
        index: usize,
        (node, size): (&'a ConvNode, (usize, usize)),
        parameters: &'a ConvParameters,
        start: usize,
    ) -> Result<Self> {
        let folded = Folded::new(parameters)?;
        let weights = match node.input {
            Source::Node(input) if network.learns(input) => {
                let scale = Some(folded.scale.as_slice());
                Some(Transposed::pack(network, node, size, parameters, scale)?)
            }
            _ => None,
        };
        Ok(Learning {
            index,
            node,
            parameters,
            folded,
            start,
            weights,
        })
    }

    /// Puts the gradients of weights and batch norm into `result`.
    fn keep(&self, network: &Network, sums: &[f32], result: &mut Gradients) -> Result<()> {
        let (node, folded, parameters) = (self.node, &self.folded, self.parameters);
        let scale = Some(folded.scale.as_slice());
        let parts = with_values(&parameters.weight, |weight| {
            weight_sums::unpack(network.isa, node, sums, weight, scale)
        })?;
        let gamma = folded.gamma_gradient(&parts.dot, &parts.bias);
        weight_sums::keep(result, node, parameters, parts.weight, gamma, parts.bias)
    }
}

/// The backward pass of a few pictures.
struct Group<'a> {
    network: &'a Network,
    layers: &'a [Learning<'a>],
    records: &'a [Record],
    images: &'a [f32],
    image_size: (usize, usize),
    sizes: &'a [(usize, usize)],
    pictures: Range<usize>,
}

impl Group<'_> {
    /// Writes the sums of all weight gradients over these pictures.
    fn run(&self, features_gradient: &[f32], sums: &mut [f32]) {
        let network = self.network;
        let nodes = &network.architecture.nodes;
        let isa = network.isa;
        let mut awaited = network.readers_that_learn();
        let mut gradients: Vec<Option<Buffer>> = nodes.iter().map(|_| None).collect();
        if let Some(last) = nodes.len().checked_sub(1) {
            let channels = nodes[last].channels();
            let (height, width) = self.sizes[last];
            let mut gradient = network.arena.take(self.len(last));
            let values =
                &features_gradient[self.pictures.start * channels..self.pictures.end * channels];
            let mask = self.mask_of(last);
            pool::global_average_gradient(
                isa,
                values,
                height * width,
                channels,
                false,
                mask,
                &mut gradient,
            );
            gradients[last] = Some(gradient);
        }
        for layer in self.layers.iter().rev() {
            let sums = &mut sums[layer.start..][..weight_sums::len(layer.node)];
            let Some(gradient) = gradients[layer.index].take() else {
                sums.fill(0.0);
                continue;
            };
            let node = layer.node;
            let (input, (height, width)) = match node.input {
                Source::Image => {
                    let size = self.image_size.0 * self.image_size.1 * 3;
                    let range = self.pictures.start * size..self.pictures.end * size;
                    (&self.images[range], self.image_size)
                }
                Source::Node(input) => (self.output(input).unwrap_or(&[]), self.sizes[input]),
            };
            let dims = (self.pictures.len(), height, width);
            let clock = &network.clock;
            clock.time(layer.index, Phase::WeightGradient, || {
                weight_sums::write(isa, node, dims, input, &gradient, sums);
            });
            if let (Source::Node(input), Some(weights)) = (node.input, &layer.weights) {
                let known = gradients[input].take();
                let add = known.is_some();
                let mut out = known.unwrap_or_else(|| network.arena.take(self.len(input)));
                awaited[input] -= 1;
                let mask = self.mask_of(input).filter(|_| awaited[input] == 0);
                clock.time(layer.index, Phase::InputGradient, || {
                    weights.apply(isa, dims, &gradient, add, mask, &mut out);
                });
                gradients[input] = Some(out);
            }
            if let Some(residual) = node.residual
                && network.learns(residual)
            {
                awaited[residual] -= 1;
                let mask = self.mask_of(residual).filter(|_| awaited[residual] == 0);
                let mut gradient = gradient;
                if let Some(known) = gradients[residual].take() {
                    elementwise::add_mask(isa, &mut gradient, Some(&known), mask);
                } else if mask.is_some() {
                    elementwise::add_mask(isa, &mut gradient, None, mask);
                }
                gradients[residual] = Some(gradient);
            }
        }
    }

    /// Values of the output of a node for these pictures.
    fn len(&self, index: usize) -> usize {
        let (height, width) = self.sizes[index];
        self.pictures.len() * height * width * self.network.architecture.nodes[index].channels()
    }

    /// The output of a node, if it was kept.
    fn output(&self, index: usize) -> Option<&[f32]> {
        let picture = self.len(index) / self.pictures.len().max(1);
        let whole = self.records[index].output.as_deref()?;
        Some(&whole[self.pictures.start * picture..self.pictures.end * picture])
    }

    /// Output and activation of a node, if it has one.
    fn mask_of(&self, index: usize) -> Option<(&[f32], Activation)> {
        let activation = self.network.architecture.nodes[index].activation();
        let output = self.output(index)?;
        (activation != Activation::None).then_some((output, activation))
    }
}

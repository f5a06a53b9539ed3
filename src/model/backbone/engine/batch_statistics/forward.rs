//! Forward: the norms of the layers before, one layer, and its moments.

use std::ops::Range;

use candle_core::Tensor;
use rayon::prelude::*;

use super::super::super::architecture::{ConvNode, MaxPoolNode, Node, Source};
use super::super::super::layers::{ConvParameters, EPSILON, Layer};
use super::super::clock::Phase;
use super::super::network::{Network, Packed, Pictures, Record, values};
use super::{Groups, Normalised, of};
use crate::error::Result;
use crate::ops::batch_norm::{self, Moments, Normalisation, Statistics};
use crate::ops::{Activation, Buffer, pool};

/// What the pass of one layer makes of a group of pictures.
#[derive(Default)]
struct Made<'a> {
    /// Outputs of the norms that were due.
    normalised: Vec<&'a mut [f32]>,
    /// Output of the node itself.
    output: &'a mut [f32],
    winners: Option<&'a mut [u8]>,
    /// Of the output, if a norm follows.
    moments: Vec<Moments>,
}

impl Network {
    /// Runs all nodes; batch norms use the batch's statistics, and their running ones move.
    pub(in super::super) fn forward_with_statistics(
        &self,
        pictures: Pictures,
        records: &mut Vec<Record>,
    ) -> Result<()> {
        let nodes = &self.architecture.nodes;
        // By node: whether its output still lacks the norm.
        let mut pending = vec![false; nodes.len()];
        for index in 0..nodes.len() {
            self.statistics_pass(index, pictures, &mut pending, records)?;
            let residuals: Vec<usize> = (0..=index)
                .filter(|&node| pending[node])
                .filter_map(|node| nodes[node].residual())
                .collect();
            for (earlier, record) in records.iter_mut().enumerate() {
                let read = self.last_use[earlier] > index || residuals.contains(&earlier);
                if !read && !self.kept[earlier] {
                    record.output = None;
                }
            }
        }
        self.statistics_pass(nodes.len(), pictures, &mut pending, records)
    }

    /// Everything from the norms before node `index` to the moments after it; without such a node,
    /// the last norm.
    fn statistics_pass(
        &self,
        index: usize,
        pictures: Pictures,
        pending: &mut [bool],
        records: &mut Vec<Record>,
    ) -> Result<()> {
        let Pictures { batch, sizes, .. } = pictures;
        let Some(&size) = sizes.get(index).or(sizes.last()) else {
            return Ok(());
        };
        let node = self.architecture.nodes.get(index);
        let source = match node.map(Node::input) {
            Some(Source::Image) => None,
            Some(Source::Node(input)) => Some(input),
            None => sizes.len().checked_sub(1),
        };
        let mut due = Vec::new();
        if let Some(source) = source {
            self.norms_due(source, pending, &mut due);
        }
        let work = match self.layers.get(index) {
            Some(Layer::Conv(conv, parameters)) => {
                let size = self.input_size(index, pictures.size, sizes);
                Some(Work::Conv(conv, self.pack(conv, size, parameters, None)?))
            }
            Some(Layer::MaxPool(pool)) => Some(Work::MaxPool(pool)),
            None => None,
        };
        let pass = Pass {
            network: self,
            index,
            work,
            source,
            pictures,
            groups: Groups {
                batch,
                size: Self::group_size(batch, size),
            },
            due,
            records,
        };
        let mut output = self
            .arena
            .take(node.map_or(0, |_| batch * pass.picture(index)));
        let pools = matches!(pass.work, Some(Work::MaxPool(_)));
        let mut winners = (pools && self.learns(index)).then(|| vec![0; output.len()]);
        let wanted = pass.due.iter().map(|&node| batch * pass.picture(node));
        let mut normalised: Vec<Buffer> = wanted.map(|len| self.arena.take(len)).collect();
        let moments = pass.run(&mut normalised, &mut output, winners.as_deref_mut());

        for (node, output) in pass.due.into_iter().zip(normalised) {
            records[node].output = Some(output);
            if !self.learns(node) {
                records[node].normalised = None;
            }
        }
        match self.layers.get(index) {
            Some(Layer::Conv(_, parameters)) => {
                let norm = follow(parameters, &moments)?;
                pending[index] = true;
                records.push(Record {
                    normalised: Some(Normalised { raw: output, norm }),
                    ..Record::default()
                });
            }
            Some(Layer::MaxPool(_)) => records.push(Record {
                output: Some(output),
                winners,
                normalised: None,
            }),
            None => {}
        }
        Ok(())
    }

    /// The norms that must be applied before the output of `node` can be read, in order.
    fn norms_due(&self, node: usize, pending: &mut [bool], due: &mut Vec<usize>) {
        if std::mem::take(&mut pending[node]) {
            if let Some(residual) = self.architecture.nodes[node].residual() {
                self.norms_due(residual, pending, due);
            }
            due.push(node);
        }
    }
}

/// What a node does, with its weights at hand.
enum Work<'a> {
    Conv(&'a ConvNode, Packed),
    MaxPool(&'a MaxPoolNode),
}

/// The pass of one layer.
struct Pass<'a> {
    network: &'a Network,
    index: usize,
    /// That of node `index`, if there is one.
    work: Option<Work<'a>>,
    /// The node that it reads; `None` for the pictures.
    source: Option<usize>,
    pictures: Pictures<'a>,
    groups: Groups,
    /// The nodes whose norms are to be applied before.
    due: Vec<usize>,
    records: &'a [Record],
}

impl<'a> Pass<'a> {
    /// Values of a picture that a node makes.
    fn picture(&self, index: usize) -> usize {
        let (height, width) = self.pictures.sizes[index];
        height * width * self.network.architecture.nodes[index].channels()
    }

    /// Writes the outputs of the norms that are due and that of the node; the moments of the latter.
    fn run(
        &self,
        normalised: &mut [Buffer],
        output: &mut [f32],
        mut winners: Option<&mut [u8]>,
    ) -> Vec<Moments> {
        let size = self.groups.size;
        let mut made: Vec<Made> = (0..self.groups.count()).map(|_| Made::default()).collect();
        for (buffer, &node) in normalised.iter_mut().zip(&self.due) {
            let parts = buffer.chunks_mut((size * self.picture(node)).max(1));
            for (made, part) in made.iter_mut().zip(parts) {
                made.normalised.push(part);
            }
        }
        let len = match self.work {
            Some(_) => (size * self.picture(self.index)).max(1),
            None => 1,
        };
        for (made, part) in made.iter_mut().zip(output.chunks_mut(len)) {
            made.output = part;
        }
        let winners = winners
            .iter_mut()
            .flat_map(|winners| winners.chunks_mut(len));
        for (made, part) in made.iter_mut().zip(winners) {
            made.winners = Some(part);
        }
        let (clock, last) = (&self.network.clock, self.records.len().saturating_sub(1));
        // What is left at the end belongs to the last node.
        let index = if self.work.is_some() {
            self.index
        } else {
            last
        };
        made.par_iter_mut().enumerate().for_each(|(group, made)| {
            let pictures = self.groups.pictures(group);
            clock.time(index, Phase::Forward, || {
                self.normalise(&pictures, &mut made.normalised);
                self.apply(&pictures, made);
            });
        });
        made.into_iter().flat_map(|made| made.moments).collect()
    }

    /// The output of a node for some pictures: made in this pass, or before.
    fn output<'b>(&self, node: usize, pictures: &Range<usize>, made: &'b [&mut [f32]]) -> &'b [f32]
    where
        'a: 'b,
    {
        match self.due[..made.len()].iter().position(|&due| due == node) {
            Some(place) => &*made[place],
            None => {
                let output = self.records[node].output.as_deref().unwrap_or(&[]);
                of(output, pictures, self.picture(node))
            }
        }
    }

    /// Applies the norms that are due.
    fn normalise(&self, pictures: &Range<usize>, made: &mut [&mut [f32]]) {
        let nodes = &self.network.architecture.nodes;
        for (place, &index) in self.due.iter().enumerate() {
            let (before, rest) = made.split_at_mut(place);
            let (Some(out), Some(Normalised { raw, norm })) =
                (rest.first_mut(), &self.records[index].normalised)
            else {
                continue;
            };
            let residual = nodes[index].residual();
            let residual = residual.map(|residual| self.output(residual, pictures, before));
            let raw = of(raw, pictures, self.picture(index));
            let activation = nodes[index].activation();
            norm.apply(self.network.isa, raw, residual, activation, out);
        }
    }

    /// Runs the node itself.
    fn apply(&self, pictures: &Range<usize>, made: &mut Made) {
        let (Some(work), isa) = (&self.work, self.network.isa) else {
            return;
        };
        let (input, (height, width)) = match self.source {
            None => {
                let (height, width) = self.pictures.size;
                let values = of(self.pictures.values, pictures, height * width * 3);
                (values, self.pictures.size)
            }
            Some(source) => (
                self.output(source, pictures, &made.normalised),
                self.pictures.sizes[source],
            ),
        };
        let dims = (pictures.len(), height, width);
        match work {
            Work::Conv(conv, weights) => {
                let none = Activation::None;
                let network = self.network;
                network.convolve(conv, dims, input, weights, None, none, made.output);
                made.moments = batch_norm::moments(isa, made.output, conv.out_channels);
            }
            Work::MaxPool(node) => {
                let winners = made.winners.as_deref_mut();
                pool::max_pool(isa, &node.shape, dims, input, made.output, winners);
            }
        }
    }
}

/// The norm of a batch with these moments; the running statistics follow them.
fn follow(parameters: &ConvParameters, moments: &[Moments]) -> Result<Normalisation> {
    let (gamma, beta) = (
        values(&parameters.gamma.var)?,
        values(&parameters.beta.var)?,
    );
    let statistics = Statistics::combine(gamma.len(), moments);
    let device = parameters.mean.var.device();
    let vector = |v: &[f32]| Tensor::from_slice(v, v.len(), device);
    parameters.update_running(
        &vector(&statistics.mean)?,
        &vector(&statistics.unbiased_variance())?,
    )?;
    Ok(Normalisation::new(statistics, EPSILON as f32, gamma, beta))
}

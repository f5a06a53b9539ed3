//! The forward pass: pending norms of earlier layers, one layer, and the moments of its output.

use std::ops::Range;
use std::sync::Arc;

use candle_core::Tensor;
use rayon::prelude::*;

use super::super::super::architecture::{Node, Source};
use super::super::super::layers::{BatchNorm, Layer};
use super::super::clock::Phase;
use super::super::folded::Folded;
use super::super::network::{Network, Pictures, Record};
use super::super::values::values;
use super::super::work::{Read, Work, Written};
use super::{Groups, Normalised, of};
use crate::error::Result;
use crate::ops::batch_norm::{self, Moments, Normalisation, Statistics};
use crate::ops::{Activation, Buffer, elementwise};

/// The results of one layer's pass for a group of images.
#[derive(Default)]
struct Made<'a> {
    /// Outputs of the norms that were due.
    normalised: Vec<&'a mut [f32]>,
    /// Derivatives of their activations, where the backward pass needs them.
    normalised_slopes: Vec<Option<&'a mut [f32]>>,
    /// The output of the node itself.
    output: &'a mut [f32],
    /// Derivatives of its activation, if they are needed and no norm follows.
    slope: Option<&'a mut [f32]>,
    winners: Option<&'a mut [u8]>,
    /// Moments of the output, if a norm follows.
    moments: Vec<Moments>,
}

impl Network {
    /// Runs all nodes. Batch norms use the statistics of the batch and update their running ones.
    pub(in super::super) fn forward_with_statistics(
        &self,
        pictures: Pictures,
        records: &mut Vec<Record>,
    ) -> Result<()> {
        let nodes = &self.architecture.nodes;
        // Per node: whether the norm has yet to be applied to its output.
        let mut pending = vec![false; nodes.len()];
        for index in 0..nodes.len() {
            self.statistics_pass(index, pictures, &mut pending, records)?;
            let residuals: Vec<usize> = (0..=index)
                .filter(|&node| pending[node])
                .filter_map(|node| nodes[node].residual())
                .collect();
            for (earlier, record) in records.iter_mut().enumerate() {
                let read = self.plan.last_use[earlier] > index || residuals.contains(&earlier);
                if !read && !self.plan.kept[earlier] {
                    record.output = None;
                }
            }
        }
        self.statistics_pass(nodes.len(), pictures, &mut pending, records)
    }

    /// Runs everything from the norms due before node `index` to the moments after it. If there is
    /// no such node, only applies the last norm.
    fn statistics_pass(
        &self,
        index: usize,
        pictures: Pictures,
        pending: &mut [bool],
        records: &mut Vec<Record>,
    ) -> Result<()> {
        let (batch, working) = (pictures.batch, pictures.working);
        let Some(&size) = working.get(index).or(working.last()) else {
            return Ok(());
        };
        let node = self.architecture.nodes.get(index);
        let source = match node.map(Node::input) {
            Some(Source::Image) => None,
            Some(Source::Node(input)) => Some(input),
            None => working.len().checked_sub(1),
        };
        let mut due = Vec::new();
        for read in source
            .into_iter()
            .chain(node.and_then(Node::read_with_input))
        {
            self.norms_due(read, pending, &mut due);
        }
        let work = match self.layers.get(index) {
            Some(layer) => Some(self.statistics_work(index, layer, pictures)?),
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
        let take = |node: usize| self.arena.take(batch * pass.picture(node));
        let mut normalised: Vec<Buffer> = pass.due.iter().map(|&node| take(node)).collect();
        let mut normalised_slopes: Vec<Option<Buffer>> = (pass.due.iter())
            .map(|&node| self.plan.kept_slope[node].then(|| take(node)))
            .collect();
        let own = node.is_some_and(|node| !node.has_norm() && self.plan.kept_slope[index]);
        let mut slope = own.then(|| take(index));
        let moments = pass.run(
            (&mut normalised, &mut normalised_slopes),
            (&mut output, slope.as_deref_mut()),
            winners.as_deref_mut(),
        );

        let made = normalised.into_iter().zip(normalised_slopes);
        for (node, (output, slope)) in pass.due.into_iter().zip(made) {
            records[node].output = Some(output);
            records[node].slope = slope;
            if !self.learns(node) {
                records[node].normalised = None;
            }
        }
        match self.layers.get(index).map(Layer::norm) {
            Some(Some(batch_norm)) => {
                let norm = follow(batch_norm, &moments)?;
                pending[index] = true;
                records.push(Record {
                    normalised: Some(Normalised { raw: output, norm }),
                    ..Record::default()
                });
            }
            Some(None) => records.push(Record {
                output: Some(output),
                slope,
                winners,
                normalised: None,
            }),
            None => {}
        }
        Ok(())
    }

    fn statistics_work<'a>(
        &self,
        index: usize,
        layer: &'a Layer,
        pictures: Pictures,
    ) -> Result<Work<'a>> {
        let size = self.input_size(index, pictures.size, pictures.sizes);
        Work::new(layer, size, |node, parameters| {
            let (folded, activation) = match node.has_norm() {
                // Norm, residual and activation must wait for the moments of the whole batch.
                true => (None, Activation::None),
                false => (Some(Folded::new(parameters)?), node.activation),
            };
            let weights = self.pack(node, size, parameters, folded)?;
            Ok((Arc::new(weights), activation))
        })
    }

    /// Collects the norms that must be applied before the output of `node` can be read, in order.
    fn norms_due(&self, node: usize, pending: &mut [bool], due: &mut Vec<usize>) {
        if std::mem::take(&mut pending[node]) {
            if let Some(residual) = self.architecture.nodes[node].residual() {
                self.norms_due(residual, pending, due);
            }
            due.push(node);
        }
    }
}

/// The pass of one layer.
struct Pass<'a> {
    network: &'a Network,
    index: usize,
    /// The work of node `index`, if there is such a node.
    work: Option<Work<'a>>,
    /// The node that it reads; `None` for the input images.
    source: Option<usize>,
    pictures: Pictures<'a>,
    groups: Groups,
    /// The nodes whose norms must be applied first.
    due: Vec<usize>,
    records: &'a [Record],
}

impl<'a> Pass<'a> {
    /// Returns the number of values per image in the output of a node.
    fn picture(&self, index: usize) -> usize {
        let (height, width) = self.pictures.sizes[index];
        height * width * self.network.architecture.nodes[index].channels()
    }

    /// Writes the outputs of the norms that are due and that of the node; returns the moments of
    /// the latter.
    fn run(
        &self,
        (normalised, normalised_slopes): (&mut [Buffer], &mut [Option<Buffer>]),
        (output, slope): (&mut [f32], Option<&mut [f32]>),
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
        for (buffer, &node) in normalised_slopes.iter_mut().zip(&self.due) {
            let mut parts = (buffer.as_deref_mut())
                .map(|buffer| buffer.chunks_mut((size * self.picture(node)).max(1)));
            for made in &mut made {
                let part = parts.as_mut().and_then(Iterator::next);
                made.normalised_slopes.push(part);
            }
        }
        let len = match self.work {
            Some(_) => (size * self.picture(self.index)).max(1),
            None => 1,
        };
        for (made, part) in made.iter_mut().zip(output.chunks_mut(len)) {
            made.output = part;
        }
        let slopes = slope.into_iter().flat_map(|slope| slope.chunks_mut(len));
        for (made, part) in made.iter_mut().zip(slopes) {
            made.slope = Some(part);
        }
        let winners = winners
            .iter_mut()
            .flat_map(|winners| winners.chunks_mut(len));
        for (made, part) in made.iter_mut().zip(winners) {
            made.winners = Some(part);
        }
        let (clock, last) = (&self.network.clock, self.records.len().saturating_sub(1));
        // At the end, the only norm left is that of the last node.
        let index = if self.work.is_some() {
            self.index
        } else {
            last
        };
        made.par_iter_mut().enumerate().for_each(|(group, made)| {
            let pictures = self.groups.pictures(group);
            clock.time(index, Phase::Forward, || {
                self.normalise(&pictures, made);
                self.apply(&pictures, made);
            });
        });
        made.into_iter().flat_map(|made| made.moments).collect()
    }

    /// Returns the output of a node for some images, from this pass or an earlier one.
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
    fn normalise(&self, pictures: &Range<usize>, made: &mut Made) {
        let (nodes, isa) = (&self.network.architecture.nodes, self.network.isa);
        let slopes = &mut made.normalised_slopes;
        for ((place, &index), slope) in self.due.iter().enumerate().zip(slopes) {
            let (earlier, rest) = made.normalised.split_at_mut(place);
            let (Some(out), Some(Normalised { raw, norm })) =
                (rest.first_mut(), &self.records[index].normalised)
            else {
                continue;
            };
            let residual = nodes[index].residual();
            let residual = residual.map(|residual| self.output(residual, pictures, earlier));
            let raw = of(raw, pictures, self.picture(index));
            let activation = nodes[index].activation();
            match slope {
                None => norm.apply(isa, raw, residual, activation, out),
                Some(slope) => {
                    norm.apply(isa, raw, residual, Activation::None, slope);
                    elementwise::activate(isa, activation, slope, out);
                }
            }
        }
    }

    /// Runs the node itself.
    fn apply(&self, pictures: &Range<usize>, made: &mut Made) {
        let (Some(work), network) = (&self.work, self.network) else {
            return;
        };
        let node = &network.architecture.nodes[self.index];
        let normalised = &made.normalised;
        let (input, (height, width)) = match self.source {
            None => {
                let (height, width) = self.pictures.size;
                let values = of(self.pictures.values, pictures, height * width * 3);
                (values, self.pictures.size)
            }
            Some(source) => (
                self.output(source, pictures, normalised),
                self.pictures.sizes[source],
            ),
        };
        let second = node.read_with_input();
        let read = Read {
            input,
            dims: (pictures.len(), height, width),
            second: second.map(|second| self.output(second, pictures, normalised)),
        };
        let written = Written {
            output: made.output,
            slope: made.slope.as_deref_mut(),
            winners: made.winners.as_deref_mut(),
        };
        work.run(network, read, written);
        if node.has_norm() {
            made.moments = batch_norm::moments(network.isa, made.output, node.channels());
        }
    }
}

/// Returns the norm of a batch with these moments and updates the running statistics.
fn follow(norm: &BatchNorm, moments: &[Moments]) -> Result<Normalisation> {
    let (gamma, beta) = (values(&norm.gamma.var)?, values(&norm.beta.var)?);
    let statistics = Statistics::combine(gamma.len(), moments);
    let device = norm.mean.var.device();
    let vector = |v: &[f32]| Tensor::from_slice(v, v.len(), device);
    norm.update_running(
        &vector(&statistics.mean)?,
        &vector(&statistics.unbiased_variance())?,
    )?;
    Ok(Normalisation::new(
        statistics,
        norm.epsilon as f32,
        gamma,
        beta,
    ))
}

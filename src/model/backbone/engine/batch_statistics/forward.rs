//! Forward: the norms of the layers before, one layer, and its moments.

use candle_core::Tensor;
use rayon::prelude::*;

use super::super::super::architecture::{Operation, Source};
use super::super::super::{ConvParameters, EPSILON};
use super::super::{Network, Phase, Record, values};
use super::{Groups, Normalised, Pictures, of};
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
        let nodes = &self.architecture.nodes;
        let Pictures { batch, sizes, .. } = pictures;
        let node = nodes.get(index);
        let source = match node.map(|node| node.input()) {
            Some(Source::Image) => None,
            Some(Source::Node(input)) => Some(input),
            None => nodes.len().checked_sub(1),
        };
        let mut due = Vec::new();
        if let Some(source) = source {
            self.norms_due(source, pending, &mut due);
        }
        let Some(&size) = sizes.get(index).or(sizes.last()) else {
            return Ok(());
        };
        let groups = Groups {
            batch,
            size: Self::group_size(batch, size),
        };
        let picture = |index: usize| sizes[index].0 * sizes[index].1 * nodes[index].channels();
        let weights = match (
            node.map(|node| &node.operation),
            self.convolutions.get(index),
        ) {
            (Some(Operation::Conv(conv)), Some(Some(parameters))) => {
                let size = self.input_size(index, pictures.size, sizes);
                Some(self.pack(conv, size, parameters, None)?)
            }
            _ => None,
        };

        let made_len = node.map_or(0, |_| picture(index));
        let mut output = self.arena.take(batch * made_len);
        let pools = matches!(node.map(|n| &n.operation), Some(Operation::MaxPool(_)));
        let mut winners = (pools && self.learns(index)).then(|| vec![0; output.len()]);
        let mut normalised: Vec<Buffer> = due
            .iter()
            .map(|&node| self.arena.take(batch * picture(node)))
            .collect();
        let mut made: Vec<Made> = (0..groups.count()).map(|_| Made::default()).collect();
        for (buffer, &node) in normalised.iter_mut().zip(&due) {
            let parts = buffer.chunks_mut((groups.size * picture(node)).max(1));
            made.iter_mut()
                .zip(parts)
                .for_each(|(made, part)| made.normalised.push(part));
        }
        let size = (groups.size * made_len).max(1);
        for (made, part) in made.iter_mut().zip(output.chunks_mut(size)) {
            made.output = part;
        }
        for (made, part) in made
            .iter_mut()
            .zip(winners.iter_mut().flat_map(|w| w.chunks_mut(size)))
        {
            made.winners = Some(part);
        }

        let earlier = &*records;
        let output_of = |index: usize| earlier[index].output.as_deref().unwrap_or(&[]);
        let clock_index = index.min(nodes.len().saturating_sub(1));
        made.par_iter_mut().enumerate().for_each(|(group, made)| {
            let range = groups.pictures(group);
            self.clock.time(clock_index, Phase::Forward, || {
                for (place, &index) in due.iter().enumerate() {
                    let (before, rest) = made.normalised.split_at_mut(place);
                    let (Some(out), Some(Normalised { raw, norm })) =
                        (rest.first_mut(), &earlier[index].normalised)
                    else {
                        continue;
                    };
                    let residual = nodes[index].residual().map(|residual| {
                        match due[..place].iter().position(|&node| node == residual) {
                            Some(place) => &*before[place],
                            None => of(output_of(residual), &range, picture(residual)),
                        }
                    });
                    let raw = of(raw, &range, picture(index));
                    norm.apply(self.isa, raw, residual, nodes[index].activation(), out);
                }
                let Some(node) = node else { return };
                let (input, (height, width)) = match source {
                    None => {
                        let (height, width) = pictures.size;
                        let values = of(pictures.values, &range, height * width * 3);
                        (values, pictures.size)
                    }
                    Some(source) => {
                        let values = match due.iter().position(|&node| node == source) {
                            Some(place) => &*made.normalised[place],
                            None => of(output_of(source), &range, picture(source)),
                        };
                        (values, sizes[source])
                    }
                };
                let dims = (range.len(), height, width);
                match (&node.operation, &weights) {
                    (Operation::Conv(conv), Some(weights)) => {
                        let none = Activation::None;
                        self.convolve(conv, dims, input, weights, None, none, made.output);
                        made.moments =
                            batch_norm::moments(self.isa, made.output, conv.out_channels);
                    }
                    (Operation::MaxPool(node), _) => {
                        let winners = made.winners.as_deref_mut();
                        pool::max_pool(self.isa, &node.shape, dims, input, made.output, winners);
                    }
                    (Operation::Conv(_), None) => {}
                }
            });
        });
        let moments: Vec<Moments> = made.into_iter().flat_map(|made| made.moments).collect();

        for (node, output) in due.into_iter().zip(normalised) {
            records[node].output = Some(output);
            if !self.learns(node) {
                records[node].normalised = None;
            }
        }
        match (
            node.map(|node| &node.operation),
            self.convolutions.get(index),
        ) {
            (Some(Operation::Conv(_)), Some(Some(parameters))) => {
                let norm = follow(parameters, &moments)?;
                pending[index] = true;
                records.push(Record {
                    normalised: Some(Normalised { raw: output, norm }),
                    ..Record::default()
                });
            }
            (Some(_), _) => records.push(Record {
                output: Some(output),
                winners,
                normalised: None,
            }),
            (None, _) => {}
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

/// The norm of a batch with these moments; the running statistics follow them.
fn follow(parameters: &ConvParameters, moments: &[Moments]) -> Result<Normalisation> {
    let (gamma, beta) = (values(&parameters.gamma)?, values(&parameters.beta)?);
    let statistics = Statistics::combine(gamma.len(), moments);
    let device = parameters.mean.device();
    let vector = |v: &[f32]| Tensor::from_slice(v, v.len(), device);
    parameters.update_running(
        &vector(&statistics.mean)?,
        &vector(&statistics.unbiased_variance())?,
    )?;
    Ok(Normalisation::new(statistics, EPSILON as f32, gamma, beta))
}

//! The backward pass: the gradients of one norm and of the convolution before it.

use std::ops::Range;

use rayon::prelude::*;

use super::super::super::architecture::{ConvNode, Geometry, Source};
use super::super::super::layers::{BatchNorm, ConvParameters};
use super::super::backward::Backward;
use super::super::clock::Phase;
use super::super::folded;
use super::super::network::Network;
use super::super::transposed::Transposed;
use super::super::values::with_values;
use super::super::weight_sums;
use super::{Groups, Normalised, of};
use crate::error::Result;
use crate::ops::batch_norm::{GradientSums, Normalisation, NormalisationGradient};
use crate::ops::{Activation, Algorithm, weight_gradient};

/// The number of teams in a backward pass, each with a partial sum of the weight gradient.
const TEAMS: usize = 8;
/// The largest weight gradient, in values, for which that many partial sums are worth their memory.
const TEAM_LEN: usize = 256 * 1024;

/// The backward pass of one convolution and its norm, shared by all teams.
struct Pass<'a> {
    network: &'a Network,
    index: usize,
    node: &'a ConvNode,
    groups: Groups,
    /// Height and width of the input.
    size: (usize, usize),
    /// Values per image that the convolution reads.
    seen: usize,
    /// Values per image that it writes.
    made: usize,
    input: &'a [f32],
    raw: &'a [f32],
    gradient: &'a [f32],
    norm: &'a NormalisationGradient<'a>,
    /// Whether every team sums the weight gradient while its operands are in cache; otherwise the
    /// gradient before the norm is kept for later.
    at_once: bool,
    target: Option<Target<'a>>,
}

/// The destination of the input gradient, if that is wanted.
struct Target<'a> {
    weights: Transposed,
    /// Whether to add to the values that are there.
    add: bool,
    mask: Option<(&'a [f32], Activation)>,
    /// The norm before the input, if this contribution completes its gradient.
    before: Option<&'a Normalised>,
}

/// The share of one team, with what it writes.
struct Team<'a> {
    groups: Range<usize>,
    /// The gradient before the norm, if it is kept.
    raw_gradient: &'a mut [f32],
    /// The sum of the weight gradients, if it is computed on the way.
    weights: &'a mut [f32],
    /// The gradient of the input, if it is wanted.
    input_gradient: &'a mut [f32],
    /// Per group: the sums that the norm before the input will need.
    sums: Vec<GradientSums>,
}

impl Backward<'_> {
    /// Runs the backward pass of a convolution and its norm from the gradient after the norm.
    pub(in super::super) fn convolution_with_statistics(
        &mut self,
        index: usize,
        node: &ConvNode,
        (parameters, batch_norm): (&ConvParameters, &BatchNorm),
        Normalised { raw, norm }: Normalised,
        gradient: &[f32],
    ) -> Result<()> {
        let (network, batch) = (self.network, self.batch);
        let groups = Groups {
            batch,
            size: Network::group_size(batch, self.sizes[index]),
        };
        let made = self.len(index) / batch.max(1);
        // Without sums computed along the way, the whole gradient came from a pooling or a
        // residual.
        let sums = match self.sums[index].take() {
            Some(sums) => sums,
            None => network.gradient_sums(node, groups, (&raw, &norm), gradient),
        };
        let norm_gradient = norm.gradient(&sums);

        let (source, size) = match node.input {
            Source::Image => (None, self.image_size),
            Source::Node(input) => (Some(input), self.sizes[input]),
        };
        let learns = source.filter(|&input| network.learns(input));
        let (weights, (add, last, mut input_gradient)) = match learns {
            Some(input) => {
                let weights = Transposed::pack(network, node, size, parameters, None)?;
                (Some(weights), self.contribution(input))
            }
            None => (None, (false, false, network.arena.take(0))),
        };
        let complete = learns.filter(|_| last);
        let target = weights.map(|weights| Target {
            weights,
            add,
            mask: complete.and_then(|input| self.mask_of(input)),
            before: complete.and_then(|input| self.records[input].normalised.as_ref()),
        });
        let at_once = network.sums_at_once(node, size);
        let teams = TEAMS.min(groups.count()).max(1);
        let len = if at_once { weight_sums::len(node) } else { 0 };
        let mut partial = network.arena.take(teams * len);
        let mut raw_gradient = network.arena.take(if at_once { 0 } else { batch * made });

        let sums = with_values(self.images, |images| {
            let pass = Pass {
                network,
                index,
                node,
                groups,
                size,
                seen: size.0 * size.1 * node.in_channels,
                made,
                input: match source {
                    None => images,
                    Some(input) => self.records[input].output.as_deref().unwrap_or(&[]),
                },
                raw: &raw,
                gradient,
                norm: &norm_gradient,
                at_once,
                target,
            };
            pass.run(teams, &mut raw_gradient, &mut partial, &mut input_gradient)
        })?;
        if let Some(input) = learns {
            self.sums[input] = sums;
            self.gradients[input] = Some(input_gradient);
        }
        drop(raw);
        let parts = if at_once {
            weight_gradient::sum_partial(&mut partial, len);
            with_values(&parameters.weight.var, |weight| {
                weight_sums::unpack(network.isa, node, &partial, weight, None)
            })?
        } else {
            network.clock.time(index, Phase::WeightGradient, || {
                self.weight_gradient(node, parameters, &raw_gradient, None)
            })?
        };
        let BatchNorm { gamma, beta, .. } = batch_norm;
        folded::keep(gamma, norm_gradient.gamma, self.result)?;
        folded::keep(beta, norm_gradient.beta, self.result)?;
        folded::keep(&parameters.weight, parts.weight, self.result)
    }
}

impl Network {
    /// Returns whether every team sums the gradient of a node's weights while its operands are in
    /// cache.
    fn sums_at_once(&self, node: &ConvNode, size: (usize, usize)) -> bool {
        match node.geometry() {
            Geometry::Depthwise(_) => true,
            Geometry::Grouped(_) => false,
            Geometry::Dense(shape) => {
                self.algorithm(&shape, size) == Algorithm::Direct
                    && weight_sums::len(node) <= TEAM_LEN
            }
        }
    }

    /// Returns the sums that a norm needs over its complete gradient.
    fn gradient_sums(
        &self,
        node: &ConvNode,
        groups: Groups,
        (raw, norm): (&[f32], &Normalisation),
        gradient: &[f32],
    ) -> GradientSums {
        let made = raw.len() / groups.batch.max(1);
        let groups_of = (0..groups.count()).into_par_iter();
        let parts: Vec<GradientSums> = groups_of
            .map(|group| {
                let range = groups.pictures(group);
                let (raw, gradient) = (of(raw, &range, made), of(gradient, &range, made));
                norm.sums(self.isa, raw, gradient)
            })
            .collect();
        GradientSums::combine(node.out_channels, &parts)
    }
}

impl Pass<'_> {
    /// Divides the groups among `teams` and runs them. Returns the sums that the norm before will
    /// need.
    fn run(
        &self,
        teams: usize,
        mut raw_gradient: &mut [f32],
        mut weights: &mut [f32],
        mut input_gradient: &mut [f32],
    ) -> Option<GradientSums> {
        let (groups, len) = (self.groups, weights.len() / teams);
        let mut shares = Vec::with_capacity(teams);
        for team in 0..teams {
            let range = groups.count() * team / teams..groups.count() * (team + 1) / teams;
            let pictures = (range.end * groups.size).min(groups.batch) - range.start * groups.size;
            let kept = if self.at_once { 0 } else { self.made };
            let wanted = self.target.as_ref().map_or(0, |_| self.seen);
            shares.push(Team {
                groups: range,
                raw_gradient: split_off(&mut raw_gradient, pictures * kept),
                weights: split_off(&mut weights, len),
                input_gradient: split_off(&mut input_gradient, pictures * wanted),
                sums: Vec::new(),
            });
        }
        shares.par_iter_mut().for_each(|team| self.run_team(team));
        self.target.as_ref()?.before?;
        let parts = shares.iter().flat_map(|team| &team.sums);
        Some(GradientSums::combine(self.node.in_channels, parts))
    }

    fn run_team(&self, team: &mut Team) {
        let (isa, clock) = (self.network.isa, &self.network.clock);
        let (mut kept, mut wanted) = (&mut *team.raw_gradient, &mut *team.input_gradient);
        let mut local = self.network.arena.take(if self.at_once {
            self.groups.size * self.made
        } else {
            0
        });
        for group in team.groups.clone() {
            let range = self.groups.pictures(group);
            let dims = (range.len(), self.size.0, self.size.1);
            let len = range.len() * self.made;
            let gradient = if self.at_once {
                &mut local[..len]
            } else {
                split_off(&mut kept, len)
            };
            let raw = of(self.raw, &range, self.made);
            let behind = of(self.gradient, &range, self.made);
            clock.time(self.index, Phase::InputGradient, || {
                self.norm.apply(isa, raw, behind, gradient);
            });
            if self.at_once {
                clock.time(self.index, Phase::WeightGradient, || {
                    let input = of(self.input, &range, self.seen);
                    let add = group > team.groups.start;
                    self.sum_weight_gradient(dims, input, gradient, add, team.weights);
                });
            }
            let Some(target) = &self.target else {
                continue;
            };
            clock.time(self.index, Phase::InputGradient, || {
                let out = split_off(&mut wanted, range.len() * self.seen);
                let mask = (target.mask).map(|(output, a)| (of(output, &range, self.seen), a));
                target
                    .weights
                    .apply(isa, dims, gradient, target.add, mask, out);
                if let Some(Normalised { raw, norm }) = target.before {
                    let raw = of(raw, &range, self.seen);
                    team.sums.push(norm.sums(isa, raw, out));
                }
            });
        }
    }

    /// Writes the weight gradient of a group of images to `sums`, or adds it.
    fn sum_weight_gradient(
        &self,
        dims: (usize, usize, usize),
        input: &[f32],
        gradient: &[f32],
        add: bool,
        sums: &mut [f32],
    ) {
        let place = (self.network.isa, &self.network.arena);
        let write = |sums: &mut [f32]| {
            weight_sums::write(place, self.node, dims, input, gradient, sums);
        };
        if add {
            let mut more = self.network.arena.take(sums.len());
            write(&mut more);
            for (sum, more) in sums.iter_mut().zip(&*more) {
                *sum += more;
            }
        } else {
            write(sums);
        }
    }
}

/// Splits off the first `len` values and returns them.
fn split_off<'a>(values: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (first, rest) = std::mem::take(values).split_at_mut(len);
    *values = rest;
    first
}

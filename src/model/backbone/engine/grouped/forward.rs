//! The forward pass by groups of images.

use std::ops::Range;

use rayon::prelude::*;

use super::super::super::architecture::Source;
use super::super::clock::Phase;
use super::super::network::{Network, Pictures, Record};
use super::super::work::{Read, Work, Written};
use crate::error::Result;
use crate::ops::Buffer;

/// Where a group stores the output of a node.
enum Place<'a> {
    /// Not yet computed, or no longer needed.
    Nowhere,
    /// The group's slice of a tensor of the whole batch.
    Whole(&'a mut [f32]),
    /// A tensor of this group only.
    Local(Buffer),
}

/// The results of a node for one group: the output, and the group's slices of what is kept besides.
struct Made<'a> {
    output: Place<'a>,
    slope: Option<&'a mut [f32]>,
    winners: Option<&'a mut [u8]>,
}

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

/// The forward pass of a range of nodes, shared by all groups of images.
struct Forward<'a> {
    network: &'a Network,
    range: Range<usize>,
    /// Per node of the range.
    work: Vec<Work<'a>>,
    pictures: Pictures<'a>,
    /// The records of the nodes before the range.
    earlier: &'a [Record],
}

impl Network {
    /// Runs all nodes; batch norms use their running statistics.
    pub(in super::super) fn forward_grouped(
        &self,
        pictures: Pictures,
        train: bool,
        records: &mut Vec<Record>,
    ) -> Result<()> {
        let group_of = |index: usize| Self::group_size(pictures.batch, pictures.working[index]);
        let end = pictures.working.len();
        let mut first = 0;
        while first < end {
            let group = group_of(first);
            let last = (first..end).find(|&index| group_of(index) != group);
            let last = last.unwrap_or(end);
            self.run_range(first..last, group, pictures, train, records)?;
            first = last;
        }
        Ok(())
    }

    /// Runs a range of nodes, `group` images at a time.
    fn run_range(
        &self,
        range: Range<usize>,
        group: usize,
        pictures: Pictures,
        train: bool,
        records: &mut Vec<Record>,
    ) -> Result<()> {
        let end = range.end;
        let work = range.clone().map(|index| self.work(index, pictures));
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
            if self.plan.last_use[index] < end && !(train && self.plan.kept[index]) {
                record.output = None;
            }
        }
        Ok(())
    }

    fn work(&self, index: usize, pictures: Pictures) -> Result<Work<'_>> {
        let size = self.input_size(index, pictures.size, pictures.sizes);
        Work::new(&self.layers[index], size, |node, parameters| {
            let weights = self.folded_weights(index, node, size, parameters)?;
            Ok((weights, node.activation))
        })
    }
}

impl<'a> Forward<'a> {
    /// Returns the number of values per image in the output of a node.
    fn picture(&self, index: usize) -> usize {
        let (height, width) = self.pictures.sizes[index];
        height * width * self.network.architecture.nodes[index].channels()
    }

    /// Allocates, per node of the range, the tensors of the whole batch that the backward pass or
    /// later ranges need.
    fn records(&self, train: bool) -> Vec<Record> {
        let network = self.network;
        let record = |(index, work): (usize, &Work)| {
            let kept = train && network.plan.kept[index];
            let learns = train && network.learns(index);
            let len = self.pictures.batch * self.picture(index);
            let whole = kept || network.plan.last_use[index] >= self.range.end;
            let slope = train && network.plan.kept_slope[index];
            Record {
                output: whole.then(|| network.arena.take(len)),
                slope: slope.then(|| network.arena.take(len)),
                winners: (learns && matches!(work, Work::MaxPool(_))).then(|| vec![0; len]),
                normalised: None,
            }
        };
        self.range.clone().zip(&self.work).map(record).collect()
    }

    /// Splits these tensors by group and node.
    fn places<'b>(&self, group: usize, made: &'b mut [Record]) -> Vec<Vec<Made<'b>>> {
        let groups = self.pictures.batch.div_ceil(group);
        let mut places: Vec<Vec<Made>> = (0..groups).map(|_| Vec::new()).collect();
        for (index, record) in self.range.clone().zip(made) {
            let size = (group * self.picture(index)).max(1);
            let mut outputs = record.output.as_deref_mut().map(|o| o.chunks_mut(size));
            let mut slopes = record.slope.as_deref_mut().map(|b| b.chunks_mut(size));
            let mut winners = record.winners.as_deref_mut().map(|w| w.chunks_mut(size));
            for places in &mut places {
                let output = outputs.as_mut().and_then(Iterator::next);
                places.push(Made {
                    output: output.map_or(Place::Nowhere, Place::Whole),
                    slope: slopes.as_mut().and_then(Iterator::next),
                    winners: winners.as_mut().and_then(Iterator::next),
                });
            }
        }
        places
    }

    /// Takes a group of images through the range.
    fn run(&self, group: &Range<usize>, places: &mut [Made]) {
        let start = self.range.start;
        for index in self.range.clone() {
            let (earlier, rest) = places.split_at_mut(index - start);
            let Some(made) = rest.first_mut() else {
                continue;
            };
            if matches!(made.output, Place::Nowhere) {
                let len = group.len() * self.picture(index);
                made.output = Place::Local(self.network.arena.take(len));
            }
            self.network.clock.time(index, Phase::Forward, || {
                self.apply(index, group, earlier, made);
            });
            for (earlier, made) in self.range.clone().zip(places.iter_mut()) {
                let last = self.network.plan.last_use[earlier] == index;
                if last && matches!(made.output, Place::Local(_)) {
                    made.output = Place::Nowhere;
                }
            }
        }
    }

    /// Runs one node; `places` are those of the nodes before it in the range.
    fn apply(&self, index: usize, group: &Range<usize>, places: &[Made], made: &mut Made) {
        let (network, start) = (self.network, self.range.start);
        let read = |source: usize| -> &[f32] {
            if source >= start {
                return places[source - start].output.values();
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
            Source::Node(source) => (read(source), self.pictures.sizes[source]),
        };
        let read = Read {
            input,
            dims: (group.len(), height, width),
            second: network.architecture.nodes[index].second().map(read),
        };
        let written = Written {
            output: made.output.values_mut(),
            slope: made.slope.as_deref_mut(),
            winners: made.winners.as_deref_mut(),
        };
        self.work[index - start].run(network, read, written);
    }
}

//! Measures the time of each node.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::super::architecture::{Architecture, Geometry, Operation};
use super::super::interface::NodeTime;

/// A part of a training step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The output. A norm with batch statistics counts towards the node that reads it.
    Forward,
    /// The gradient of the weights.
    WeightGradient,
    /// The gradient of the input, and of the norm.
    InputGradient,
}

impl Phase {
    /// All phases.
    pub const ALL: [Phase; 3] = [Phase::Forward, Phase::WeightGradient, Phase::InputGradient];
}

/// Nanoseconds per node and phase.
#[derive(Debug)]
pub(super) struct Clock(Vec<[AtomicU64; 3]>);

impl Clock {
    pub(super) fn new(nodes: usize) -> Self {
        Clock((0..nodes).map(|_| Default::default()).collect())
    }

    /// Runs `work` and adds the time it took.
    pub(super) fn time<R>(&self, index: usize, phase: Phase, work: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = work();
        let nanos = start.elapsed().as_nanos() as u64;
        if let Some(node) = self.0.get(index) {
            node[phase as usize].fetch_add(nanos, Ordering::Relaxed);
        }
        result
    }

    /// Returns the times so far and resets them to 0.
    pub(super) fn take(&self, architecture: &Architecture) -> Vec<NodeTime> {
        let nodes = architecture.nodes.iter().zip(&self.0);
        nodes
            .map(|(node, times)| {
                let (name, operation) = match &node.operation {
                    Operation::Conv(conv) => {
                        let kind = match conv.geometry() {
                            Geometry::Dense(_) => "conv",
                            Geometry::Depthwise(_) => "depthwise",
                            Geometry::Grouped(_) => "grouped",
                        };
                        let kernel = conv.kernel;
                        (conv.conv.clone(), format!("{kind} {kernel}x{kernel}"))
                    }
                    Operation::MaxPool(pool) => {
                        let kernel = pool.shape.kernel;
                        ("maxpool".to_owned(), format!("maxpool {kernel}x{kernel}"))
                    }
                    Operation::AveragePool(_) => {
                        ("average pool".to_owned(), "average pool".to_owned())
                    }
                    Operation::LayerNorm(norm) => (norm.name.clone(), "layer norm".to_owned()),
                    Operation::Average(_) => ("average".to_owned(), "average".to_owned()),
                    Operation::Gate(_) => ("gate".to_owned(), "gate".to_owned()),
                    Operation::Tokens(tokens) => (tokens.class.clone(), "tokens".to_owned()),
                    Operation::Attention(node) => (node.name.clone(), "attention".to_owned()),
                };
                NodeTime {
                    name,
                    operation,
                    times: Phase::ALL.map(|phase| {
                        Duration::from_nanos(times[phase as usize].swap(0, Ordering::Relaxed))
                    }),
                }
            })
            .collect()
    }
}

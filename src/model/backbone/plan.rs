//! The plan of a training pass: what must be computed at each node of a network, and what is kept
//! for the backward pass.

use super::architecture::{Architecture, Node, Operation, Source};
use super::config::BackboneConfig;
use crate::ops::Activation;

/// The plan, with one entry per node.
#[derive(Debug)]
pub(super) struct Plan {
    /// Whether it has trainable parameters.
    pub has_learning: Vec<bool>,
    /// Whether its gradient is wanted, because it has trainable parameters or reads a node whose
    /// gradient is wanted.
    pub learns: Vec<bool>,
    /// Whether a training step changes the values its weights are packed from: trainable
    /// parameters, or the running statistics of a batch norm that uses batch statistics.
    pub changes: Vec<bool>,
    /// The last node that reads its output; for the last node, the number of nodes.
    pub last_use: Vec<usize>,
    /// Whether the backward pass needs its output.
    pub kept: Vec<bool>,
    /// Whether the backward pass needs the stored derivative of its activation.
    pub kept_slope: Vec<bool>,
}

impl Plan {
    /// Plans a network with these settings, including its adapter.
    pub(super) fn new(config: &BackboneConfig, architecture: &Architecture) -> Self {
        let nodes = &architecture.nodes;
        let has_learning: Vec<bool> = (nodes.iter())
            .map(|node| has_learning(config, node))
            .collect();
        let mut learns: Vec<bool> = Vec::with_capacity(nodes.len());
        for (node, own) in nodes.iter().zip(&has_learning) {
            learns.push(*own || node.reads().any(|read| learns[read]));
        }
        let changes = (nodes.iter().zip(&has_learning))
            .map(|(node, own)| *own || (node.has_norm() && !config.norm_eval))
            .collect();
        let mut last_use: Vec<usize> = (0..nodes.len()).collect();
        let kept_slope: Vec<bool> = (0..nodes.len())
            .map(|i| learns[i] && nodes[i].activation().keeps_slope())
            .collect();
        let mut kept: Vec<bool> = (0..nodes.len())
            .map(|i| learns[i] && !kept_slope[i] && nodes[i].activation() != Activation::None)
            .collect();
        for (index, node) in nodes.iter().enumerate() {
            let (input_again, second_again) = node.reads_again(has_learning[index]);
            if let Source::Node(input) = node.input() {
                last_use[input] = index;
                kept[input] |= learns[index] && input_again;
            }
            if let Some(second) = node.second() {
                last_use[second] = index;
                kept[second] |= learns[index] && second_again;
            }
        }
        if let Some(last) = last_use.last_mut() {
            *last = nodes.len();
        }
        Plan {
            has_learning,
            learns,
            changes,
            last_use,
            kept,
            kept_slope,
        }
    }
}

/// Returns whether a node has trainable parameters.
fn has_learning(config: &BackboneConfig, node: &Node) -> bool {
    match &node.operation {
        Operation::Conv(conv) if conv.added || conv.low_rank.is_some() => {
            !config.is_adapter_frozen()
        }
        Operation::Conv(_) | Operation::LayerNorm(_) | Operation::Tokens(_) => {
            !config.is_frozen(node.stage)
        }
        Operation::MaxPool(_)
        | Operation::AveragePool(_)
        | Operation::Average(_)
        | Operation::Gate(_)
        | Operation::Attention(_) => false,
    }
}

//! Networks as data: a list of nodes, each reading the outputs of earlier ones. All executors walk
//! this list, so that structure and names are written down once.
//!
//! Images of many channels flow from node to node. Tokens are represented as an image of one
//! column, and a linear layer as a 1x1 convolution.

mod nodes;

use std::sync::Arc;

use crate::model::pooling::{Average, Pooling};
use crate::ops::{Activation, Padding};

pub use nodes::{
    Affine, AttentionNode, AverageNode, AveragePoolNode, ConvNode, GateNode, Geometry,
    LayerNormNode, LowRankNode, MaxPoolNode, Source, TokensNode,
};

/// The operation of a node.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Convolution, norm or bias, residual, activation.
    Conv(ConvNode),
    /// Max pooling.
    MaxPool(MaxPoolNode),
    /// Mean over windows.
    AveragePool(AveragePoolNode),
    /// Normalisation over channels.
    LayerNorm(LayerNormNode),
    /// Mean over pixels.
    Average(AverageNode),
    /// Multiplication of each channel by one number.
    Gate(GateNode),
    /// From patches to tokens.
    Tokens(TokensNode),
    /// Attention among tokens.
    Attention(AttentionNode),
}

/// One step of the network.
#[derive(Debug, Clone)]
pub struct Node {
    /// The operation it computes.
    pub operation: Operation,
    /// The stage it belongs to; 0 is the stem.
    pub stage: usize,
}

impl Node {
    /// Returns its main input.
    pub fn input(&self) -> Source {
        match &self.operation {
            Operation::Conv(conv) => conv.input,
            Operation::MaxPool(MaxPoolNode { input, .. })
            | Operation::AveragePool(AveragePoolNode { input, .. })
            | Operation::LayerNorm(LayerNormNode { input, .. })
            | Operation::Average(AverageNode { input, .. })
            | Operation::Gate(GateNode { input, .. })
            | Operation::Tokens(TokensNode { input, .. })
            | Operation::Attention(AttentionNode { input, .. }) => Source::Node(*input),
        }
    }

    /// Returns the node that it reads besides its input: a residual branch or a gate.
    pub fn second(&self) -> Option<usize> {
        match &self.operation {
            Operation::Conv(conv) => conv.residual,
            Operation::Gate(gate) => Some(gate.gate),
            _ => None,
        }
    }

    /// Returns the node that it reads together with its input. A branch added after a norm with
    /// batch statistics is not read until that norm is applied.
    pub fn read_with_input(&self) -> Option<usize> {
        self.second().filter(|_| !self.has_norm())
    }

    /// Returns the node whose output it adds, if any.
    pub fn residual(&self) -> Option<usize> {
        match &self.operation {
            Operation::Conv(conv) => conv.residual,
            _ => None,
        }
    }

    /// Returns whether it contains a batch norm.
    pub fn has_norm(&self) -> bool {
        matches!(&self.operation, Operation::Conv(conv) if conv.has_norm())
    }

    /// Returns all nodes that it reads.
    pub fn reads(&self) -> impl Iterator<Item = usize> {
        let input = match self.input() {
            Source::Image => None,
            Source::Node(input) => Some(input),
        };
        input.into_iter().chain(self.second())
    }

    /// Renumbers the nodes that it reads.
    pub(super) fn renumber(&mut self, place: impl Fn(usize) -> usize) {
        match &mut self.operation {
            Operation::Conv(conv) => {
                if let Source::Node(input) = &mut conv.input {
                    *input = place(*input);
                }
                conv.residual = conv.residual.map(place);
            }
            Operation::Gate(GateNode { input, gate, .. }) => {
                (*input, *gate) = (place(*input), place(*gate));
            }
            Operation::MaxPool(MaxPoolNode { input, .. })
            | Operation::AveragePool(AveragePoolNode { input, .. })
            | Operation::LayerNorm(LayerNormNode { input, .. })
            | Operation::Average(AverageNode { input, .. })
            | Operation::Tokens(TokensNode { input, .. })
            | Operation::Attention(AttentionNode { input, .. }) => *input = place(*input),
        }
    }

    /// Returns whether its backward pass needs the values of its input and of the second node it
    /// reads; `learns` says whether it has trainable parameters.
    pub fn reads_again(&self, learns: bool) -> (bool, bool) {
        match &self.operation {
            Operation::Conv(_) => (learns, false),
            Operation::LayerNorm(_) => (true, false),
            Operation::MaxPool(_)
            | Operation::AveragePool(_)
            | Operation::Average(_)
            | Operation::Tokens(_) => (false, false),
            Operation::Attention(_) => (true, false),
            Operation::Gate(_) => (true, true),
        }
    }

    /// Returns the number of channels of its output.
    pub fn channels(&self) -> usize {
        match &self.operation {
            Operation::Conv(conv) => conv.out_channels,
            Operation::MaxPool(pool) => pool.shape.channels,
            Operation::AveragePool(pool) => pool.shape.channels,
            Operation::LayerNorm(LayerNormNode { channels, .. })
            | Operation::Average(AverageNode { channels, .. })
            | Operation::Gate(GateNode { channels, .. })
            | Operation::Tokens(TokensNode { channels, .. }) => *channels,
            Operation::Attention(attention) => attention.shape.channels,
        }
    }

    /// Returns its activation.
    pub fn activation(&self) -> Activation {
        match &self.operation {
            Operation::Conv(conv) => conv.activation,
            _ => Activation::None,
        }
    }

    /// Returns the rows and columns of the output for an input of this size.
    pub fn output_size(&self, (rows, columns): (usize, usize)) -> (usize, usize) {
        match &self.operation {
            Operation::Conv(conv) => (conv.output_size(rows), conv.output_size(columns)),
            Operation::MaxPool(pool) => {
                let shape = &pool.shape;
                (shape.output_size(rows), shape.output_size(columns))
            }
            Operation::AveragePool(pool) => {
                let shape = &pool.shape;
                (shape.output_size(rows), shape.output_size(columns))
            }
            Operation::LayerNorm(_) | Operation::Gate(_) | Operation::Attention(_) => {
                (rows, columns)
            }
            Operation::Average(_) => (1, 1),
            Operation::Tokens(tokens) => (tokens.first_tokens() + rows * columns, 1),
        }
    }
}

/// A network from the images to its features.
#[derive(Debug, Clone)]
pub struct Architecture {
    /// The nodes in execution order; the last one is the output.
    pub nodes: Vec<Node>,
    /// How the output is pooled to one vector per image. Its parameters belong to the last stage.
    pub pooling: Arc<dyn Pooling>,
}

impl Default for Architecture {
    /// An empty network with average pooling over pixels.
    fn default() -> Self {
        Architecture {
            nodes: Vec::new(),
            pooling: Arc::new(Average),
        }
    }
}

impl Architecture {
    /// Appends a node and returns its index.
    pub fn push(&mut self, stage: usize, operation: Operation) -> usize {
        self.nodes.push(Node { operation, stage });
        self.nodes.len() - 1
    }

    /// Appends a squeeze-excitation of node `input` and returns the index of its output: the mean
    /// over pixels, two 1x1 convolutions with bias, `name.fc1` and `name.fc2`, and the product.
    pub fn squeeze_excitation(
        &mut self,
        stage: usize,
        input: usize,
        name: &str,
        (channels, squeezed): (usize, usize),
        [inner, outer]: [Activation; 2],
    ) -> usize {
        let mean = self.push(stage, Operation::Average(AverageNode { input, channels }));
        let mut dense = |name: String, input, channels, activation| {
            let input = Source::Node(input);
            let node = ConvNode::new(name, Affine::Bias, input, channels, (1, 1), activation);
            self.push(stage, Operation::Conv(node))
        };
        let squeeze = dense(format!("{name}.fc1"), mean, (channels, squeezed), inner);
        let gate = dense(format!("{name}.fc2"), squeeze, (squeezed, channels), outer);
        self.push(
            stage,
            Operation::Gate(GateNode {
                input,
                gate,
                channels,
            }),
        )
    }

    /// Returns the number of channels of the output, which is the width of the feature maps.
    pub fn num_map_features(&self) -> usize {
        self.nodes.last().map_or(0, Node::channels)
    }

    /// Returns the width of the pooled features.
    pub fn num_pooled(&self) -> usize {
        self.pooling.num_pooled(self.num_map_features())
    }

    /// Returns the last stage.
    pub fn last_stage(&self) -> usize {
        self.nodes.last().map_or(0, |node| node.stage)
    }

    /// Returns the rows (and columns) of a patch if the network splits images into patches; the
    /// sides of an image must be multiples of it.
    pub fn patch(&self) -> Option<usize> {
        self.nodes.iter().find_map(|node| match &node.operation {
            Operation::Tokens(tokens) => match &self.nodes[tokens.input].operation {
                Operation::Conv(conv) => Some(conv.stride),
                _ => None,
            },
            _ => None,
        })
    }

    /// Returns the image side, in pixels, for which the position embeddings are made, if there are
    /// any.
    pub fn side(&self) -> Option<usize> {
        let tokens = self.nodes.iter().find_map(|node| match &node.operation {
            Operation::Tokens(tokens) => Some(tokens),
            _ => None,
        });
        Some(tokens?.side * self.patch()?)
    }

    /// Returns the name of the padding around images: `same` as in TensorFlow, or `symmetric`.
    pub fn padding_name(&self) -> &'static str {
        let same = |conv: &ConvNode| conv.padding == Padding::Same;
        match self.convolutions().any(|(_, conv)| same(conv)) {
            true => "same",
            false => "symmetric",
        }
    }

    /// Returns the convolutions in order.
    pub fn convolutions(&self) -> impl Iterator<Item = (&Node, &ConvNode)> {
        self.nodes.iter().filter_map(|node| match &node.operation {
            Operation::Conv(conv) => Some((node, conv)),
            _ => None,
        })
    }
}

//! A network as data: a list of nodes, each reading the output of earlier ones. Both executors walk
//! this list, so that structure and names are written down once.
//!
//! What flows from node to node are pictures of many channels. Tokens are a picture of one column,
//! and a linear layer is a convolution of 1x1.

use std::sync::Arc;

use crate::model::pooling::{Average, Pooling};
use crate::ops::attention::AttentionShape;
use crate::ops::average_pool::AveragePoolShape;
use crate::ops::depthwise::DepthwiseShape;
use crate::ops::grouped::GroupedShape;
use crate::ops::pool::MaxPoolShape;
use crate::ops::{Activation, ConvShape, Padding};

/// What a node reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The pictures.
    Image,
    /// The output of the node with this index.
    Node(usize),
}

/// What a convolution's result is multiplied with and added to, channel by channel.
#[derive(Debug, Clone, PartialEq)]
pub enum Affine {
    /// A batch norm.
    BatchNorm {
        /// Its name, for example `layer1.0.bn1`.
        name: String,
        /// Added to the variance.
        epsilon: f64,
        /// Share of the new batch in the running statistics.
        momentum: f64,
    },
    /// The convolution's own bias.
    Bias,
    /// The convolution's own bias, and then a factor that learns (layer scale).
    LayerScale {
        /// Its name.
        name: String,
        /// Dimensions of it as published: 1, or 3 of which the last two are 1.
        dimensions: usize,
        /// Its initial value.
        initial: f64,
    },
    /// Nothing.
    None,
}

/// The kernels that compute a convolution.
#[derive(Debug, Clone, Copy)]
pub enum Geometry {
    /// Every filter sees all channels.
    Dense(ConvShape),
    /// One filter a channel.
    Depthwise(DepthwiseShape),
    /// Filters see the channels of their group.
    Grouped(GroupedShape),
}

/// A convolution, what its result is scaled by, a residual branch and an activation.
#[derive(Debug, Clone)]
pub struct ConvNode {
    /// What it reads.
    pub input: Source,
    /// Name of the convolution, for example `layer1.0.conv1`.
    pub conv: String,
    /// What comes right after it.
    pub affine: Affine,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Input pixels from one output to the next.
    pub stride: usize,
    /// Zeros around the picture.
    pub padding: Padding,
    /// Parts into which the channels fall: 1, or as many as there are channels (depthwise).
    pub groups: usize,
    /// The weight as a fully connected layer has it, `[out, in]`, in PyTorch.
    pub linear: bool,
    /// Standard deviation of the initial weights, where it is not Kaiming's by the fan out.
    pub deviation: Option<f64>,
    /// Applied last.
    pub activation: Activation,
    /// A node whose output is added before the activation.
    pub residual: Option<usize>,
}

impl ConvNode {
    /// A dense convolution of `channels` (in, out) with a window of `kernel` and `stride`, padded by
    /// half the kernel, with Kaiming's initial weights and without a residual branch.
    pub fn new(
        conv: impl Into<String>,
        affine: Affine,
        input: Source,
        channels: (usize, usize),
        (kernel, stride): (usize, usize),
        activation: Activation,
    ) -> Self {
        ConvNode {
            input,
            conv: conv.into(),
            affine,
            in_channels: channels.0,
            out_channels: channels.1,
            kernel,
            stride,
            padding: Padding::Symmetric(kernel / 2),
            groups: 1,
            linear: false,
            deviation: None,
            activation,
            residual: None,
        }
    }

    /// Shape of the weights in PyTorch's order.
    pub fn weight_shape(&self) -> Vec<usize> {
        let inputs = self.in_channels / self.groups;
        match self.linear {
            true => vec![self.out_channels, inputs],
            false => vec![self.out_channels, inputs, self.kernel, self.kernel],
        }
    }

    /// Its geometry.
    pub fn geometry(&self) -> Geometry {
        let dense = ConvShape {
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
        };
        match self.groups {
            1 => Geometry::Dense(dense),
            groups if groups == self.in_channels && groups == self.out_channels => {
                Geometry::Depthwise(DepthwiseShape {
                    channels: groups,
                    kernel: self.kernel,
                    stride: self.stride,
                    padding: self.padding,
                })
            }
            groups => Geometry::Grouped(GroupedShape {
                conv: dense,
                groups,
            }),
        }
    }

    /// Output rows (or columns) for an input of `size`.
    pub fn output_size(&self, size: usize) -> usize {
        match self.geometry() {
            Geometry::Dense(shape) => shape.output_size(size),
            Geometry::Depthwise(shape) => shape.output_size(size),
            Geometry::Grouped(shape) => shape.output_size(size),
        }
    }

    /// Whether a batch norm follows.
    pub fn has_norm(&self) -> bool {
        matches!(self.affine, Affine::BatchNorm { .. })
    }
}

/// A max pooling.
#[derive(Debug, Clone)]
pub struct MaxPoolNode {
    /// The node it reads.
    pub input: usize,
    /// Channels and window.
    pub shape: MaxPoolShape,
}

/// The mean over windows that lie side by side.
#[derive(Debug, Clone)]
pub struct AveragePoolNode {
    /// The node it reads.
    pub input: usize,
    /// Channels and windows.
    pub shape: AveragePoolShape,
}

/// A norm over the channels of each pixel.
#[derive(Debug, Clone)]
pub struct LayerNormNode {
    /// The node it reads.
    pub input: usize,
    /// Its name.
    pub name: String,
    /// Channels of input and output.
    pub channels: usize,
    /// Added to the variance.
    pub epsilon: f64,
}

/// The mean over all pixels of each channel.
#[derive(Debug, Clone)]
pub struct AverageNode {
    /// The node it reads.
    pub input: usize,
    /// Channels of input and output.
    pub channels: usize,
}

/// Each channel of a node times a number of its own (the end of a squeeze-excitation).
#[derive(Debug, Clone)]
pub struct GateNode {
    /// The node that is scaled.
    pub input: usize,
    /// The node with one number a channel.
    pub gate: usize,
    /// Channels of input and output.
    pub channels: usize,
}

/// Tokens from the patches of a picture: first those that belong to no place, then the patches,
/// which learn where they are. Tokens are a picture of one column.
#[derive(Debug, Clone)]
pub struct TokensNode {
    /// The node with the patches.
    pub input: usize,
    /// Channels of input and output.
    pub channels: usize,
    /// Name of the class token, `[1, 1, channels]`.
    pub class: String,
    /// Name of further tokens that belong to no place, `[1, count, channels]`, and their count.
    pub registers: Option<(String, usize)>,
    /// Name of the positions, `[1, places, channels]`.
    pub positions: String,
    /// Rows, and columns, of patches that the positions are made for; they are interpolated where
    /// there are others.
    pub side: usize,
    /// Whether the first of the positions is that of the class token.
    pub class_has_position: bool,
}

impl TokensNode {
    /// Tokens that belong to no place.
    pub fn first_tokens(&self) -> usize {
        1 + self.registers.as_ref().map_or(0, |(_, count)| *count)
    }
}

/// Attention of several heads among the tokens, or pixels, of each picture.
#[derive(Debug, Clone)]
pub struct AttentionNode {
    /// The node with queries, keys and values, one after the other.
    pub input: usize,
    /// Name of the module, for example `blocks.0.attn`.
    pub name: String,
    /// Channels of the output and heads.
    pub shape: AttentionShape,
}

/// What a node does.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Convolution, norm or bias, residual, activation.
    Conv(ConvNode),
    /// Max pooling.
    MaxPool(MaxPoolNode),
    /// Mean over windows.
    AveragePool(AveragePoolNode),
    /// Norm over channels.
    LayerNorm(LayerNormNode),
    /// Mean over pixels.
    Average(AverageNode),
    /// Product with one number a channel.
    Gate(GateNode),
    /// From patches to tokens.
    Tokens(TokensNode),
    /// Attention among tokens.
    Attention(AttentionNode),
}

/// One step of the network.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it does.
    pub operation: Operation,
    /// The stage it belongs to: 0 is the stem.
    pub stage: usize,
}

impl Node {
    /// What it reads first of all.
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

    /// The node that it reads beside its input: a residual branch or a gate.
    pub fn second(&self) -> Option<usize> {
        match &self.operation {
            Operation::Conv(conv) => conv.residual,
            Operation::Gate(gate) => Some(gate.gate),
            _ => None,
        }
    }

    /// The node that it reads at the same time as its input. A branch that is added behind a norm
    /// with the statistics of the batch is read when that is applied.
    pub fn read_with_input(&self) -> Option<usize> {
        self.second().filter(|_| !self.has_norm())
    }

    /// The node whose output it adds, if any.
    pub fn residual(&self) -> Option<usize> {
        match &self.operation {
            Operation::Conv(conv) => conv.residual,
            _ => None,
        }
    }

    /// Whether it ends with a batch norm.
    pub fn has_norm(&self) -> bool {
        matches!(&self.operation, Operation::Conv(conv) if conv.has_norm())
    }

    /// All nodes that it reads.
    pub fn reads(&self) -> impl Iterator<Item = usize> {
        let input = match self.input() {
            Source::Image => None,
            Source::Node(input) => Some(input),
        };
        input.into_iter().chain(self.second())
    }

    /// Whether its backward pass needs the values of what it reads: of the input, of the second.
    pub fn reads_again(&self) -> (bool, bool) {
        match &self.operation {
            Operation::Conv(_) | Operation::LayerNorm(_) => (true, false),
            Operation::MaxPool(_)
            | Operation::AveragePool(_)
            | Operation::Average(_)
            | Operation::Tokens(_) => (false, false),
            Operation::Attention(_) => (true, false),
            Operation::Gate(_) => (true, true),
        }
    }

    /// Channels of its output.
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

    /// Its activation.
    pub fn activation(&self) -> Activation {
        match &self.operation {
            Operation::Conv(conv) => conv.activation,
            _ => Activation::None,
        }
    }

    /// Output rows and columns for an input of this size.
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

/// A network up to its features.
#[derive(Debug, Clone)]
pub struct Architecture {
    /// In an order in which they can be run; the last one is the output.
    pub nodes: Vec<Node>,
    /// How the output becomes one vector a picture. Its parameters belong to the last stage.
    pub pooling: Arc<dyn Pooling>,
}

impl Default for Architecture {
    /// Nothing, to be averaged over its pixels.
    fn default() -> Self {
        Architecture {
            nodes: Vec::new(),
            pooling: Arc::new(Average),
        }
    }
}

impl Architecture {
    /// Appends a node; returns its index.
    pub fn push(&mut self, stage: usize, operation: Operation) -> usize {
        self.nodes.push(Node { operation, stage });
        self.nodes.len() - 1
    }

    /// Appends a squeeze-excitation of node `input` and returns the index of its output: the mean
    /// over pixels, two convolutions of 1x1 with bias, `name.fc1` and `name.fc2`, and the product.
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

    /// Channels of the output, the width of the maps.
    pub fn num_map_features(&self) -> usize {
        self.nodes.last().map_or(0, Node::channels)
    }

    /// Width of the pooled features.
    pub fn num_pooled(&self) -> usize {
        self.pooling.num_pooled(self.num_map_features())
    }

    /// The last stage.
    pub fn last_stage(&self) -> usize {
        self.nodes.last().map_or(0, |node| node.stage)
    }

    /// Rows and columns of a patch, where pictures are cut into such: a side must be a multiple.
    pub fn patch(&self) -> Option<usize> {
        self.nodes.iter().find_map(|node| match &node.operation {
            Operation::Tokens(tokens) => match &self.nodes[tokens.input].operation {
                Operation::Conv(conv) => Some(conv.stride),
                _ => None,
            },
            _ => None,
        })
    }

    /// The side in pixels that positions are made for, where there are such.
    pub fn side(&self) -> Option<usize> {
        let tokens = self.nodes.iter().find_map(|node| match &node.operation {
            Operation::Tokens(tokens) => Some(tokens),
            _ => None,
        });
        Some(tokens?.side * self.patch()?)
    }

    /// How zeros are set around pictures: `same` as in TensorFlow, or `symmetric`.
    pub fn padding_name(&self) -> &'static str {
        let same = |conv: &ConvNode| conv.padding == Padding::Same;
        match self.convolutions().any(|(_, conv)| same(conv)) {
            true => "same",
            false => "symmetric",
        }
    }

    /// The convolutions in order.
    pub fn convolutions(&self) -> impl Iterator<Item = (&Node, &ConvNode)> {
        self.nodes.iter().filter_map(|node| match &node.operation {
            Operation::Conv(conv) => Some((node, conv)),
            _ => None,
        })
    }
}

//! A backbone as data: a list of nodes, each reading the output of an earlier one. Both executors
//! walk this list, so that structure and names are written down once.

use crate::ops::{Activation, ConvShape, Padding, depthwise::DepthwiseShape, pool::MaxPoolShape};

/// What a node reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The pictures.
    Image,
    /// The output of the node with this index.
    Node(usize),
}

/// A convolution without bias, the batch norm after it, a residual branch and an activation.
#[derive(Debug, Clone)]
pub struct ConvNode {
    /// What it reads.
    pub input: Source,
    /// Name of the convolution, for example `layer1.0.conv1`.
    pub conv: String,
    /// Name of the batch norm, for example `layer1.0.bn1`.
    pub norm: String,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Input pixels from one output to the next.
    pub stride: usize,
    /// Rows and columns of zeros around the picture.
    pub padding: usize,
    /// One filter a channel (3x3 only), instead of filters over all channels.
    pub depthwise: bool,
    /// Applied last.
    pub activation: Activation,
    /// A node whose output is added before the activation.
    pub residual: Option<usize>,
}

impl ConvNode {
    /// Shape of the weights in PyTorch's order.
    pub fn weight_shape(&self) -> [usize; 4] {
        let inputs = if self.depthwise { 1 } else { self.in_channels };
        [self.out_channels, inputs, self.kernel, self.kernel]
    }

    /// Its geometry as a dense convolution.
    pub fn dense(&self) -> ConvShape {
        ConvShape {
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            kernel: self.kernel,
            stride: self.stride,
            padding: Padding::Symmetric(self.padding),
        }
    }

    /// Its geometry as a depthwise convolution.
    pub fn per_channel(&self) -> DepthwiseShape {
        DepthwiseShape {
            channels: self.out_channels,
            kernel: self.kernel,
            stride: self.stride,
            padding: Padding::Symmetric(self.padding),
        }
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

/// What a node does.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Convolution, batch norm, residual, activation.
    Conv(ConvNode),
    /// Max pooling.
    MaxPool(MaxPoolNode),
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
    /// What it reads.
    pub fn input(&self) -> Source {
        match &self.operation {
            Operation::Conv(conv) => conv.input,
            Operation::MaxPool(pool) => Source::Node(pool.input),
        }
    }

    /// The node whose output it adds, if any.
    pub fn residual(&self) -> Option<usize> {
        match &self.operation {
            Operation::Conv(conv) => conv.residual,
            Operation::MaxPool(_) => None,
        }
    }

    /// Channels of its output.
    pub fn channels(&self) -> usize {
        match &self.operation {
            Operation::Conv(conv) => conv.out_channels,
            Operation::MaxPool(pool) => pool.shape.channels,
        }
    }

    /// Its activation.
    pub fn activation(&self) -> Activation {
        match &self.operation {
            Operation::Conv(conv) => conv.activation,
            Operation::MaxPool(_) => Activation::None,
        }
    }

    /// Output rows (or columns) for an input of `size`.
    pub fn output_size(&self, size: usize) -> usize {
        match &self.operation {
            Operation::Conv(conv) => conv.dense().output_size(size),
            Operation::MaxPool(pool) => pool.shape.output_size(size),
        }
    }
}

/// A network up to its last feature map; global average pooling follows.
#[derive(Debug, Clone, Default)]
pub struct Architecture {
    /// In an order in which they can be run; the last one is the output.
    pub nodes: Vec<Node>,
}

impl Architecture {
    /// Appends a node; returns its index.
    pub fn push(&mut self, stage: usize, operation: Operation) -> usize {
        self.nodes.push(Node { operation, stage });
        self.nodes.len() - 1
    }

    /// Channels of the output, the width of the features.
    pub fn num_features(&self) -> usize {
        self.nodes.last().map_or(0, Node::channels)
    }

    /// The convolutions in order.
    pub fn convolutions(&self) -> impl Iterator<Item = (&Node, &ConvNode)> {
        self.nodes.iter().filter_map(|node| match &node.operation {
            Operation::Conv(conv) => Some((node, conv)),
            Operation::MaxPool(_) => None,
        })
    }
}

//! The kinds of nodes that a network is made of.

use candle_nn::Init;

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
    /// The convolution's own bias, and then this factor, which does not learn.
    Scaled(f64),
    /// Nothing.
    None,
}

/// What is added to the weights of a linear layer: the product of two narrow matrices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LowRankNode {
    /// Columns of the first matrix, rows of the second.
    pub rank: usize,
    /// Factor of the product.
    pub factor: f64,
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
    /// Initial weights, where they are not Kaiming's normal ones by the fan out.
    pub initial: Option<Init>,
    /// What is added to the weights of a linear layer, by an adapter.
    pub low_rank: Option<LowRankNode>,
    /// Whether it is no part of the published network, but an adapter's.
    pub added: bool,
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
            initial: None,
            low_rank: None,
            added: false,
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

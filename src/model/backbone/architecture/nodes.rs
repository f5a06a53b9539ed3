//! The kinds of nodes in a network.

use candle_nn::Init;

use crate::ops::attention::AttentionShape;
use crate::ops::average_pool::AveragePoolShape;
use crate::ops::depthwise::DepthwiseShape;
use crate::ops::grouped::GroupedShape;
use crate::ops::pool::MaxPoolShape;
use crate::ops::{Activation, ConvShape, Padding};

/// The input of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The input images.
    Image,
    /// The output of the node with this index.
    Node(usize),
}

/// The affine transformation applied to the result of a convolution, channel by channel.
#[derive(Debug, Clone, PartialEq)]
pub enum Affine {
    /// A batch norm.
    BatchNorm {
        /// Its name, for example `layer1.0.bn1`.
        name: String,
        /// The constant added to the variance.
        epsilon: f64,
        /// The weight of the new batch in the running statistics.
        momentum: f64,
    },
    /// The convolution's own bias.
    Bias,
    /// The convolution's own bias, followed by a trainable factor (layer scale).
    LayerScale {
        /// Its name.
        name: String,
        /// The number of dimensions in the published file: 1, or 3 of which the last two have
        /// length 1.
        dimensions: usize,
        /// Its initial value.
        initial: f64,
    },
    /// The convolution's own bias, followed by this constant factor.
    Scaled(f64),
    /// Nothing.
    None,
}

/// The low-rank update added to the weights of a linear layer: the product of two narrow matrices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LowRankNode {
    /// The rank: rows of the matrix applied first, columns of the second.
    pub rank: usize,
    /// The factor on the product.
    pub factor: f64,
}

/// The form of a convolution, which selects its kernels.
#[derive(Debug, Clone, Copy)]
pub enum Geometry {
    /// Every filter sees all channels.
    Dense(ConvShape),
    /// One filter per channel.
    Depthwise(DepthwiseShape),
    /// Every filter sees the channels of its group.
    Grouped(GroupedShape),
}

/// A convolution with an affine transformation, a residual branch and an activation.
#[derive(Debug, Clone)]
pub struct ConvNode {
    /// What it reads.
    pub input: Source,
    /// Name of the convolution, for example `layer1.0.conv1`.
    pub conv: String,
    /// The affine transformation of its result.
    pub affine: Affine,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// The step, in input pixels, from one output pixel to the next.
    pub stride: usize,
    /// The zero padding around the image.
    pub padding: Padding,
    /// The number of groups of channels: 1 (dense), the number of channels (depthwise), or a
    /// divisor of it (grouped).
    pub groups: usize,
    /// Whether PyTorch stores the weight in the shape of a fully connected layer, `[out, in]`.
    pub linear: bool,
    /// The distribution of the initial weights; `None` for Kaiming normal by the fan-out.
    pub initial: Option<Init>,
    /// The low-rank update that an adapter adds to the weights of a linear layer.
    pub low_rank: Option<LowRankNode>,
    /// Whether it was added by an adapter and is not part of the published network.
    pub added: bool,
    /// The activation, applied last.
    pub activation: Activation,
    /// The node whose output is added before the activation, if any.
    pub residual: Option<usize>,
}

impl ConvNode {
    /// Creates a dense convolution with `channels` (in, out) and a window of `kernel` and `stride`,
    /// padded by half the kernel, with Kaiming's initial weights and without a residual branch.
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

    /// Returns the shape of the weights in PyTorch's order.
    pub fn weight_shape(&self) -> Vec<usize> {
        let inputs = self.in_channels / self.groups;
        match self.linear {
            true => vec![self.out_channels, inputs],
            false => vec![self.out_channels, inputs, self.kernel, self.kernel],
        }
    }

    /// Returns its geometry.
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

    /// Returns the number of output rows (or columns) for an input of `size`.
    pub fn output_size(&self, size: usize) -> usize {
        match self.geometry() {
            Geometry::Dense(shape) => shape.output_size(size),
            Geometry::Depthwise(shape) => shape.output_size(size),
            Geometry::Grouped(shape) => shape.output_size(size),
        }
    }

    /// Returns whether a batch norm follows.
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

/// The mean over adjacent, non-overlapping windows.
#[derive(Debug, Clone)]
pub struct AveragePoolNode {
    /// The node it reads.
    pub input: usize,
    /// Channels and windows.
    pub shape: AveragePoolShape,
}

/// A layer norm over the channels of each pixel.
#[derive(Debug, Clone)]
pub struct LayerNormNode {
    /// The node it reads.
    pub input: usize,
    /// Its name.
    pub name: String,
    /// Channels of input and output.
    pub channels: usize,
    /// The constant added to the variance.
    pub epsilon: f64,
}

/// The mean of each channel over all pixels.
#[derive(Debug, Clone)]
pub struct AverageNode {
    /// The node it reads.
    pub input: usize,
    /// Channels of input and output.
    pub channels: usize,
}

/// The product of each channel of a node with a number of its own (the end of a
/// squeeze-excitation).
#[derive(Debug, Clone)]
pub struct GateNode {
    /// The node that is scaled.
    pub input: usize,
    /// The node that holds one number per channel.
    pub gate: usize,
    /// Channels of input and output.
    pub channels: usize,
}

/// The tokens of an image: first those without a location (class token, registers), then the
/// patches, each with its learned position embedding added. Tokens are represented as an image of
/// one column.
#[derive(Debug, Clone)]
pub struct TokensNode {
    /// The node with the patches.
    pub input: usize,
    /// Channels of input and output.
    pub channels: usize,
    /// The name of the class token, `[1, 1, channels]`.
    pub class: String,
    /// The name of further tokens without a location, `[1, count, channels]`, and their count.
    pub registers: Option<(String, usize)>,
    /// The name of the position embeddings, `[1, positions, channels]`.
    pub positions: String,
    /// The number of rows (and columns) of patches for which the position embeddings are made; they
    /// are interpolated for other sizes.
    pub side: usize,
    /// Whether the first position embedding belongs to the class token.
    pub class_has_position: bool,
}

impl TokensNode {
    /// Returns the number of tokens without a location.
    pub fn first_tokens(&self) -> usize {
        1 + self.registers.as_ref().map_or(0, |(_, count)| *count)
    }
}

/// Multi-head attention among the tokens, or pixels, of each image.
#[derive(Debug, Clone)]
pub struct AttentionNode {
    /// The node that holds queries, keys and values, one after the other.
    pub input: usize,
    /// The name of the module, for example `blocks.0.attn`.
    pub name: String,
    /// The channels of the output, and the number of heads.
    pub shape: AttentionShape,
}

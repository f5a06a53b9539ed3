//! ResNet ("Deep Residual Learning for Image Recognition", CVPR 2016) as torchvision builds it:
//! the stride of a bottleneck lies in its 3x3 convolution.

use super::architecture::{Architecture, ConvNode, MaxPoolNode, Operation, Source};
use crate::ops::{Activation, pool::MaxPoolShape};

/// The residual block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3, and 1x1 to four times the width.
    Bottleneck,
}

/// A ResNet with `depths[k]` blocks in layer `k + 1`.
pub fn resnet(block: Block, depths: [usize; 4]) -> Architecture {
    let mut net = Architecture::default();
    let stem = net.push(
        0,
        Operation::Conv(ConvNode {
            input: Source::Image,
            conv: "conv1".into(),
            norm: "bn1".into(),
            in_channels: 3,
            out_channels: 64,
            kernel: 7,
            stride: 2,
            padding: 3,
            depthwise: false,
            activation: Activation::Relu,
            residual: None,
        }),
    );
    let shape = MaxPoolShape {
        channels: 64,
        kernel: 3,
        stride: 2,
        padding: 1,
    };
    let pool = MaxPoolNode { input: stem, shape };
    let mut input = net.push(0, Operation::MaxPool(pool));
    let mut channels = 64;
    for (layer, depth) in depths.into_iter().enumerate() {
        let width = 64 << layer;
        for index in 0..depth {
            let stride = if index == 0 && layer > 0 { 2 } else { 1 };
            let mut builder = BlockBuilder {
                net: &mut net,
                stage: layer + 1,
                prefix: format!("layer{}.{index}", layer + 1),
            };
            (input, channels) = match block {
                Block::Basic => builder.basic(input, channels, width, stride),
                Block::Bottleneck => builder.bottleneck(input, channels, width, stride),
            };
        }
    }
    net
}

struct BlockBuilder<'a> {
    net: &'a mut Architecture,
    stage: usize,
    prefix: String,
}

impl BlockBuilder<'_> {
    /// Returns the index of the block's output and its channels.
    fn basic(
        &mut self,
        input: usize,
        channels: usize,
        width: usize,
        stride: usize,
    ) -> (usize, usize) {
        let first = self.conv(1, input, (channels, width), 3, stride, None);
        let shortcut = self.shortcut(input, (channels, width), stride);
        let output = self.conv(2, first, (width, width), 3, 1, Some(shortcut));
        (output, width)
    }

    /// Returns the index of the block's output and its channels.
    fn bottleneck(
        &mut self,
        input: usize,
        channels: usize,
        width: usize,
        stride: usize,
    ) -> (usize, usize) {
        let first = self.conv(1, input, (channels, width), 1, 1, None);
        let second = self.conv(2, first, (width, width), 3, stride, None);
        let shortcut = self.shortcut(input, (channels, 4 * width), stride);
        let output = self.conv(3, second, (width, 4 * width), 1, 1, Some(shortcut));
        (output, 4 * width)
    }

    fn conv(
        &mut self,
        number: usize,
        input: usize,
        (in_channels, out_channels): (usize, usize),
        kernel: usize,
        stride: usize,
        residual: Option<usize>,
    ) -> usize {
        let node = ConvNode {
            input: Source::Node(input),
            conv: format!("{}.conv{number}", self.prefix),
            norm: format!("{}.bn{number}", self.prefix),
            in_channels,
            out_channels,
            kernel,
            stride,
            padding: kernel / 2,
            depthwise: false,
            activation: Activation::Relu,
            residual,
        };
        self.net.push(self.stage, Operation::Conv(node))
    }

    /// The input itself, or its projection where the shape changes.
    fn shortcut(
        &mut self,
        input: usize,
        (in_channels, out_channels): (usize, usize),
        stride: usize,
    ) -> usize {
        if stride == 1 && in_channels == out_channels {
            return input;
        }
        let node = ConvNode {
            input: Source::Node(input),
            conv: format!("{}.downsample.0", self.prefix),
            norm: format!("{}.downsample.1", self.prefix),
            in_channels,
            out_channels,
            kernel: 1,
            stride,
            padding: 0,
            depthwise: false,
            activation: Activation::None,
            residual: None,
        };
        self.net.push(self.stage, Operation::Conv(node))
    }
}

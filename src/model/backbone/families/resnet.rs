//! ResNet ("Deep Residual Learning for Image Recognition", CVPR 2016) and its wider relatives, as
//! torchvision builds them: the stride of a bottleneck is in its 3x3 convolution, except for
//! `resnet50_v1`, which has it in the first 1x1 convolution, as published.

use super::super::architecture::{Architecture, ConvNode, MaxPoolNode, Operation, Source};
use super::definition::{Definition, ExpectedInput, Published};
use super::style::Style;
use crate::ops::{Activation, pool::MaxPoolShape};

const RESNET: &str =
    "He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016";

const fn definition(
    name: &'static str,
    source: &'static str,
    architecture: fn() -> Architecture,
) -> Definition {
    Definition {
        name,
        source,
        published: Published::torchvision(name),
        input: ExpectedInput::IMAGENET,
        architecture,
    }
}

/// The network of the published recipe.
pub(crate) const RESNET50: Definition = definition("resnet50", RESNET, || {
    Bottleneck::USUAL.network([3, 4, 6, 3])
});

/// The family.
pub(super) const DEFINITIONS: &[Definition] = &[
    // For the embedded images: a quarter of the channels, and one block per layer.
    Definition {
        published: Published::own("resnet10_w16"),
        ..definition("resnet10_w16", RESNET, || basic([1, 1, 1, 1], 16))
    },
    definition("resnet18", RESNET, || basic([2, 2, 2, 2], STEM)),
    definition("resnet34", RESNET, || basic([3, 4, 6, 3], STEM)),
    RESNET50,
    definition("resnet101", RESNET, || {
        Bottleneck::USUAL.network([3, 4, 23, 3])
    }),
    definition("resnet152", RESNET, || {
        Bottleneck::USUAL.network([3, 8, 36, 3])
    }),
    // torchvision's names; torchvision's own network has the strides elsewhere.
    Definition {
        published: Published::torchvision("resnet50"),
        ..definition("resnet50_v1", RESNET, || {
            let early = Bottleneck {
                stride_first: true,
                ..Bottleneck::USUAL
            };
            early.network([3, 4, 6, 3])
        })
    },
    definition(
        "resnext50_32x4d",
        "Xie, Girshick, Dollár, Tu, He: Aggregated Residual Transformations for Deep Neural \
         Networks, CVPR 2017",
        || {
            let grouped = Bottleneck {
                groups: 32,
                width: 128,
                ..Bottleneck::USUAL
            };
            grouped.network([3, 4, 6, 3])
        },
    ),
    definition(
        "wide_resnet50_2",
        "Zagoruyko, Komodakis: Wide Residual Networks, BMVC 2016",
        || {
            let wide = Bottleneck {
                width: 128,
                ..Bottleneck::USUAL
            };
            wide.network([3, 4, 6, 3])
        },
    ),
];

/// The residual block of the deep networks: 1x1, 3x3, and 1x1 to four times the width of a basic
/// block.
#[derive(Clone, Copy)]
struct Bottleneck {
    /// Groups of the 3x3 convolution.
    groups: usize,
    /// The channels of that convolution in the first layer; each further layer doubles them.
    width: usize,
    /// Whether the first convolution has the stride, rather than the 3x3.
    stride_first: bool,
}

impl Bottleneck {
    const USUAL: Self = Bottleneck {
        groups: 1,
        width: 64,
        stride_first: false,
    };

    fn network(self, depths: [usize; 4]) -> Architecture {
        network(depths, STEM, |block, input, channels, layer, stride| {
            let (width, outputs) = (self.width << layer, 256 << layer);
            let (first, second) = match self.stride_first {
                true => (stride, 1),
                false => (1, stride),
            };
            let narrow = block.conv(1, input, (channels, width), (1, first));
            let narrow = block.push(narrow);
            let mut spatial = block.conv(2, narrow, (width, width), (3, second));
            spatial.groups = self.groups;
            let spatial = block.push(spatial);
            let shortcut = block.shortcut(input, (channels, outputs), stride);
            let mut widen = block.conv(3, spatial, (width, outputs), (1, 1));
            widen.residual = Some(shortcut);
            (block.push(widen), outputs)
        })
    }
}

/// Builds a network from blocks of two 3x3 convolutions: `width` channels in the first layer, and
/// twice as many in each further one.
fn basic(depths: [usize; 4], width: usize) -> Architecture {
    network(depths, width, |block, input, channels, layer, stride| {
        let width = width << layer;
        let first = block.conv(1, input, (channels, width), (3, stride));
        let first = block.push(first);
        let shortcut = block.shortcut(input, (channels, width), stride);
        let mut second = block.conv(2, first, (width, width), (3, 1));
        second.residual = Some(shortcut);
        (block.push(second), width)
    })
}

/// The channels of the stem in the published networks.
const STEM: usize = 64;

/// Builds a ResNet with `stem_channels` channels before its layers and `depths[k]` blocks in layer
/// `k + 1`. `block(builder, input, channels, layer, stride)` appends a block and returns its output
/// and the channels of that.
fn network(
    depths: [usize; 4],
    stem_channels: usize,
    block: impl Fn(&mut Block, usize, usize, usize, usize) -> (usize, usize),
) -> Architecture {
    let mut net = Architecture::default();
    let stem = conv("conv1", "bn1", Source::Image, (3, stem_channels), (7, 2));
    let stem = net.push(0, Operation::Conv(stem));
    let shape = MaxPoolShape {
        channels: stem_channels,
        kernel: 3,
        stride: 2,
        padding: 1,
    };
    let pool = MaxPoolNode { input: stem, shape };
    let mut input = net.push(0, Operation::MaxPool(pool));
    let mut channels = stem_channels;
    for (layer, depth) in depths.into_iter().enumerate() {
        for index in 0..depth {
            let stride = if index == 0 && layer > 0 { 2 } else { 1 };
            let mut builder = Block {
                net: &mut net,
                stage: layer + 1,
                prefix: format!("layer{}.{index}", layer + 1),
            };
            (input, channels) = block(&mut builder, input, channels, layer, stride);
        }
    }
    net
}

/// A block under construction.
struct Block<'a> {
    net: &'a mut Architecture,
    stage: usize,
    prefix: String,
}

impl Block<'_> {
    fn push(&mut self, node: ConvNode) -> usize {
        self.net.push(self.stage, Operation::Conv(node))
    }

    fn conv(
        &self,
        number: usize,
        input: usize,
        channels: (usize, usize),
        window: (usize, usize),
    ) -> ConvNode {
        let (name, norm) = (format!("conv{number}"), format!("bn{number}"));
        self.named(&name, &norm, input, channels, window)
    }

    fn named(
        &self,
        name: &str,
        norm: &str,
        input: usize,
        channels: (usize, usize),
        window: (usize, usize),
    ) -> ConvNode {
        let below = |name: &str| format!("{}.{name}", self.prefix);
        conv(&below(name), &below(norm), Source::Node(input), channels, window)
    }

    /// Returns the input itself, or its projection where the shape changes.
    fn shortcut(&mut self, input: usize, channels: (usize, usize), stride: usize) -> usize {
        if stride == 1 && channels.0 == channels.1 {
            return input;
        }
        let (name, norm) = ("downsample.0", "downsample.1");
        let mut project = self.named(name, norm, input, channels, (1, stride));
        project.activation = Activation::None;
        self.push(project)
    }
}

/// A convolution with batch norm and ReLU.
fn conv(
    name: &str,
    norm: &str,
    input: Source,
    channels: (usize, usize),
    window: (usize, usize),
) -> ConvNode {
    let names = (name.to_owned(), norm.to_owned());
    Style::PYTORCH.conv(names, input, channels, window, Activation::Relu)
}

//! The image towers of CLIP, whose features lie in the space shared with texts. Transformers use
//! timm's names, the ResNet OpenAI's.

use std::sync::Arc;

use super::super::architecture::{
    Architecture, AveragePoolNode, ConvNode, Operation, Source,
};
use super::definition::{Definition, ExpectedInput, Published};
use super::style::Style;
use super::transformer::Transformer;
use crate::model::pooling::AttentionPooling;
use crate::ops::Activation;
use crate::ops::average_pool::AveragePoolShape;

const fn definition(name: &'static str, architecture: fn() -> Architecture) -> Definition {
    Definition {
        name,
        source: "Radford, Kim, Hallacy et al.: Learning Transferable Visual Models From Natural \
                 Language Supervision, ICML 2021",
        published: Published::timm(name),
        input: ExpectedInput::CLIP,
        architecture,
    }
}

/// The networks: OpenAI's with the quick approximation of GELU, OpenCLIP's with the exact one.
pub(super) const DEFINITIONS: &[Definition] = &[
    definition("vit_base_patch32_clip_224", || PATCH32.network()),
    definition("vit_base_patch16_clip_224", || PATCH16.network()),
    definition("vit_base_patch32_clip_quickgelu_224", || {
        quick(PATCH32).network()
    }),
    definition("vit_base_patch16_clip_quickgelu_224", || {
        quick(PATCH16).network()
    }),
    Definition {
        published: Published::clip("RN50"),
        ..definition("resnet50_clip", || resnet([3, 4, 6, 3]))
    },
];

const PATCH16: Transformer = Transformer {
    epsilon: 1e-5,
    norm_before: true,
    projection: Some(512),
    ..Transformer::VIT
};

const PATCH32: Transformer = Transformer {
    patch: 32,
    side: 7,
    ..PATCH16
};

fn quick(exact: Transformer) -> Transformer {
    Transformer {
        activation: Activation::QuickGelu,
        ..exact
    }
}

/// A ResNet with three convolutions in its stem, average pooling in place of strides, and attention
/// pooling.
fn resnet(depths: [usize; 4]) -> Architecture {
    let mut net = Architecture::default();
    let mut input = Source::Image;
    for (number, channels, stride) in [(1, (3, 32), 2), (2, (32, 32), 1), (3, (32, 64), 1)] {
        let names = (format!("conv{number}"), format!("bn{number}"));
        let node = conv(names, input, channels, (3, stride), Activation::Relu);
        input = Source::Node(net.push(0, Operation::Conv(node)));
    }
    let mut last = net.nodes.len() - 1;
    last = halve(&mut net, 0, last, 64);
    let mut channels = 64;
    for (layer, depth) in depths.into_iter().enumerate() {
        for index in 0..depth {
            let place = (layer + 1, index);
            let halved = index == 0 && layer > 0;
            last = bottleneck(&mut net, place, last, (channels, 64 << layer), halved);
            channels = 256 << layer;
        }
    }
    net.pooling = Arc::new(AttentionPooling {
        name: "attnpool",
        heads: 32,
        side: 7,
        width: 1024,
    });
    net
}

/// A 1x1, a 3x3, and a 1x1 convolution to four times the `width`, plus the input or its projection.
fn bottleneck(
    net: &mut Architecture,
    (stage, index): (usize, usize),
    input: usize,
    (channels, width): (usize, usize),
    halved: bool,
) -> usize {
    let named = |conv: &str, norm: &str| {
        let below = |part: &str| format!("layer{stage}.{index}.{part}");
        (below(conv), below(norm))
    };
    let source = Source::Node(input);
    let relu = Activation::Relu;
    let narrow = conv(named("conv1", "bn1"), source, (channels, width), (1, 1), relu);
    let narrow = Source::Node(net.push(stage, Operation::Conv(narrow)));
    let spatial = conv(named("conv2", "bn2"), narrow, (width, width), (3, 1), relu);
    let mut spatial = net.push(stage, Operation::Conv(spatial));
    let mut shortcut = input;
    if halved {
        spatial = halve(net, stage, spatial, width);
        shortcut = halve(net, stage, shortcut, channels);
    }
    if channels != 4 * width {
        let names = named("downsample.0", "downsample.1");
        let source = Source::Node(shortcut);
        let project = conv(names, source, (channels, 4 * width), (1, 1), Activation::None);
        shortcut = net.push(stage, Operation::Conv(project));
    }
    let names = named("conv3", "bn3");
    let mut widen = conv(names, Source::Node(spatial), (width, 4 * width), (1, 1), relu);
    widen.residual = Some(shortcut);
    net.push(stage, Operation::Conv(widen))
}

/// The mean over 2x2 windows.
fn halve(net: &mut Architecture, stage: usize, input: usize, channels: usize) -> usize {
    let shape = AveragePoolShape { channels, side: 2 };
    net.push(stage, Operation::AveragePool(AveragePoolNode { input, shape }))
}

/// A convolution with batch norm.
fn conv(
    names: (String, String),
    input: Source,
    channels: (usize, usize),
    window: (usize, usize),
    activation: Activation,
) -> ConvNode {
    Style::PYTORCH.conv(names, input, channels, window, activation)
}

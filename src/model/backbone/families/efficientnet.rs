//! EfficientNet-B0 as torchvision builds it, and EfficientNet-Lite0, with neither
//! squeeze-excitation nor swish, using timm's names.

use super::super::architecture::{Architecture, Operation, Source};
use super::definition::{Definition, ExpectedInput, Published};
use super::inverted::Block;
use super::style::{Style, pair};
use crate::ops::Activation;

const PAPER: &str = "Tan, Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural \
                     Networks, ICML 2019";
const LITE: &str = "Liu: Higher accuracy on vision models with EfficientNet-Lite, 2020";

/// The networks.
pub(super) const DEFINITIONS: &[Definition] = &[
    Definition {
        name: "efficientnet_b0",
        source: PAPER,
        published: Published::torchvision("efficientnet_b0"),
        input: ExpectedInput::IMAGENET,
        architecture: efficientnet_b0,
    },
    // timm's `tf_efficientnet_lite0`: the weights published by Google, with TensorFlow's padding.
    Definition {
        name: "efficientnet_lite0",
        source: LITE,
        published: Published::timm("tf_efficientnet_lite0"),
        input: ExpectedInput::CENTRED,
        architecture: || {
            lite0(Style {
                epsilon: 1e-3,
                same: true,
                ..TIMM
            })
        },
    },
    // timm's `efficientnet_lite0`: retrained by timm's author, with PyTorch's padding.
    Definition {
        name: "efficientnet_lite0_symmetric",
        source: LITE,
        published: Published::timm("efficientnet_lite0"),
        input: ExpectedInput::IMAGENET,
        architecture: || lite0(TIMM),
    },
];

const TIMM: Style = Style {
    fan_out_by_group: true,
    ..Style::PYTORCH
};

/// Number of blocks, expansion, kernel, stride of the first, output channels, stage (table 1 of the
/// paper).
const STAGES: [(usize, usize, usize, usize, usize, usize); 7] = [
    (1, 1, 3, 1, 16, 1),
    (2, 6, 3, 2, 24, 1),
    (2, 6, 5, 2, 40, 2),
    (3, 6, 3, 2, 80, 3),
    (3, 6, 5, 1, 112, 3),
    (4, 6, 5, 2, 192, 4),
    (1, 6, 3, 1, 320, 4),
];

/// Builds the network from its stem (names of convolution and norm), a function that makes a block
/// from its position, stage and shape, and its last convolution.
fn network(
    style: Style,
    activation: Activation,
    [stem, head]: [(String, String); 2],
    finish: impl Fn((usize, usize), &mut Block),
) -> Architecture {
    let mut net = Architecture::default();
    let stem = style.conv(stem, Source::Image, (3, 32), (3, 2), activation);
    let mut input = net.push(0, Operation::Conv(stem));
    let mut channels = 32;
    for (place, (blocks, expansion, kernel, first, outputs, stage)) in
        STAGES.into_iter().enumerate()
    {
        for index in 0..blocks {
            let mut block = Block {
                stage,
                input,
                channels: [channels, channels * expansion, outputs],
                kernel,
                stride: if index == 0 { first } else { 1 },
                activation,
                names: [None, None, None],
                squeeze: None,
            };
            finish((place, index), &mut block);
            input = block.push(&mut net, &style);
            channels = outputs;
        }
    }
    let head = style.conv(head, Source::Node(input), (channels, 1280), (1, 1), activation);
    net.push(4, Operation::Conv(head));
    net
}

fn efficientnet_b0() -> Architecture {
    let silu = Activation::Silu;
    let ends = [pair("features.0"), pair("features.8")];
    network(Style::PYTORCH, silu, ends, |(place, index), block| {
        let prefix = format!("features.{}.{index}.block", place + 1);
        let [inputs, hidden, _] = block.channels;
        let expands = usize::from(hidden > inputs);
        block.names = [
            (expands > 0).then(|| pair(&format!("{prefix}.0"))),
            Some(pair(&format!("{prefix}.{expands}"))),
            Some(pair(&format!("{prefix}.{}", expands + 2))),
        ];
        // A quarter of the block's input channels, not of the hidden layer's.
        let name = format!("{prefix}.{}", expands + 1);
        block.squeeze = Some((name, inputs / 4, [silu, Activation::Sigmoid]));
    })
}

fn lite0(style: Style) -> Architecture {
    let named = |conv: &str, norm: &str| (conv.to_owned(), norm.to_owned());
    let ends = [named("conv_stem", "bn1"), named("conv_head", "bn2")];
    network(style, Activation::Relu6, ends, |(place, index), block| {
        let prefix = format!("blocks.{place}.{index}");
        let below = |conv: &str, norm: &str| {
            Some((format!("{prefix}.{conv}"), format!("{prefix}.{norm}")))
        };
        let [inputs, hidden, _] = block.channels;
        block.names = match hidden > inputs {
            true => [
                below("conv_pw", "bn1"),
                below("conv_dw", "bn2"),
                below("conv_pwl", "bn3"),
            ],
            false => [None, below("conv_dw", "bn1"), below("conv_pw", "bn2")],
        };
    })
}

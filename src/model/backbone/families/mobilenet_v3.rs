//! MobileNetV3-Large as torchvision builds it, up to the last convolution before pooling.

use super::super::architecture::{Architecture, Operation, Source};
use super::definition::{Definition, ExpectedInput, Published};
use super::inverted::Block;
use super::style::{Style, pair};
use crate::ops::Activation;

/// The network.
pub(super) const DEFINITIONS: &[Definition] = &[Definition {
    name: "mobilenet_v3_large",
    source: "Howard et al.: Searching for MobileNetV3, ICCV 2019",
    published: Published::torchvision("mobilenet_v3_large"),
    input: ExpectedInput::IMAGENET,
    architecture: mobilenet_v3_large,
}];

/// torchvision's constants for this network.
const STYLE: Style = Style {
    epsilon: 1e-3,
    momentum: 0.01,
    ..Style::PYTORCH
};

const RE: Activation = Activation::Relu;
const HS: Activation = Activation::HardSwish;

/// Kernel, hidden channels, output channels, squeezed channels (0 for none), activation, stride,
/// stage (table 1 of the paper).
type Row = (usize, usize, usize, usize, Activation, usize, usize);
const BLOCKS: [Row; 15] = [
    (3, 16, 16, 0, RE, 1, 1),
    (3, 64, 24, 0, RE, 2, 1),
    (3, 72, 24, 0, RE, 1, 1),
    (5, 72, 40, 24, RE, 2, 2),
    (5, 120, 40, 32, RE, 1, 2),
    (5, 120, 40, 32, RE, 1, 2),
    (3, 240, 80, 0, HS, 2, 3),
    (3, 200, 80, 0, HS, 1, 3),
    (3, 184, 80, 0, HS, 1, 3),
    (3, 184, 80, 0, HS, 1, 3),
    (3, 480, 112, 120, HS, 1, 3),
    (3, 672, 112, 168, HS, 1, 3),
    (5, 672, 160, 168, HS, 2, 4),
    (5, 960, 160, 240, HS, 1, 4),
    (5, 960, 160, 240, HS, 1, 4),
];

fn mobilenet_v3_large() -> Architecture {
    let mut net = Architecture::default();
    let stem = STYLE.conv(pair("features.0"), Source::Image, (3, 16), (3, 2), HS);
    let mut input = net.push(0, Operation::Conv(stem));
    let mut channels = 16;
    for (index, row) in BLOCKS.into_iter().enumerate() {
        let (kernel, hidden, outputs, squeezed, activation, stride, stage) = row;
        let prefix = format!("features.{}.block", index + 1);
        let expands = usize::from(hidden != channels);
        let squeezes = usize::from(squeezed > 0);
        let squeeze = (squeezed > 0).then(|| {
            let activations = [RE, Activation::HardSigmoid];
            (format!("{prefix}.{}", expands + 1), squeezed, activations)
        });
        let block = Block {
            stage,
            input,
            channels: [channels, hidden, outputs],
            kernel,
            stride,
            activation,
            names: [
                (expands > 0).then(|| pair(&format!("{prefix}.0"))),
                Some(pair(&format!("{prefix}.{expands}"))),
                Some(pair(&format!("{prefix}.{}", expands + squeezes + 1))),
            ],
            squeeze,
        };
        input = block.push(&mut net, &STYLE);
        channels = outputs;
    }
    let head = pair("features.16");
    let head = STYLE.conv(head, Source::Node(input), (channels, 960), (1, 1), HS);
    net.push(4, Operation::Conv(head));
    net
}

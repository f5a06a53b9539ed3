//! MobileNetV2 with width multiplier 1.0 as torchvision builds it.

use super::super::architecture::{Architecture, Operation, Source};
use super::definition::{Definition, ExpectedInput, Published};
use super::inverted::Block;
use super::style::{Style, pair};
use crate::ops::Activation;

/// The network.
pub(super) const DEFINITIONS: &[Definition] = &[Definition {
    name: "mobilenet_v2",
    source: "Sandler, Howard, Zhu, Zhmoginov, Chen: MobileNetV2: Inverted Residuals and Linear \
             Bottlenecks, CVPR 2018",
    published: Published::torchvision("mobilenet_v2"),
    input: ExpectedInput::IMAGENET,
    architecture: mobilenet_v2,
}];

/// Expansion, output channels, number of blocks, stride of the first.
const GROUPS: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

/// Returns the stage of `features.{index}`; as in ResNet, a new one begins where the resolution
/// drops.
fn stage(index: usize) -> usize {
    match index {
        0 => 0,
        1..=3 => 1,
        4..=6 => 2,
        7..=13 => 3,
        _ => 4,
    }
}

fn mobilenet_v2() -> Architecture {
    let (style, activation) = (Style::PYTORCH, Activation::Relu6);
    let mut net = Architecture::default();
    let stem = pair("features.0");
    let stem = style.conv(stem, Source::Image, (3, 32), (3, 2), activation);
    let mut input = net.push(0, Operation::Conv(stem));
    let (mut channels, mut index) = (32, 1);
    for (expansion, outputs, blocks, first_stride) in GROUPS {
        for block in 0..blocks {
            let prefix = format!("features.{index}.conv");
            // The convolutions of a block are numbered; the last one and its norm are not nested.
            let expands = usize::from(expansion > 1);
            let project = (
                format!("{prefix}.{}", expands + 1),
                format!("{prefix}.{}", expands + 2),
            );
            let block = Block {
                stage: stage(index),
                input,
                channels: [channels, channels * expansion, outputs],
                kernel: 3,
                stride: if block == 0 { first_stride } else { 1 },
                activation,
                names: [
                    (expansion > 1).then(|| pair(&format!("{prefix}.0"))),
                    Some(pair(&format!("{prefix}.{expands}"))),
                    Some(project),
                ],
                squeeze: None,
            };
            input = block.push(&mut net, &style);
            channels = outputs;
            index += 1;
        }
    }
    let head = pair(&format!("features.{index}"));
    let head = style.conv(head, Source::Node(input), (channels, 1280), (1, 1), activation);
    net.push(stage(index), Operation::Conv(head));
    net
}

//! RegNetX-400MF as torchvision builds it: grouped bottlenecks of constant width, from a design
//! rule.

use super::definition::{Definition, ExpectedInput, Published};
use super::style::{Style, pair};
use super::super::architecture::{Architecture, ConvNode, Operation, Source};
use crate::ops::Activation;

/// The network.
pub(super) const DEFINITIONS: &[Definition] = &[Definition {
    name: "regnet_x_400mf",
    source: "Radosavovic, Kosaraju, Girshick, He, Dollár: Designing Network Design Spaces, CVPR 2020",
    published: Published::torchvision("regnet_x_400mf"),
    input: ExpectedInput::IMAGENET,
    architecture: regnet_x_400mf,
}];

/// The number of blocks and the channels of each stage.
const STAGES: [(usize, usize); 4] = [(1, 32), (2, 64), (7, 160), (12, 400)];
/// The number of channels per group in the 3x3 convolutions.
const GROUP_WIDTH: usize = 16;

fn regnet_x_400mf() -> Architecture {
    let mut net = Architecture::default();
    let stem = conv("stem", Source::Image, (3, 32), (3, 2));
    let mut input = net.push(0, Operation::Conv(stem));
    let mut channels = 32;
    for (index, (depth, width)) in STAGES.into_iter().enumerate() {
        let stage = index + 1;
        for block in 0..depth {
            let prefix = format!("trunk_output.block{stage}.block{stage}-{block}");
            let stride = if block == 0 { 2 } else { 1 };
            let shortcut = match stride == 1 && channels == width {
                true => input,
                false => {
                    let name = format!("{prefix}.proj");
                    let window = (1, stride);
                    let mut project = conv(&name, Source::Node(input), (channels, width), window);
                    project.activation = Activation::None;
                    net.push(stage, Operation::Conv(project))
                }
            };
            let mut last = Source::Node(input);
            for (part, from, kernel, stride) in
                [("a", channels, 1, 1), ("b", width, 3, stride), ("c", width, 1, 1)]
            {
                let name = format!("{prefix}.f.{part}");
                let mut node = conv(&name, last, (from, width), (kernel, stride));
                match part {
                    "b" => node.groups = width / GROUP_WIDTH,
                    "c" => node.residual = Some(shortcut),
                    _ => {}
                }
                input = net.push(stage, Operation::Conv(node));
                last = Source::Node(input);
            }
            channels = width;
        }
    }
    net
}

/// A convolution with batch norm and ReLU.
fn conv(
    name: &str,
    input: Source,
    channels: (usize, usize),
    window: (usize, usize),
) -> ConvNode {
    Style::PYTORCH.conv(pair(name), input, channels, window, Activation::Relu)
}

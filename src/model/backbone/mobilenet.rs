//! MobileNetV2 ("MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018) of width 1.0
//! as torchvision builds it.

use super::architecture::{Architecture, ConvNode, Operation, Source};
use crate::ops::Activation;

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

/// The stage of `features.{index}`: a new one begins where the resolution falls, as in ResNet.
fn stage(index: usize) -> usize {
    match index {
        0 => 0,
        1..=3 => 1,
        4..=6 => 2,
        7..=13 => 3,
        _ => 4,
    }
}

/// MobileNetV2 of width 1.0.
pub fn mobilenet_v2() -> Architecture {
    let mut net = Architecture::default();
    let conv = |name: String, input, channels: (usize, usize), kernel, stride| ConvNode {
        input,
        conv: format!("{name}.0"),
        norm: format!("{name}.1"),
        in_channels: channels.0,
        out_channels: channels.1,
        kernel,
        stride,
        padding: kernel / 2,
        depthwise: false,
        activation: Activation::Relu6,
        residual: None,
    };
    let stem = conv("features.0".into(), Source::Image, (3, 32), 3, 2);
    let mut input = net.push(stage(0), Operation::Conv(stem));
    let mut channels = 32;
    let mut index = 1;
    for (expansion, out_channels, blocks, first_stride) in GROUPS {
        for block in 0..blocks {
            let stride = if block == 0 { first_stride } else { 1 };
            let prefix = format!("features.{index}.conv");
            let hidden = channels * expansion;
            let mut part = 0;
            let mut last = input;
            if expansion > 1 {
                let name = format!("{prefix}.{part}");
                let expand = conv(name, Source::Node(last), (channels, hidden), 1, 1);
                last = net.push(stage(index), Operation::Conv(expand));
                part += 1;
            }
            let name = format!("{prefix}.{part}");
            let mut depthwise = conv(name, Source::Node(last), (hidden, hidden), 3, stride);
            depthwise.depthwise = true;
            last = net.push(stage(index), Operation::Conv(depthwise));
            let project = ConvNode {
                conv: format!("{prefix}.{}", part + 1),
                norm: format!("{prefix}.{}", part + 2),
                activation: Activation::None,
                residual: (stride == 1 && channels == out_channels).then_some(input),
                ..conv(
                    String::new(),
                    Source::Node(last),
                    (hidden, out_channels),
                    1,
                    1,
                )
            };
            input = net.push(stage(index), Operation::Conv(project));
            channels = out_channels;
            index += 1;
        }
    }
    let name = format!("features.{index}");
    let head = conv(name, Source::Node(input), (channels, 1280), 1, 1);
    net.push(stage(index), Operation::Conv(head));
    net
}

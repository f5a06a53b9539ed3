//! ConvNeXt as torchvision builds it, without stochastic depth. Its pooling is the mean over pixels
//! followed by a layer norm, which torchvision counts as part of the classifier.

use std::sync::Arc;

use super::super::architecture::{
    Affine, Architecture, ConvNode, LayerNormNode, Operation, Source,
};
use super::definition::{Definition, ExpectedInput, Published};
use crate::model::builder::normal;
use crate::model::pooling::NormedAverage;
use crate::ops::{Activation, Padding};

const fn definition(
    name: &'static str,
    architecture: fn() -> Architecture,
) -> Definition {
    Definition {
        name,
        source: "Liu, Mao, Wu, Feichtenhofer, Darrell, Xie: A ConvNet for the 2020s, CVPR 2022",
        published: Published::torchvision(name),
        input: ExpectedInput::IMAGENET,
        architecture,
    }
}

/// The networks.
pub(super) const DEFINITIONS: &[Definition] = &[
    definition("convnext_tiny", || convnext([3, 3, 9, 3])),
    definition("convnext_small", || convnext([3, 3, 27, 3])),
];

/// The constant that the layer norms add to the variance.
const EPSILON: f64 = 1e-6;

/// Standard deviation of the initial weights.
const DEVIATION: f64 = 0.02;

/// Initial value of a layer scale (section 2.6 of the paper).
const LAYER_SCALE: f64 = 1e-6;

/// Channels of the four stages.
const WIDTHS: [usize; 4] = [96, 192, 384, 768];

fn convnext(depths: [usize; 4]) -> Architecture {
    let mut net = Architecture::default();
    let stem = conv("features.0.0", Source::Image, (3, WIDTHS[0]), (4, 4));
    let stem = net.push(0, Operation::Conv(stem));
    let mut input = norm(&mut net, 0, "features.0.1", stem, WIDTHS[0]);
    for (stage, (depth, width)) in depths.into_iter().zip(WIDTHS).enumerate() {
        let place = 2 * stage;
        if stage > 0 {
            let before = WIDTHS[stage - 1];
            let name = format!("features.{place}.0");
            let normed = norm(&mut net, stage + 1, &name, input, before);
            let name = format!("features.{place}.1");
            let shrink = conv(&name, Source::Node(normed), (before, width), (2, 2));
            input = net.push(stage + 1, Operation::Conv(shrink));
        }
        for index in 0..depth {
            let prefix = format!("features.{}.{index}", place + 1);
            input = block(&mut net, stage + 1, &prefix, input, width);
        }
    }
    net.pooling = Arc::new(NormedAverage {
        name: "classifier.0",
        epsilon: EPSILON,
    });
    net
}

/// Depthwise 7x7 convolution, layer norm, 1x1 to four times the width, GELU, 1x1 back, layer scale,
/// plus the input.
fn block(net: &mut Architecture, stage: usize, prefix: &str, input: usize, width: usize) -> usize {
    let name = |part: usize| format!("{prefix}.block.{part}");
    let depthwise = ConvNode {
        groups: width,
        padding: Padding::Symmetric(3),
        ..conv(&name(0), Source::Node(input), (width, width), (7, 1))
    };
    let depthwise = net.push(stage, Operation::Conv(depthwise));
    let normed = norm(net, stage, &name(2), depthwise, width);
    let widen = ConvNode {
        linear: true,
        activation: Activation::Gelu,
        ..conv(&name(3), Source::Node(normed), (width, 4 * width), (1, 1))
    };
    let wide = net.push(stage, Operation::Conv(widen));
    let narrow = ConvNode {
        linear: true,
        affine: Affine::LayerScale {
            name: format!("{prefix}.layer_scale"),
            dimensions: 3,
            initial: LAYER_SCALE,
        },
        residual: Some(input),
        ..conv(&name(5), Source::Node(wide), (4 * width, width), (1, 1))
    };
    net.push(stage, Operation::Conv(narrow))
}

/// A convolution with bias and without padding.
fn conv(
    name: &str,
    input: Source,
    channels: (usize, usize),
    window: (usize, usize),
) -> ConvNode {
    ConvNode {
        padding: Padding::Symmetric(0),
        initial: Some(normal(DEVIATION)),
        ..ConvNode::new(name, Affine::Bias, input, channels, window, Activation::None)
    }
}

fn norm(
    net: &mut Architecture,
    stage: usize,
    name: &str,
    input: usize,
    channels: usize,
) -> usize {
    let node = LayerNormNode {
        input,
        name: name.to_owned(),
        channels,
        epsilon: EPSILON,
    };
    net.push(stage, Operation::LayerNorm(node))
}

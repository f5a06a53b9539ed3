//! Convolutions with batch norms, as the networks of one library have them.

use super::super::architecture::{Affine, ConvNode, Source};
use crate::ops::{Activation, Padding};

/// What all convolutions of a network share.
#[derive(Clone, Copy)]
pub(super) struct Style {
    /// Added to the variance by the batch norms.
    pub epsilon: f64,
    /// Share of the new batch in the running statistics.
    pub momentum: f64,
    /// Whether the zeros around a picture follow TensorFlow.
    pub same: bool,
    /// Whether the initial weights take the filters of a group alone into account, as timm does.
    pub fan_out_by_group: bool,
}

impl Style {
    /// PyTorch's constants.
    pub(super) const PYTORCH: Self = Style {
        epsilon: 1e-5,
        momentum: 0.1,
        same: false,
        fan_out_by_group: false,
    };
}

impl Style {
    /// A convolution of `channels` (in, out) with its batch norm, named `(conv, norm)`.
    pub(super) fn conv(
        &self,
        (conv, norm): (String, String),
        input: Source,
        channels: (usize, usize),
        window: (usize, usize),
        activation: Activation,
    ) -> ConvNode {
        let affine = Affine::BatchNorm {
            name: norm,
            epsilon: self.epsilon,
            momentum: self.momentum,
        };
        let mut node = ConvNode::new(conv, affine, input, channels, window, activation);
        if self.same {
            node.padding = Padding::Same;
        }
        node
    }
}

/// `name.0` and `name.1`: convolution and batch norm as torchvision names them.
pub(super) fn pair(name: &str) -> (String, String) {
    (format!("{name}.0"), format!("{name}.1"))
}

//! Convolutions with batch norms, with the conventions of one library.

use super::super::architecture::{Affine, ConvNode, Source};
use crate::ops::{Activation, Padding};

/// The settings shared by all convolutions of a network.
#[derive(Clone, Copy)]
pub(super) struct Style {
    /// The constant that the batch norms add to the variance.
    pub epsilon: f64,
    /// The weight of the new batch in the running statistics.
    pub momentum: f64,
    /// Whether the padding follows TensorFlow.
    pub same: bool,
    /// Whether the fan-out for the initial weights counts only the filters of one group, as in
    /// timm.
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
    /// Creates a convolution of `channels` (in, out) with its batch norm, named `(conv, norm)`.
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

/// Returns `name.0` and `name.1`: convolution and batch norm as torchvision names them.
pub(super) fn pair(name: &str) -> (String, String) {
    (format!("{name}.0"), format!("{name}.1"))
}

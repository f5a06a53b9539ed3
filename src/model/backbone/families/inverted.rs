//! Inverted residual blocks, of which the mobile networks are made: 1x1 to a wide hidden layer, a
//! depthwise convolution, a squeeze-excitation if there is one, and 1x1 back without activation.

use super::super::architecture::{Affine, Architecture, ConvNode, Operation, Source};
use crate::ops::{Activation, Padding};

/// What all blocks of a network share.
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

/// One block.
pub(super) struct Block {
    /// The stage it belongs to.
    pub stage: usize,
    /// The node it reads.
    pub input: usize,
    /// Channels of the input, of the hidden layer, of the output.
    pub channels: [usize; 3],
    /// Rows and columns of the depthwise kernel.
    pub kernel: usize,
    /// Stride of the depthwise convolution.
    pub stride: usize,
    /// After the first two convolutions.
    pub activation: Activation,
    /// Names of convolution and batch norm: expansion (`None` without), depthwise, projection.
    pub names: [Option<(String, String)>; 3],
    /// Name, squeezed channels and activations of the squeeze-excitation.
    pub squeeze: Option<(String, usize, [Activation; 2])>,
}

impl Style {
    /// A convolution with its batch norm.
    pub(super) fn conv(
        &self,
        (conv, norm): (String, String),
        input: Source,
        (in_channels, out_channels): (usize, usize),
        (kernel, stride): (usize, usize),
        activation: Activation,
    ) -> ConvNode {
        ConvNode {
            input,
            conv,
            affine: Affine::BatchNorm {
                name: norm,
                epsilon: self.epsilon,
                momentum: self.momentum,
            },
            in_channels,
            out_channels,
            kernel,
            stride,
            padding: match self.same {
                true => Padding::Same,
                false => Padding::Symmetric(kernel / 2),
            },
            groups: 1,
            linear: false,
            deviation: None,
            activation,
            residual: None,
        }
    }

    /// Appends a block and gives back the index of its output. The input is added where stride and
    /// channels allow it.
    pub(super) fn push(&self, net: &mut Architecture, block: Block) -> usize {
        let Block {
            stage,
            kernel,
            stride,
            activation,
            ..
        } = block;
        let [inputs, hidden, outputs] = block.channels;
        let [expand, depthwise, project] = block.names;
        let mut last = block.input;
        if let Some(names) = expand {
            let wide = (inputs, hidden);
            let node = self.conv(names, Source::Node(last), wide, (1, 1), activation);
            last = net.push(stage, Operation::Conv(node));
        }
        if let Some(names) = depthwise {
            let same = (hidden, hidden);
            let window = (kernel, stride);
            let mut node = self.conv(names, Source::Node(last), same, window, activation);
            node.groups = hidden;
            if self.fan_out_by_group {
                node.deviation = Some((2.0 / (kernel * kernel) as f64).sqrt());
            }
            last = net.push(stage, Operation::Conv(node));
        }
        if let Some((name, squeezed, activations)) = block.squeeze {
            last = net.squeeze_excitation(stage, last, &name, (hidden, squeezed), activations);
        }
        if let Some(names) = project {
            let narrow = (hidden, outputs);
            let none = Activation::None;
            let mut node = self.conv(names, Source::Node(last), narrow, (1, 1), none);
            node.residual = (stride == 1 && inputs == outputs).then_some(block.input);
            last = net.push(stage, Operation::Conv(node));
        }
        last
    }
}

/// `name.0` and `name.1`: convolution and batch norm as torchvision names them.
pub(super) fn pair(name: &str) -> (String, String) {
    (format!("{name}.0"), format!("{name}.1"))
}

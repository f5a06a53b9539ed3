//! Inverted residual blocks, the building blocks of the mobile networks: 1x1 to a wide hidden
//! layer, a depthwise convolution, an optional squeeze-excitation, and 1x1 back without activation.

use super::super::architecture::{Architecture, Operation, Source};
use super::style::Style;
use crate::model::builder::normal;
use crate::ops::Activation;

/// One inverted residual block.
pub(super) struct Block {
    /// The stage it belongs to.
    pub stage: usize,
    /// The node it reads.
    pub input: usize,
    /// Channels of the input, the hidden layer and the output.
    pub channels: [usize; 3],
    /// Rows and columns of the depthwise kernel.
    pub kernel: usize,
    /// Stride of the depthwise convolution.
    pub stride: usize,
    /// The activation after the first two convolutions.
    pub activation: Activation,
    /// Names of convolution and batch norm: expansion (`None` if there is none), depthwise,
    /// projection.
    pub names: [Option<(String, String)>; 3],
    /// Name, squeezed channels and activations of the squeeze-excitation.
    pub squeeze: Option<(String, usize, [Activation; 2])>,
}

impl Block {
    /// Appends the block and returns the index of its output. The input is added if stride and
    /// channels allow it.
    pub(super) fn push(self, net: &mut Architecture, style: &Style) -> usize {
        let Block {
            stage,
            kernel,
            stride,
            activation,
            ..
        } = self;
        let [inputs, hidden, outputs] = self.channels;
        let [expand, depthwise, project] = self.names;
        let mut last = self.input;
        if let Some(names) = expand {
            let wide = (inputs, hidden);
            let node = style.conv(names, Source::Node(last), wide, (1, 1), activation);
            last = net.push(stage, Operation::Conv(node));
        }
        if let Some(names) = depthwise {
            let same = (hidden, hidden);
            let window = (kernel, stride);
            let mut node = style.conv(names, Source::Node(last), same, window, activation);
            node.groups = hidden;
            if style.fan_out_by_group {
                node.initial = Some(normal((2.0 / (kernel * kernel) as f64).sqrt()));
            }
            last = net.push(stage, Operation::Conv(node));
        }
        if let Some((name, squeezed, activations)) = self.squeeze {
            last = net.squeeze_excitation(stage, last, &name, (hidden, squeezed), activations);
        }
        if let Some(names) = project {
            let narrow = (hidden, outputs);
            let none = Activation::None;
            let mut node = style.conv(names, Source::Node(last), narrow, (1, 1), none);
            node.residual = (stride == 1 && inputs == outputs).then_some(self.input);
            last = net.push(stage, Operation::Conv(node));
        }
        last
    }
}

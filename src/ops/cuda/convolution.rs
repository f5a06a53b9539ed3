//! The shape of a convolution.

use super::windows::Window;
use crate::ops::Padding;

/// A convolution with a square kernel, without dilation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Input pixels from one output to the next.
    pub stride: usize,
    /// Zeros around the picture.
    pub padding: Padding,
    /// Groups of channels that see each other.
    pub groups: usize,
}

impl Convolution {
    /// Output rows and columns for an input of `(height, width)`.
    pub fn output_size(&self, (height, width): (usize, usize)) -> (usize, usize) {
        let outputs = |size| self.padding.outputs(size, self.kernel, self.stride);
        (outputs(height), outputs(width))
    }

    /// Values that one output sees.
    pub(super) fn depth(&self) -> usize {
        self.kernel * self.kernel * (self.in_channels / self.groups.max(1))
    }

    /// Whether an output sees just the pixel that it lies on.
    pub(super) fn is_pointwise(&self) -> bool {
        let unpadded = self.padding == Padding::Symmetric(0) || self.padding == Padding::Same;
        (self.kernel, self.stride, self.groups) == (1, 1, 1) && unpadded
    }

    pub(super) fn window(&self, (height, width): (usize, usize)) -> Window {
        let (rows, columns) = self.output_size((height, width));
        let zeros = |size| self.padding.zeros(size, self.kernel, self.stride).0;
        Window {
            height,
            width,
            channels: self.in_channels,
            rows,
            columns,
            kernel: self.kernel,
            stride: self.stride,
            top: zeros(height),
            left: zeros(width),
        }
    }

    /// Ranges of output pixels, first and end, whose columns fit into `bytes`.
    pub(super) fn pieces(&self, pixels: usize, bytes: usize) -> Vec<(usize, usize)> {
        let most = (bytes / (4 * self.depth()).max(1)).max(1);
        let starts = (0..pixels).step_by(most);
        starts
            .map(|first| (first, (first + most).min(pixels)))
            .collect()
    }
}

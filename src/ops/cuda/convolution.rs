//! The shape of a convolution.

use super::windows::Window;
use crate::ops::Padding;

/// A convolution with a square kernel, without dilation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution {
    /// Number of channels of the input.
    pub in_channels: usize,
    /// Number of channels of the output.
    pub out_channels: usize,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Distance in input pixels from one output to the next.
    pub stride: usize,
    /// Zero padding around the picture.
    pub padding: Padding,
    /// Number of groups of channels.
    pub groups: usize,
}

impl Convolution {
    /// Returns the output rows and columns for an input of `(height, width)`.
    pub fn output_size(&self, (height, width): (usize, usize)) -> (usize, usize) {
        let outputs = |size| self.padding.outputs(size, self.kernel, self.stride);
        (outputs(height), outputs(width))
    }

    /// Returns the number of input values of one output.
    pub(super) fn depth(&self) -> usize {
        self.kernel * self.kernel * (self.in_channels / self.groups.max(1))
    }

    /// Returns whether each output depends only on the input pixel at the same position.
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

    /// Returns ranges of output pixels (first and end) whose columns fit in `bytes`.
    pub(super) fn pieces(&self, pixels: usize, bytes: usize) -> Vec<(usize, usize)> {
        let most = (bytes / (4 * self.depth()).max(1)).max(1);
        let starts = (0..pixels).step_by(most);
        starts
            .map(|first| (first, (first + most).min(pixels)))
            .collect()
    }
}

//! The geometry of a dense convolution.

use super::window::Window;

/// A convolution with a square kernel, without dilation and groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Input pixels from one output to the next.
    pub stride: usize,
    /// Rows and columns of zeros around the picture.
    pub padding: usize,
}

impl ConvShape {
    /// Output rows (or columns) for an input of `size`; 0 where the kernel does not fit.
    pub fn output_size(&self, size: usize) -> usize {
        (size + 2 * self.padding + self.stride)
            .saturating_sub(self.kernel)
            .checked_div(self.stride)
            .unwrap_or(0)
    }

    /// Values that one output pixel sees.
    pub fn depth(&self) -> usize {
        self.kernel * self.kernel * self.in_channels
    }

    /// Number of weights.
    pub fn weight_len(&self) -> usize {
        self.out_channels * self.depth()
    }

    /// The window of the forward pass over `batch` pictures.
    pub(super) fn window(&self, batch: usize, height: usize, width: usize) -> Window {
        Window {
            batch,
            height,
            width,
            channels: self.in_channels,
            grid_height: self.output_size(height),
            grid_width: self.output_size(width),
            step: self.stride,
            top: -(self.padding as isize),
            left: -(self.padding as isize),
            kernel_height: self.kernel,
            kernel_width: self.kernel,
        }
    }
}

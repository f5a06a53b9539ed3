//! The geometry of a dense convolution.

use super::window::Window;

/// Zeros around a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// So many rows and columns on every side.
    Symmetric(usize),
    /// As many as it takes for `ceil(size / stride)` outputs, the smaller half of them before the
    /// picture, as TensorFlow does it: rows and columns may differ.
    Same,
}

impl Padding {
    /// Outputs along a side of `size` pixels; 0 where the kernel does not fit.
    pub(super) fn outputs(self, size: usize, kernel: usize, stride: usize) -> usize {
        match self {
            Padding::Symmetric(padding) => (size + 2 * padding + stride)
                .saturating_sub(kernel)
                .checked_div(stride)
                .unwrap_or(0),
            Padding::Same => size.div_ceil(stride.max(1)),
        }
    }

    /// Zeros before and after the pixels of a side.
    pub fn zeros(self, size: usize, kernel: usize, stride: usize) -> (usize, usize) {
        match self {
            Padding::Symmetric(padding) => (padding, padding),
            Padding::Same => {
                let outputs = self.outputs(size, kernel, stride);
                let needed = (outputs.max(1) - 1) * stride + kernel;
                let total = needed.saturating_sub(size);
                (total / 2, total - total / 2)
            }
        }
    }
}

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
    /// Zeros around the picture.
    pub padding: Padding,
}

impl ConvShape {
    /// Output rows (or columns) for an input of `size`; 0 where the kernel does not fit.
    pub fn output_size(&self, size: usize) -> usize {
        self.padding.outputs(size, self.kernel, self.stride)
    }

    /// Rows (or columns) of zeros before and after an input of `size`.
    pub(super) fn zeros(&self, size: usize) -> (usize, usize) {
        self.padding.zeros(size, self.kernel, self.stride)
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
            first: 0,
            pitch: self.in_channels,
            grid_height: self.output_size(height),
            grid_width: self.output_size(width),
            step: self.stride,
            top: -(self.zeros(height).0 as isize),
            left: -(self.zeros(width).0 as isize),
            kernel_height: self.kernel,
            kernel_width: self.kernel,
        }
    }
}

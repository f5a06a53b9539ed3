//! The geometry of a dense convolution.

use super::window::Window;

/// Zero padding around a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// This many rows and columns on every side.
    Symmetric(usize),
    /// As many zeros as needed for `ceil(size / stride)` outputs, with the smaller half before the
    /// picture, as in TensorFlow: rows and columns may differ.
    Same,
}

impl Padding {
    /// Returns the number of outputs along a side of `size` pixels; 0 if the kernel does not fit.
    pub(super) fn outputs(self, size: usize, kernel: usize, stride: usize) -> usize {
        match self {
            Padding::Symmetric(padding) => (size + 2 * padding + stride)
                .saturating_sub(kernel)
                .checked_div(stride)
                .unwrap_or(0),
            Padding::Same => size.div_ceil(stride.max(1)),
        }
    }

    /// Returns the number of zeros before and after the pixels of a side.
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

/// A convolution with a square kernel, without dilation or groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
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
}

impl ConvShape {
    /// Returns the number of output rows (or columns) for an input of `size`; 0 if the kernel does
    /// not fit.
    pub fn output_size(&self, size: usize) -> usize {
        self.padding.outputs(size, self.kernel, self.stride)
    }

    /// Returns the number of rows (or columns) of zeros before and after an input of `size`.
    pub(super) fn zeros(&self, size: usize) -> (usize, usize) {
        self.padding.zeros(size, self.kernel, self.stride)
    }

    /// Returns the number of input values of one output pixel.
    pub fn depth(&self) -> usize {
        self.kernel * self.kernel * self.in_channels
    }

    /// Returns the number of weights.
    pub fn weight_len(&self) -> usize {
        self.out_channels * self.depth()
    }

    /// Returns the window of the forward pass over `batch` pictures.
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

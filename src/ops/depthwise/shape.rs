//! The geometry of a depthwise convolution.

use super::super::shape::Padding;

/// Geometry of a depthwise convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepthwiseShape {
    /// Number of channels of input and output.
    pub channels: usize,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Distance in input pixels from one output to the next.
    pub stride: usize,
    /// Zero padding around the picture.
    pub padding: Padding,
}

impl DepthwiseShape {
    /// Returns the number of output rows (or columns) for an input of `size`.
    pub fn output_size(&self, size: usize) -> usize {
        self.padding.outputs(size, self.kernel, self.stride)
    }

    /// Returns the number of weights of a channel.
    pub(super) fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Returns the geometry for pictures of one size.
    pub(super) fn grid(&self, (batch, height, width): (usize, usize, usize)) -> Grid {
        Grid {
            batch,
            channels: self.channels,
            kernel: self.kernel,
            stride: self.stride,
            height,
            width,
            rows: self.output_size(height),
            columns: self.output_size(width),
            top: self.padding.zeros(height, self.kernel, self.stride).0,
            left: self.padding.zeros(width, self.kernel, self.stride).0,
        }
    }
}

/// A depthwise convolution on pictures of one size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    pub(super) batch: usize,
    pub(super) channels: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Rows of zeros before a picture; as many as needed follow after it.
    pub(super) top: usize,
    /// Columns of zeros before a picture.
    pub(super) left: usize,
}

impl Grid {
    pub(super) fn input_len(&self) -> usize {
        self.batch * self.height * self.width * self.channels
    }

    pub(super) fn output_len(&self) -> usize {
        self.batch * self.rows * self.columns * self.channels
    }

    /// Returns the same convolution in reverse, for use with flipped taps; `None` unless the stride
    /// is 1 and the padding less than the kernel.
    pub(super) fn flipped(self) -> Option<Self> {
        Some(Grid {
            top: (self.kernel - 1).checked_sub(self.top)?,
            left: (self.kernel - 1).checked_sub(self.left)?,
            height: self.rows,
            width: self.columns,
            rows: self.height,
            columns: self.width,
            ..self
        })
        .filter(|_| self.stride == 1)
    }

    /// Returns the taps that reach row (or column) `i` of the input, each with the output that it
    /// belongs to; `before` is the number of zeros before the first row.
    #[inline(always)]
    pub(super) fn outputs(
        self,
        i: usize,
        before: usize,
        outputs: usize,
    ) -> impl Iterator<Item = (usize, usize)> {
        // Input i contributes to output o through tap k where i + before = o * stride + k.
        let (whole, first) = ((i + before) / self.stride, (i + before) % self.stride);
        let taps = (first..self.kernel).step_by(self.stride).enumerate();
        taps.filter_map(move |(index, tap)| {
            let output = whole.checked_sub(index)?;
            (output < outputs).then_some((tap, output))
        })
    }
}

//! Locates the inputs of an output.

use super::shape::Grid;

/// Rows and columns of the kernel that reads pictures in place.
pub(super) const KERNEL: usize = 3;
/// Number of its taps.
pub(super) const TAPS: usize = KERNEL * KERNEL;

/// Locates the inputs of an output.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    pub(super) grid: Grid,
    pub(super) input: &'a [f32],
    pub(super) zeros: &'a [f32],
}

impl Places<'_> {
    /// Returns pointers to the inputs of the outputs from column `x` of row `y` on, each valid for
    /// `channels` values: `COLUMNS` of them in each of the kernel's rows.
    #[inline(always)]
    pub(super) fn pixels<const COLUMNS: usize>(
        &self,
        n: usize,
        y: usize,
        x: usize,
    ) -> [[*const f32; COLUMNS]; KERNEL] {
        let Grid {
            channels, stride, ..
        } = self.grid;
        let mut pixels = [[self.zeros.as_ptr(); COLUMNS]; KERNEL];
        for (ky, row) in pixels.iter_mut().enumerate() {
            let iy = (y * stride + ky).wrapping_sub(self.grid.top);
            if iy >= self.grid.height {
                continue;
            }
            let line = (n * self.grid.height + iy) * self.grid.width;
            for (column, pixel) in row.iter_mut().enumerate() {
                let ix = (x * stride + column).wrapping_sub(self.grid.left);
                if ix < self.grid.width {
                    let at = (line + ix) * channels;
                    *pixel = self.input[at..at + channels].as_ptr();
                }
            }
        }
        pixels
    }
}

impl<'a> Places<'a> {
    /// Returns the input pixels of output `(n, y, x)`, each with the number of its tap.
    #[inline(always)]
    pub(super) fn seen(
        &self,
        n: usize,
        y: usize,
        x: usize,
    ) -> impl Iterator<Item = (usize, &'a [f32])> {
        let (grid, input) = (self.grid, self.input);
        (0..grid.kernel * grid.kernel).filter_map(move |tap| {
            let iy = (y * grid.stride + tap / grid.kernel).wrapping_sub(grid.top);
            let ix = (x * grid.stride + tap % grid.kernel).wrapping_sub(grid.left);
            (iy < grid.height && ix < grid.width).then(|| {
                let pixel = (n * grid.height + iy) * grid.width + ix;
                (tap, &input[pixel * grid.channels..][..grid.channels])
            })
        })
    }
}

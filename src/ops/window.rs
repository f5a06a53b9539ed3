//! A window that slides over a batch of channels-last pictures, and what it sees.

/// Geometry of a sliding window. Position `(n, y, x)` of the grid sees the source rows
/// `y * step + top ..` and columns `x * step + left ..`; outside of the picture there are zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// Pictures.
    pub batch: usize,
    /// Rows of a source picture.
    pub height: usize,
    /// Columns of a source picture.
    pub width: usize,
    /// Channels of the source that are seen.
    pub channels: usize,
    /// The first of them.
    pub first: usize,
    /// Channels of the source in all: values from one pixel to the next.
    pub pitch: usize,
    /// Rows of the grid of positions.
    pub grid_height: usize,
    /// Columns of the grid of positions.
    pub grid_width: usize,
    /// Source pixels from one position to the next.
    pub step: usize,
    /// Source row of the window's first row at grid row 0.
    pub top: isize,
    /// Source column of the window's first column at grid column 0.
    pub left: isize,
    /// Rows of the window.
    pub kernel_height: usize,
    /// Columns of the window.
    pub kernel_width: usize,
}

/// A place of the grid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    /// Picture.
    pub n: usize,
    /// Grid row.
    pub y: usize,
    /// Grid column.
    pub x: usize,
}

impl Window {
    /// Number of positions.
    pub(super) fn positions(&self) -> usize {
        self.batch * self.grid_height * self.grid_width
    }

    /// Number of values that one position sees, ordered by row, column, channel.
    pub(super) fn depth(&self) -> usize {
        self.kernel_height * self.kernel_width * self.channels
    }

    /// Number of values of the source.
    pub(super) fn source_len(&self) -> usize {
        self.batch * self.height * self.width * self.pitch
    }

    /// The position with a given index in row-major order.
    pub(super) fn position(&self, index: usize) -> Position {
        let area = (self.grid_height * self.grid_width).max(1);
        let rest = index % area;
        Position {
            n: index / area,
            y: rest / self.grid_width.max(1),
            x: rest % self.grid_width.max(1),
        }
    }

    /// The position after `p`, without a division.
    #[inline(always)]
    pub(super) fn next(&self, p: Position) -> Position {
        let mut next = Position { x: p.x + 1, ..p };
        if next.x == self.grid_width {
            next.x = 0;
            next.y += 1;
            if next.y == self.grid_height {
                next.y = 0;
                next.n += 1;
            }
        }
        next
    }

    /// Whether every position sees only pixels of the picture.
    fn inside(&self) -> bool {
        let fits = |first: isize, kernel: usize, grid: usize, size: usize| {
            first >= 0 && (grid.max(1) - 1) * self.step + first as usize + kernel <= size
        };
        fits(self.top, self.kernel_height, self.grid_height, self.height)
            && fits(self.left, self.kernel_width, self.grid_width, self.width)
    }

    /// Whether a row of the window is one contiguous piece wherever it is.
    fn merged(&self) -> bool {
        self.inside() && (self.kernel_width == 1 || self.channels == self.pitch)
    }

    /// Whether position `i` sees just pixel `i` of the source, all of it.
    pub(super) fn is_identity(&self) -> bool {
        (self.kernel_height, self.kernel_width, self.step) == (1, 1, 1)
            && (self.top, self.left) == (0, 0)
            && (self.grid_height, self.grid_width) == (self.height, self.width)
            && self.channels == self.pitch
    }

    /// Number of contiguous pieces of what a position sees: in channels-last order a row of the
    /// window is one, unless it may be cut by the picture's border.
    pub(super) fn taps(&self) -> usize {
        if self.depth() == 0 {
            0
        } else if self.merged() {
            self.kernel_height
        } else {
            self.kernel_height * self.kernel_width
        }
    }

    /// Values in a piece; the pieces in order make up the `depth()` values.
    pub(super) fn run(&self) -> usize {
        if self.merged() {
            self.kernel_width * self.channels
        } else {
            self.channels
        }
    }

    /// Calls `visit(tap, piece)` for every piece of what position `p` sees; `zeros` (`run()` of
    /// them) stand for pixels outside of the picture.
    #[inline(always)]
    pub(super) fn taps_of<'a>(
        &self,
        source: &'a [f32],
        zeros: &'a [f32],
        p: Position,
        mut visit: impl FnMut(usize, &'a [f32]),
    ) {
        for tap in self.tap_places() {
            visit(tap.index, self.piece(source, zeros, p, tap));
        }
    }

    /// Where each piece of what a position sees lies in the window.
    #[inline(always)]
    pub(super) fn tap_places(&self) -> impl Iterator<Item = Tap> + use<> {
        let merged = self.merged();
        let rows = if self.depth() == 0 {
            0
        } else {
            self.kernel_height
        };
        let columns = if merged { 1 } else { self.kernel_width };
        (0..rows).flat_map(move |row| {
            (0..columns).map(move |column| Tap {
                index: row * columns + column,
                row,
                column,
                merged,
            })
        })
    }

    /// The piece `tap` of what position `p` sees, see [`Window::taps_of`].
    #[inline(always)]
    pub(super) fn piece<'a>(
        &self,
        source: &'a [f32],
        zeros: &'a [f32],
        p: Position,
        tap: Tap,
    ) -> &'a [f32] {
        let y = (p.y * self.step + tap.row) as isize + self.top;
        let x = (p.x * self.step + tap.column) as isize + self.left;
        let run = if tap.merged {
            self.kernel_width * self.channels
        } else if y < 0 || y >= self.height as isize || x < 0 || x >= self.width as isize {
            return &zeros[..self.channels];
        } else {
            self.channels
        };
        let pixel = (p.n * self.height + y as usize) * self.width + x as usize;
        &source[pixel * self.pitch + self.first..][..run]
    }
}

/// Where a piece lies in a window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tap {
    /// Its number.
    pub index: usize,
    /// Its row.
    row: usize,
    /// Its first column.
    column: usize,
    /// Whether it is a whole row of the window, which lies in the picture wherever the window is.
    merged: bool,
}

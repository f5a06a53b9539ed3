//! A window that slides over a batch of channels-last pictures, and the input that it covers.

/// Geometry of a sliding window. Position `(n, y, x)` of the grid covers the source rows
/// `y * step + top ..` and columns `x * step + left ..`; outside the picture there are zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// Number of pictures.
    pub batch: usize,
    /// Rows of a source picture.
    pub height: usize,
    /// Columns of a source picture.
    pub width: usize,
    /// Number of source channels that are used.
    pub channels: usize,
    /// The first of these channels.
    pub first: usize,
    /// Total number of source channels: values from one pixel to the next.
    pub pitch: usize,
    /// Rows of the grid of positions.
    pub grid_height: usize,
    /// Columns of the grid of positions.
    pub grid_width: usize,
    /// Distance in source pixels from one position to the next.
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

/// A position of the grid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    /// Index of the picture.
    pub n: usize,
    /// Grid row.
    pub y: usize,
    /// Grid column.
    pub x: usize,
}

impl Window {
    /// Returns the number of positions.
    pub(super) fn positions(&self) -> usize {
        self.batch * self.grid_height * self.grid_width
    }

    /// Returns the number of input values of a position, ordered by row, column, channel.
    pub(super) fn depth(&self) -> usize {
        self.kernel_height * self.kernel_width * self.channels
    }

    /// Returns the number of values of the source.
    pub(super) fn source_len(&self) -> usize {
        self.batch * self.height * self.width * self.pitch
    }

    /// Returns the position with a given index in row-major order.
    pub(super) fn position(&self, index: usize) -> Position {
        let area = (self.grid_height * self.grid_width).max(1);
        let rest = index % area;
        Position {
            n: index / area,
            y: rest / self.grid_width.max(1),
            x: rest % self.grid_width.max(1),
        }
    }

    /// Returns the position after `p`, without a division.
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

    /// Returns whether the windows of all positions lie inside the picture.
    fn inside(&self) -> bool {
        let fits = |first: isize, kernel: usize, grid: usize, size: usize| {
            first >= 0 && (grid.max(1) - 1) * self.step + first as usize + kernel <= size
        };
        fits(self.top, self.kernel_height, self.grid_height, self.height)
            && fits(self.left, self.kernel_width, self.grid_width, self.width)
    }

    /// Returns whether a row of the window is contiguous at every position.
    fn merged(&self) -> bool {
        self.inside() && (self.kernel_width == 1 || self.channels == self.pitch)
    }

    /// Returns whether the input of position `i` is exactly pixel `i` of the source, with all
    /// channels.
    pub(super) fn is_identity(&self) -> bool {
        (self.kernel_height, self.kernel_width, self.step) == (1, 1, 1)
            && (self.top, self.left) == (0, 0)
            && (self.grid_height, self.grid_width) == (self.height, self.width)
            && self.channels == self.pitch
    }

    /// Returns the number of contiguous pieces of a position's input: in channels-last order a row
    /// of the window is one piece, unless it may be cut off by the picture's border.
    pub(super) fn taps(&self) -> usize {
        if self.depth() == 0 {
            0
        } else if self.merged() {
            self.kernel_height
        } else {
            self.kernel_height * self.kernel_width
        }
    }

    /// Returns the number of values in a piece; the pieces in order make up the `depth()` values.
    pub(super) fn run(&self) -> usize {
        if self.merged() {
            self.kernel_width * self.channels
        } else {
            self.channels
        }
    }

    /// Calls `visit(tap, piece)` for every piece of the input of position `p`; `zeros` (`run()` of
    /// them) stand in for pixels outside the picture.
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

    /// Returns the location in the window of each piece of a position's input.
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

    /// Returns the piece `tap` of the input of position `p`, see [`Window::taps_of`].
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

/// The location of a piece in a window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tap {
    /// Index of the piece.
    pub index: usize,
    /// Its row in the window.
    row: usize,
    /// Its first column in the window.
    column: usize,
    /// Whether it is a whole row of the window, which is inside the picture at every position.
    merged: bool,
}

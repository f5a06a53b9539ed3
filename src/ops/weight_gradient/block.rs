//! Prepares a block of pixels for the register tiles: copies values and prefetches the next block.

use std::ops::Range;

use super::super::isa::{Arithmetic, Op};
use super::super::tile::{self, PANEL};
use super::super::vector::{self, LINE};
use super::super::window::{Position, Tap, Window};

/// The pixels that the sum runs over.
#[derive(Clone, Copy)]
pub(super) struct Pixels<'a> {
    pub window: &'a Window,
    pub input: &'a [f32],
    /// Stands in for the padding.
    pub zeros: &'a [f32],
    pub output_gradient: &'a [f32],
    /// Number of channels of the output.
    pub columns: usize,
}

/// A part of the gradient.
pub(super) struct Part {
    /// Range of contiguous pieces of a pixel's input.
    pub taps: Range<usize>,
    /// Range of values within each of these pieces.
    pub channels: Range<usize>,
    /// Range of channels of the output.
    pub columns: Range<usize>,
    /// Number of register tiles that the channels are split into.
    pub tiles: usize,
}

impl Part {
    /// Returns the channels of every tile: of equal size, so that the last one is not almost empty.
    #[inline(always)]
    pub(super) fn cut(&self) -> impl Iterator<Item = Range<usize>> {
        let (size, larger) = (
            self.channels.len() / self.tiles,
            self.channels.len() % self.tiles,
        );
        let mut end = self.channels.start;
        (0..self.tiles).map(move |tile| {
            let start = end;
            end += size + usize::from(tile < larger);
            start..end
        })
    }
}

/// Returns the number of values from one tile's (or panel's) copy of a block of pixels to the next:
/// one cache line more than the copy takes, so that they do not all map to the same set of the
/// cache.
pub(super) fn apart(pixels: usize, width: usize) -> usize {
    pixels * width + LINE
}

/// Copies the inputs of a block of pixels to `[taps][tiles][pixels][pitch]` (tiles [`apart`]), so
/// that a tile reads consecutive cache lines: in a picture, its values are whole pixels apart, at
/// strides at which they would evict each other from the cache. Returns the position after the last
/// one.
pub(super) struct Copy<'a> {
    pub window: &'a Window,
    pub input: &'a [f32],
    /// Stands in for the padding.
    pub zeros: &'a [f32],
    pub part: &'a Part,
    /// Position of the first pixel.
    pub position: Position,
    pub pixels: usize,
    pub copies: &'a mut [f32],
}

impl Op for Copy<'_> {
    type Output = Position;
    #[inline(always)]
    fn run<A: Arithmetic>(self) -> Position {
        let Copy {
            window,
            part,
            pixels,
            copies,
            ..
        } = self;
        let pitch = tile::pitch::<A::Vector>();
        let taps = &part.taps;
        let apart = apart(pixels, pitch);
        assert_eq!(copies.len(), taps.len() * part.tiles * apart);
        let mut after = self.position;
        for tap in window.tap_places().filter(|tap| taps.contains(&tap.index)) {
            let mut position = self.position;
            let first = (tap.index - taps.start) * part.tiles;
            for pixel in 0..pixels {
                let seen = window.piece(self.input, self.zeros, position, tap);
                for (tile, channels) in part.cut().enumerate() {
                    let from = &seen[channels];
                    let place = (first + tile) * apart + pixel * pitch;
                    let to = &mut copies[place..][..pitch];
                    vector::copy_filled::<A::Vector>(from, to);
                }
                position = window.next(position);
            }
            after = position;
        }
        after
    }
}

/// Copies the output gradient of a block of pixels to `[panels][pixels][PANEL]` (panels [`apart`]),
/// with zeros beyond the last column. All values of a pixel are read at once: reading pieces that
/// are whole pixels apart would mean waiting for each of them.
pub(super) struct Load<'a> {
    /// Gradient of the block's pixels, all channels.
    pub gradient: &'a [f32],
    /// Number of channels of the output.
    pub columns: usize,
    pub part: &'a Part,
    pub panels: &'a mut [f32],
}

impl Op for Load<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let columns = self.part.columns.clone();
        let apart = apart(self.gradient.len() / self.columns.max(1), PANEL);
        for (pixel, row) in self.gradient.chunks_exact(self.columns).enumerate() {
            for (panel, from) in row[columns.clone()].chunks(PANEL).enumerate() {
                let to = &mut self.panels[panel * apart + pixel * PANEL..][..PANEL];
                vector::copy_filled::<A::Vector>(from, to);
            }
        }
    }
}

/// Adds the rows of a panel to `sums` (`PANEL` values).
pub(super) struct AddRows<'a> {
    pub panel: &'a [f32],
    pub sums: &'a mut [f32],
}

impl Op for AddRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let mut sums = [0.0f32; PANEL];
        for row in self.panel.as_chunks::<PANEL>().0 {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
        for (sum, add) in self.sums.iter_mut().zip(sums) {
            *sum += add;
        }
    }
}

/// Prefetches, step by step, what the next block of pixels needs, so that it is in cache when this
/// block is done.
pub(super) struct Ahead<'a> {
    pub all: Pixels<'a>,
    pub part: &'a Part,
    /// Position of pixel `next`.
    pub position: Position,
    /// The piece to prefetch: of the pieces shared by neighbouring windows, the one reached first.
    pub tap: Option<Tap>,
    /// Index of the next pixel to prefetch.
    pub next: usize,
    /// End of the next block.
    pub end: usize,
    /// Number of calls of `step` still to come.
    pub calls: usize,
}

impl Ahead<'_> {
    /// Prefetches the next few pixels; must be called before each piece of this block's work.
    pub(super) fn step(&mut self) {
        let Pixels {
            window,
            input,
            zeros,
            output_gradient,
            columns,
        } = self.all;
        let pixels = (self.end - self.next).div_ceil(self.calls.max(1));
        self.calls = self.calls.saturating_sub(1);
        for pixel in self.next..self.next + pixels {
            vector::prefetch(&output_gradient[pixel * columns..][self.part.columns.clone()]);
            if let Some(tap) = self.tap {
                let seen = window.piece(input, zeros, self.position, tap);
                vector::prefetch(&seen[self.part.channels.clone()]);
            }
            self.position = window.next(self.position);
        }
        self.next += pixels;
    }
}

//! A block of pixels on its way to the register tiles: what is copied for them, and what is asked for
//! ahead.

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
    /// Stands for the padding.
    pub zeros: &'a [f32],
    pub output_gradient: &'a [f32],
    /// Channels of the output.
    pub columns: usize,
}

/// A part of the gradient.
pub(super) struct Part {
    /// Pieces of what a pixel sees.
    pub taps: Range<usize>,
    /// Values of each of those pieces.
    pub channels: Range<usize>,
    /// Channels of the output.
    pub columns: Range<usize>,
    /// Into how many register tiles the channels are cut.
    pub tiles: usize,
}

impl Part {
    /// The channels of every tile: of equal size, so that no last one is nearly empty.
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

/// Values from one tile's (or panel's) copies of a block of pixels to the next: a cache line more than
/// they take, lest all fall into the same set of the cache.
pub(super) fn apart(pixels: usize, width: usize) -> usize {
    pixels * width + LINE
}

/// Copies what a block of pixels sees to `[taps][tiles][pixels][pitch]` (tiles [`apart`]), so that a tile reads one
/// cache line after the other: in a picture its values lie whole pixels apart, at distances at which
/// they would drive each other out of the cache. Returns the position after the last.
pub(super) struct Copy<'a> {
    pub window: &'a Window,
    pub input: &'a [f32],
    /// Stands for the padding.
    pub zeros: &'a [f32],
    pub part: &'a Part,
    /// Of the first pixel.
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

/// Copies the output gradient of a block of pixels to `[panels][pixels][PANEL]` (panels [`apart`]), with zeros where
/// there are no more columns. A pixel's values are read in one go: pieces that lie whole pixels
/// apart would each be waited for.
pub(super) struct Load<'a> {
    /// Of the block's pixels, all channels.
    pub gradient: &'a [f32],
    /// Channels of the output.
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

/// Asks, bit by bit, for what the next block of pixels will need, so that it is there when this
/// block is done.
pub(super) struct Ahead<'a> {
    pub all: Pixels<'a>,
    pub part: &'a Part,
    /// Of pixel `next`.
    pub position: Position,
    /// The piece to ask for: of what neighbours share it is the one that is seen first.
    pub tap: Option<Tap>,
    /// The next pixel to ask for.
    pub next: usize,
    /// The end of the next block.
    pub end: usize,
    /// How often `step` will still be called.
    pub calls: usize,
}

impl Ahead<'_> {
    /// To be called before each piece of this block's work.
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

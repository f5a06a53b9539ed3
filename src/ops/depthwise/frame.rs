//! Copies of a few channels of a picture with its zero padding.

use std::cell::RefCell;
use std::ops::Range;

use super::super::buffer::AlignedVec;
use super::super::vector::Vector;

/// Scratch memory of a task.
#[derive(Default)]
pub(super) struct Scratch {
    /// Copy of the source, `[vector][row][column][lane]`.
    pub source: AlignedVec,
    /// `[tap][lane]`.
    pub taps: AlignedVec,
    /// A row of outputs, or the output's gradient as `[vector][row][column][lane]`.
    pub output: AlignedVec,
}

thread_local! {
    pub(super) static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Returns how many outputs a register block should have for a row of `columns`: the size that
/// needs the fewest blocks, and among these the one with the least waste.
pub(super) fn block<const N: usize>(columns: usize, sizes: [usize; N]) -> usize {
    let cost = |&size: &usize| (columns.div_ceil(size), size);
    sizes.into_iter().min_by_key(cost).unwrap_or(1)
}

/// The part of a picture that a copy covers: rows and columns may begin before the picture and end
/// after it.
pub(super) struct Frame {
    /// Height, width and channels of the picture.
    pub picture: (usize, usize, usize),
    pub top: isize,
    pub left: isize,
    pub rows: usize,
    pub columns: usize,
}

impl Frame {
    /// Returns the number of values of a vector's copy.
    #[inline(always)]
    pub(super) fn plane<V: Vector>(&self) -> usize {
        self.rows * self.columns * V::LANES
    }

    /// Copies some channels to `[vector][row][column][lane]`; values outside the picture are left
    /// unchanged. With groups of width 2 or more, every vector becomes that many planes: plane `j`
    /// holds channel `j` of its group in every lane.
    #[inline(always)]
    pub(super) fn copy<V: Vector>(
        &self,
        picture: &[f32],
        channels: Range<usize>,
        group: usize,
        to: &mut [f32],
    ) {
        let (height, width, all) = self.picture;
        let plane = self.plane::<V>();
        assert!(
            channels.end <= all && to.len() >= channels.len().div_ceil(V::LANES) * group * plane
        );
        let places: [[i32; 16]; 8] = std::array::from_fn(|j| {
            std::array::from_fn(|lane| (lane - lane % group + j % group) as i32)
        });
        let cut = |first: isize, count: usize, size: usize| {
            let start = (-first).clamp(0, count as isize);
            let end = (size as isize - first).clamp(start, count as isize);
            start as usize..end as usize
        };
        let columns = cut(self.left, self.columns, width);
        for row in cut(self.top, self.rows, height) {
            let y = (row as isize + self.top) as usize;
            for column in columns.clone() {
                let x = (column as isize + self.left) as usize;
                let pixel = &picture[(y * width + x) * all..][channels.clone()];
                let place = (row * self.columns + column) * V::LANES;
                let mut to = to[place..].as_mut_ptr();
                let mut at = 0;
                // SAFETY: only the pixel's values are read, and whole vectors are written to as
                // many planes as there are vectors, by the assertion.
                unsafe {
                    while at < pixel.len() {
                        let values = V::load(pixel.as_ptr().add(at), pixel.len() - at);
                        at += V::LANES;
                        if group == 1 {
                            values.store(to, V::LANES);
                            to = to.wrapping_add(plane);
                            continue;
                        }
                        for lanes in &places[..group] {
                            values.permute(lanes).store(to, V::LANES);
                            to = to.wrapping_add(plane);
                        }
                    }
                }
            }
        }
    }
}

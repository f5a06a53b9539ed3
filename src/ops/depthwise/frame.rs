//! Copies of a few channels of a picture, with the zeros around it.

use std::cell::RefCell;
use std::ops::Range;

use super::super::buffer::AlignedVec;
use super::super::vector::Vector;

/// What a task writes for itself.
#[derive(Default)]
pub(super) struct Scratch {
    /// `[vector][row][column][lane]` of the source.
    pub source: AlignedVec,
    /// `[tap][lane]`.
    pub taps: AlignedVec,
    /// A row of outputs, or the output's gradient `[vector][row][column][lane]`.
    pub output: AlignedVec,
}

thread_local! {
    pub(super) static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Outputs of a register block for a row of so many: the fewest blocks, of the least waste.
pub(super) fn block<const N: usize>(columns: usize, sizes: [usize; N]) -> usize {
    let cost = |&size: &usize| (columns.div_ceil(size), size);
    sizes.into_iter().min_by_key(cost).unwrap_or(1)
}

/// Where a part of a picture lies in a copy: rows and columns may begin before the picture and end
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
    /// Values of a vector's copy.
    #[inline(always)]
    pub(super) fn plane<V: Vector>(&self) -> usize {
        self.rows * self.columns * V::LANES
    }

    /// Copies some channels to `[vector][row][column][lane]`; what lies outside of the picture is
    /// left as it is. In groups of a width more than 1 every vector is followed by as many planes:
    /// plane `j` holds channel `j` of its group in every lane.
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
                // SAFETY: the pixel's values are read, and whole vectors written to as many planes
                // as there are vectors, by the assertion.
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

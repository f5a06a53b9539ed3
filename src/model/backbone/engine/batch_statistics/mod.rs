//! Training with batch statistics.
//!
//! A batch norm must have seen the whole batch before it can write its first value, so the threads
//! synchronise after every layer. Between two synchronisation points, each thread takes a few
//! images through everything that can be done while they are in cache. Forward: the norm of the
//! layer before, the convolution, and the moments of its output. Backward: the gradients of the
//! norm, the weights and the input, and the sums that the norm before will need.
//!
//! How images are grouped depends on the shapes only, and partial results are combined in order, so
//! the result does not depend on the number of threads.

mod backward;
mod forward;

use std::ops::Range;

use crate::ops::Buffer;
use crate::ops::batch_norm::Normalisation;

/// The output of a convolution, and the batch norm that follows.
#[derive(Debug)]
pub(super) struct Normalised {
    raw: Buffer,
    norm: Normalisation,
}

/// The division of a batch into groups of images.
#[derive(Clone, Copy)]
struct Groups {
    /// The number of images in the batch.
    batch: usize,
    /// The number of images per group.
    size: usize,
}

impl Groups {
    fn count(self) -> usize {
        self.batch.div_ceil(self.size)
    }

    /// Returns the images of a group.
    fn pictures(self, group: usize) -> Range<usize> {
        group * self.size..((group + 1) * self.size).min(self.batch)
    }
}

/// Returns the values of some images, each of `size` values.
fn of<'a>(values: &'a [f32], pictures: &Range<usize>, size: usize) -> &'a [f32] {
    &values[pictures.start * size..pictures.end * size]
}

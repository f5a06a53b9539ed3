//! Training with the statistics of the batch.
//!
//! A batch norm must have seen the whole batch before it can write its first value, so the threads
//! meet after every layer. Between two meetings each of them takes a few pictures through all that
//! can be done while they lie in cache. Forward: the norm of the layer before, the convolution, the
//! moments of what it makes. Backward: the gradients of the norm, of the weights and of the input,
//! and the sums that the norm before will ask for.
//!
//! How pictures are put together depends on the shapes alone, and partial results are combined in
//! order: the number of threads changes nothing.

mod backward;
mod forward;

use std::ops::Range;

use crate::ops::Buffer;
use crate::ops::batch_norm::Normalisation;

/// Output of a convolution, and the batch norm that follows.
#[derive(Debug)]
pub(super) struct Normalised {
    raw: Buffer,
    norm: Normalisation,
}

/// How the pictures of a batch are put together.
#[derive(Clone, Copy)]
struct Groups {
    /// Pictures in all.
    batch: usize,
    /// Pictures of a group.
    size: usize,
}

impl Groups {
    fn count(self) -> usize {
        self.batch.div_ceil(self.size)
    }

    /// The pictures of a group.
    fn pictures(self, group: usize) -> Range<usize> {
        group * self.size..((group + 1) * self.size).min(self.batch)
    }
}

/// The values of some pictures, each of `size` values.
fn of<'a>(values: &'a [f32], pictures: &Range<usize>, size: usize) -> &'a [f32] {
    &values[pictures.start * size..pictures.end * size]
}

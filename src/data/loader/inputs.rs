//! Whatever gives a network its batches.

use std::fmt;

use super::batch::Batch;
use crate::error::Result;

/// Batches in order; after an error no more follow.
pub type Batches<'a> = Box<dyn Iterator<Item = Result<Batch>> + 'a>;

/// The inputs of a network for the images of one label table: pictures, as a
/// [`Loader`](super::Loader) decodes them, or features of them that are known already.
pub trait Inputs: fmt::Debug {
    /// The batches of a training epoch over the images `order` from batch `start` on; `at` is the
    /// seed and the epoch. See [`Loader::epoch`](super::Loader::epoch).
    fn training(&self, order: &[u32], at: (u64, u64), start: usize) -> Batches<'_>;

    /// Views of each picture whose scores testing averages, at least one.
    fn num_views(&self) -> usize;

    /// The batches of `order` as testing shows the pictures in `view`, below
    /// [`num_views`](Self::num_views). All views give the same rows.
    fn testing(&self, order: &[u32], view: usize) -> Batches<'_>;
}

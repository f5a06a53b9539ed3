//! The trait for sources of a network's batches.

use std::fmt;

use super::batch::Batch;
use crate::error::Result;

/// Batches in order; after an error there are no more.
pub type Batches<'a> = Box<dyn Iterator<Item = Result<Batch>> + 'a>;

/// The inputs of a network for the images of one label table: pictures, as decoded by a
/// [`Loader`](super::Loader), or precomputed features.
pub trait Inputs: fmt::Debug {
    /// Returns the batches of a training epoch over the images `order`, starting at batch `start`.
    /// `at` is the seed and the epoch. See [`Loader::epoch`](super::Loader::epoch).
    fn training(&self, order: &[u32], at: (u64, u64), start: usize) -> Batches<'_>;

    /// Returns the number of views of each picture whose scores are averaged in testing, at least
    /// one.
    fn num_views(&self) -> usize;

    /// Returns the batches of `order` as testing shows the pictures in `view`, which is below
    /// [`num_views`](Self::num_views). All views yield the same rows.
    fn testing(&self, order: &[u32], view: usize) -> Batches<'_>;
}

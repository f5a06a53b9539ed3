//! Execution of a few images through many layers, rather than all images through one layer at a
//! time.
//!
//! The output of a layer then stays in cache for the next one, and threads synchronise once per
//! pass rather than once per layer. This is possible wherever images do not depend on each other,
//! that is, without batch statistics.

mod backward;
mod forward;
mod step;

use super::network::Network;

/// The number of pixels of a layer that a group of images should have to make loading the weights
/// worthwhile.
const PIXELS: usize = 392;

impl Network {
    /// Returns how many images are grouped for a node with an output of this size.
    pub(super) fn group_size(batch: usize, (height, width): (usize, usize)) -> usize {
        let pictures = PIXELS
            .div_ceil((height * width).max(1))
            .clamp(1, batch.max(1));
        // Makes groups of equal size.
        batch.div_ceil(batch.div_ceil(pictures).max(1)).max(1)
    }
}

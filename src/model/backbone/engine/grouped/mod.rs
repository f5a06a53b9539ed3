//! Running a few pictures through many layers, instead of all pictures through one.
//!
//! What a layer hands to the next then stays in cache, and threads meet once a pass instead of once
//! a layer. That is possible wherever pictures do not depend on each other, that is without batch
//! statistics.

mod backward;
mod forward;
mod step;

use super::network::Network;

/// Pixels of a layer that a group of pictures should have, so that the weights are worth loading.
const PIXELS: usize = 392;

impl Network {
    /// Pictures that go together through a node with an output of this size.
    pub(super) fn group_size(batch: usize, (height, width): (usize, usize)) -> usize {
        let pictures = PIXELS
            .div_ceil((height * width).max(1))
            .clamp(1, batch.max(1));
        // Groups of equal size.
        batch.div_ceil(batch.div_ceil(pictures).max(1)).max(1)
    }
}

//! A batch, and the buffers that batches share.

use std::sync::{Mutex, Weak};

use super::lock::lock;

/// A batch of N pictures of H x W pixels with their labels over C classes. Its buffers go back to
/// the loader when it is dropped; take them (`std::mem::take`) to keep them.
#[derive(Debug, Default)]
pub struct Batch {
    /// Normalised pictures, `[N, H, W, 3]`, channels last.
    pub images: Vec<f32>,
    /// Labels as 0 and 1 (between them after mixup), `[N, C]`.
    pub targets: Vec<f32>,
    /// Which images of the label table these are, `[N]`.
    pub indices: Vec<u32>,
    /// N, at least 1.
    pub num_images: usize,
    pub(super) pool: Weak<Pool>,
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        (&self.images, &self.targets, &self.indices)
            == (&other.images, &other.targets, &other.indices)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            let buffers = Buffers {
                images: std::mem::take(&mut self.images),
                targets: std::mem::take(&mut self.targets),
                indices: std::mem::take(&mut self.indices),
            };
            let mut free = lock(&pool.0);
            if buffers.images.capacity() > 0 && free.len() < MAX_FREE_BUFFERS {
                free.push(buffers);
            }
        }
    }
}

/// Buffers beyond this many that come back are freed: the consumer has kept batches for a while.
const MAX_FREE_BUFFERS: usize = 64;

/// What a batch is made of.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub images: Vec<f32>,
    pub targets: Vec<f32>,
    pub indices: Vec<u32>,
}

/// Buffers that no batch uses.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Vec<Buffers>>);

impl Pool {
    /// Buffers of any content, used before if there are such.
    pub(super) fn take(&self) -> Buffers {
        lock(&self.0).pop().unwrap_or_default()
    }
}

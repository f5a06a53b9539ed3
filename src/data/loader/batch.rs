//! Batches and the buffers that they share.

use std::sync::{Mutex, Weak};

use super::lock::lock;

/// What a batch contains for each picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The normalised picture, `[side, side, 3]`.
    Pixels {
        /// Height and width of the picture.
        side: usize,
    },
    /// A single feature vector.
    Pooled {
        /// Length of the vector.
        width: usize,
    },
    /// A feature vector per position, `[rows, columns, width]`.
    Maps {
        /// Number of positions from top to bottom.
        rows: usize,
        /// Number of positions from left to right.
        columns: usize,
        /// Features per position.
        width: usize,
    },
}

impl Form {
    /// Returns how many numbers a batch contains per picture.
    pub fn len(self) -> usize {
        match self {
            Form::Pixels { side } => side * side * 3,
            Form::Pooled { width } => width,
            Form::Maps {
                rows,
                columns,
                width,
            } => rows * columns * width,
        }
    }

    /// Returns true if there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// A batch of N pictures, or of their features, with their labels over C classes. Its buffers
/// return to the loader when it is dropped; take them (`std::mem::take`) to keep them.
#[derive(Debug)]
pub struct Batch {
    /// What it contains for each picture.
    pub form: Form,
    /// The pictures one after the other, [`Form::len`] numbers each.
    pub inputs: Vec<f32>,
    /// Labels as 0 and 1 (or values in between after mixup), `[N, C]`.
    pub targets: Vec<f32>,
    /// Indices of the images in the label table, `[N]`.
    pub indices: Vec<u32>,
    /// N, at least 1.
    pub num_images: usize,
    pub(super) pool: Weak<Pool>,
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        (self.form, &self.inputs, &self.targets, &self.indices)
            == (other.form, &other.inputs, &other.targets, &other.indices)
    }
}

impl Batch {
    /// Creates a batch that does not come from a loader; its buffers are not reused.
    pub fn new(form: Form, inputs: Vec<f32>, targets: Vec<f32>, indices: Vec<u32>) -> Self {
        Batch {
            form,
            num_images: indices.len(),
            inputs,
            targets,
            indices,
            pool: Weak::new(),
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            let buffers = Buffers {
                inputs: std::mem::take(&mut self.inputs),
                targets: std::mem::take(&mut self.targets),
                indices: std::mem::take(&mut self.indices),
            };
            let mut free = lock(&pool.0);
            if buffers.inputs.capacity() > 0 && free.len() < MAX_FREE_BUFFERS {
                free.push(buffers);
            }
        }
    }
}

/// Returned buffers beyond this many are freed: the consumer has held on to batches for a while.
const MAX_FREE_BUFFERS: usize = 64;

/// The buffers of a batch.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub inputs: Vec<f32>,
    pub targets: Vec<f32>,
    pub indices: Vec<u32>,
}

/// Buffers that no batch is using.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Vec<Buffers>>);

impl Pool {
    /// Returns buffers with arbitrary content, reused ones if available.
    pub(super) fn take(&self) -> Buffers {
        lock(&self.0).pop().unwrap_or_default()
    }
}

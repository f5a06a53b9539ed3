//! A batch, and the buffers that batches share.

use std::sync::{Mutex, Weak};

use super::lock::lock;

/// What a batch holds of each picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The normalised picture, `[side, side, 3]`.
    Pixels {
        /// Its height and width.
        side: usize,
    },
    /// One vector of features.
    Pooled {
        /// Its length.
        width: usize,
    },
    /// A vector of features for each place, `[rows, columns, width]`.
    Maps {
        /// Places from top to bottom.
        rows: usize,
        /// Places from left to right.
        columns: usize,
        /// Features of a place.
        width: usize,
    },
}

impl Form {
    /// Numbers that a batch holds of each picture.
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

    /// True if that is none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// A batch of N pictures, or of their features, with their labels over C classes. Its buffers go
/// back to the loader when it is dropped; take them (`std::mem::take`) to keep them.
#[derive(Debug)]
pub struct Batch {
    /// What it holds of each picture.
    pub form: Form,
    /// The pictures one after the other, each of [`Form::len`] numbers.
    pub inputs: Vec<f32>,
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
        (self.form, &self.inputs, &self.targets, &self.indices)
            == (other.form, &other.inputs, &other.targets, &other.indices)
    }
}

impl Batch {
    /// A batch of what does not come from a loader; its buffers serve nobody else.
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

/// Buffers beyond this many that come back are freed: the consumer has kept batches for a while.
const MAX_FREE_BUFFERS: usize = 64;

/// What a batch is made of.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub inputs: Vec<f32>,
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

//! Training: the loop, checkpoints, records.

pub mod checkpoint;
pub mod fit;
pub mod history;
pub mod recorder;
pub mod tensorboard;

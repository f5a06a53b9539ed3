//! Training: the loop, checkpoints, records.

pub mod checkpoint;
pub mod fit;
pub mod health;
pub mod history;
pub mod record;
pub mod recorder;
pub mod tensorboard;

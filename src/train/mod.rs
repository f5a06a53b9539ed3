//! Training: the loop, its steps, checkpoints and records.

pub mod checkpoint;
pub mod config;
pub mod fit;
pub mod health;
pub mod history;
pub mod record;
pub mod recorder;
pub mod session;
pub mod start;
pub mod step;
pub mod tensorboard;
pub mod training;

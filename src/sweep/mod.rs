//! Sweeps: methods x seeds x a grid over any key, on this machine or through Slurm.
//!
//! A sweep file becomes a [`Plan`]: a folder with one resolved configuration a run and the split
//! that all of them share. Every run is a process of its own that goes on where it stood, so that
//! whoever ends, the sweep or a run, the same command goes on and ends with the same tables.

mod collect;
mod file;
mod local;
mod plan;
mod slurm;
mod state;
mod task;

pub use collect::{Collected, collect};
pub use file::{SweepConfig, SweepFile};
pub use local::{Failure, LocalOptions, run_local};
pub use plan::{Plan, PlannedRun};
pub use slurm::{Slurm, SlurmConfig, Task as SlurmTask, requeue_or_leave};
pub use state::{RunState, State};
pub use task::run_task;

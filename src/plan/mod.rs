//! Plans: methods x seeds x a grid over any key -> runs, and the executors that run them.
//!
//! An experiment or a sweep file becomes a [`Plan`]: a folder with one resolved configuration per
//! run and the split they all share. An [`Executor`] runs them: this process, processes of this
//! machine, or Slurm. Every run resumes where it stopped, so whatever interrupts the plan or a run,
//! the same command continues and produces the same tables.

mod check;
mod collect;
mod executor;
mod folder;
mod grid;
mod slurm_config;
mod state;
mod sweep_file;
mod task;
pub mod tune;
mod tune_config;

pub use check::check;
pub use collect::{Collected, collect};
pub use executor::failure::{Failure, verdict};
pub use executor::here::Here;
pub use executor::processes::Processes;
pub use executor::slurm::{JobArray, Slurm, Task as SlurmTask, requeue_or_leave};
pub use executor::{Executor, Outcome};
pub use folder::{Plan, PlannedRun, Replace};
pub use slurm_config::SlurmConfig;
pub use state::{RunState, State};
pub use sweep_file::{SweepConfig, SweepFile};
pub use task::run_task;

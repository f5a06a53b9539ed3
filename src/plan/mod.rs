//! Plans: methods x seeds x a grid over any key -> runs, and who runs them.
//!
//! An experiment or a sweep file becomes a [`Plan`]: a folder with one resolved configuration a run
//! and the split that all of them share. An [`Executor`] runs them: this process, processes of this
//! machine, or Slurm. Every run goes on where it stood, so that whatever ends, the plan or a run,
//! the same command goes on and ends with the same tables.

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

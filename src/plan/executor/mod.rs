//! Executors, which run the runs of a plan: this process, processes of this machine, or Slurm.

pub(super) mod failure;
pub(super) mod here;
pub(super) mod one;
pub(super) mod processes;
pub(super) mod slurm;
mod slurm_script;

use failure::Failure;

use super::folder::Plan;
use crate::data::split::Split;
use crate::error::Result;

/// Runs the unfinished runs of a prepared plan.
pub trait Executor {
    /// Runs the runs, or submits them. A run that fails does not stop the others.
    ///
    /// # Errors
    /// Fails if a signal arrived (the runs save and exit), or if no run could be started at all.
    fn execute(&self, plan: &Plan, split: &Split) -> Result<Outcome>;
}

/// The outcome of executing a plan.
#[derive(Debug)]
pub enum Outcome {
    /// All runs have ended, these with a failure.
    Ended(Vec<Failure>),
    /// The runs continue without this process, as the job with this number.
    Submitted(String),
}

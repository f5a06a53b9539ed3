//! Who runs the runs of a plan: this process, processes of this machine, or Slurm.

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

/// Runs whatever of a prepared plan is not finished.
pub trait Executor {
    /// Runs the runs, or hands them over. One that fails does not stop the others.
    ///
    /// # Errors
    /// A signal came (the runs save and leave), or no run could be started at all.
    fn execute(&self, plan: &Plan, split: &Split) -> Result<Outcome>;
}

/// What became of a plan.
#[derive(Debug)]
pub enum Outcome {
    /// All runs have come to an end, these in a failure.
    Ended(Vec<Failure>),
    /// The runs go on without this process, as the job of this number.
    Submitted(String),
}

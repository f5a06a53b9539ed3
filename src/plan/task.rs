//! One run of a plan in a separate process, as started by an executor.

use super::executor::one;
use super::folder::{Plan, PlannedRun, Replace};
use crate::error::Result;
use crate::job::{self, Machine, Room};

/// Trains the run from its current state, and evaluates it. Finished work is not repeated.
pub fn run_task(plan: &Plan, run: &PlannedRun, machine: &Machine, replace: Replace) -> Result<()> {
    let split = plan.split()?;
    job::tell([&run.experiment], &split, Room::of(&machine.device, 1))?;
    match one::run(plan, run, &split, machine, replace) {
        Ok(None) => tracing::info!("{}: finished already", run.name),
        Ok(Some(evaluation)) => tracing::info!("{}: mAP {}", run.name, evaluation.one_line()),
        Err(stopped) => return Err(stopped.error),
    }
    Ok(())
}

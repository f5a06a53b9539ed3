//! One run of a sweep, in a process of its own.

use std::time::Duration;

use super::plan::{Plan, PlannedRun};
use super::state::{is_finished, manifest_of};
use crate::error::Result;
use crate::job::{self, Evaluate, EvaluatedSet, Existing, Machine};
use crate::report::evaluation::Options;

/// How long a run waits for a process that an earlier, killed sweep left behind: it has been told
/// to save and leave.
const PATIENCE: Duration = Duration::from_secs(600);

/// Trains the run, from where it stands, and evaluates it. What is done already is not done again.
/// `replace` takes the place of a run with another configuration.
pub fn run_task(plan: &Plan, run: &PlannedRun, machine: &Machine, replace: bool) -> Result<()> {
    let split = plan.split()?;
    let folder = plan.run_dir(run);
    let machine = Machine {
        patience: PATIENCE,
        ..machine.clone()
    };
    let ours = manifest_of(&folder, run, &split);
    if ours.as_ref().is_some_and(|m| is_finished(&folder, m)) {
        tracing::info!("{}: finished already", run.name);
        return Ok(());
    }
    let existing = match replace && ours.is_none() {
        true => Existing::Overwrite,
        false => Existing::ResumeOrStart,
    };
    job::check_folder(&folder, existing)?;
    let split_folder = plan.split_folder()?;
    job::train(
        &run.experiment,
        &split,
        split_folder,
        &folder,
        &machine,
        existing,
    )?;
    let evaluate = Evaluate {
        run: &folder,
        set: EvaluatedSet::Test,
        checkpoint: "last",
        fit_thresholds: false,
        split_folder: Some(split_folder),
    };
    let evaluation = job::evaluate(&evaluate, &machine, Options::default())?;
    tracing::info!("{}: mAP {}", run.name, evaluation.one_line());
    Ok(())
}

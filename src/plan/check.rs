//! Checks of a plan before its first training.

use super::folder::{Plan, PlannedRun};
use super::state::{RunState, State};
use crate::config::Experiment;
use crate::data::split::Split;
use crate::error::Result;
use crate::job::{self, Room};
use crate::model::weights;

/// Checks what the unfinished runs of a prepared plan need, and logs anything unusual: the test
/// set, the pictures, enough images for a batch, the weight files (those from the hub are
/// downloaded now, once for all runs). `room` says where the runs will hold their batches.
///
/// # Errors
/// Fails if something is missing.
pub fn check(plan: &Plan, split: &Split, again: bool, room: Room) -> Result<()> {
    let folder = plan.split_folder()?;
    let mut waiting: Vec<&PlannedRun> = Vec::new();
    for run in &plan.runs {
        match RunState::read(plan, run, split)?.state {
            State::Finished if !again => {
                job::add_events(&run.experiment, split, &plan.run_dir(run))?;
            }
            _ => waiting.push(run),
        }
    }
    let Some(first) = waiting.first() else {
        return Ok(());
    };
    job::check_images(&first.experiment, split, folder, true)?;
    let mut sources: Vec<&str> = Vec::new();
    for PlannedRun { experiment, .. } in &waiting {
        let Experiment { train, sampler, .. } = experiment;
        (train.steps_per_epoch(sampler, &split.train)).map_err(|e| experiment.locate(e))?;
        let source = experiment.model.weights.as_str();
        if !source.is_empty() && !sources.contains(&source) {
            weights::locate(source).map_err(|e| experiment.locate(e))?;
            sources.push(source);
        }
    }
    job::tell(waiting.iter().map(|run| &run.experiment), split, room)?;
    Ok(())
}

//! One run of a plan, from its current state to its evaluation.

use std::time::Duration;

use crate::data::split::{Set, Split};
use crate::error::{Error, Result};
use crate::job::{Evaluate, Machine, Train};
use crate::plan::folder::{Plan, PlannedRun, Replace};
use crate::plan::state::{is_finished, manifest_of};
use crate::report::evaluation::{Evaluation, Options};
use crate::run_dir::{Checkpoint, Existing};

/// How long a run waits for another process that holds its folder, such as one left behind by a
/// killed plan, which has been asked to save and exit.
const PATIENCE: Duration = Duration::from_secs(600);

/// Why a run did not finish.
#[derive(Debug)]
pub(in crate::plan) struct Stopped {
    /// The cause.
    pub error: Error,
    /// Whether the training had begun.
    pub began: bool,
}

/// Trains the run from its current state, and evaluates it on the plan's sets. Finished work is not
/// repeated unless `replace` says so; the evaluation on the test set is `None` if it was not done
/// now.
pub(in crate::plan) fn run(
    plan: &Plan,
    run: &PlannedRun,
    split: &Split,
    machine: &Machine,
    replace: Replace,
) -> Result<Option<Evaluation>, Stopped> {
    let before = |error| Stopped {
        error,
        began: false,
    };
    let machine = &Machine {
        patience: PATIENCE,
        ..machine.clone()
    };
    let folder = plan.run_dir(run);
    let ours = manifest_of(&folder, run, split);
    let is_done = |set: Set| {
        replace != Replace::Everything
            && (ours.as_ref()).is_some_and(|manifest| is_finished(&folder, manifest, &[set]))
    };
    let wanted: Vec<Set> = (plan.sets.iter().copied())
        .filter(|&set| !is_done(set))
        .collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    let existing = match (replace, ours) {
        (Replace::Everything, _) | (Replace::Others, None) => Existing::Overwrite,
        _ => Existing::ResumeOrStart,
    };
    folder.check(existing).map_err(before)?;
    let split_folder = plan.split_folder().map_err(before)?;
    let train = Train {
        experiment: &run.experiment,
        split,
        split_folder,
        run: &folder,
        machine,
        existing,
    };
    let mut model = match train.finished().map_err(before)? {
        Some(_) => None,
        None => {
            let prepared = train.prepare().map_err(before)?;
            let trained = prepared
                .train()
                .map_err(|error| Stopped { error, began: true })?;
            trained.model
        }
    };
    let mut of_test = None;
    for set in wanted {
        let evaluate = Evaluate {
            run: &folder,
            experiment: &run.experiment,
            split,
            split_folder,
            set,
            checkpoint: Checkpoint::Last,
            fit_thresholds: false,
        };
        let evaluated = evaluate.run(model.take(), machine, Options::default());
        let evaluated = evaluated.map_err(|error| Stopped { error, began: true })?;
        if set == Set::Test {
            of_test = Some(evaluated.evaluation);
        }
    }
    Ok(of_test)
}

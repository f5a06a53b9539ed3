//! The progress of a plan's runs, from the files in their folders.

use super::executor::failure::Failure;
use super::folder::{Plan, PlannedRun};
use crate::data::split::{Set, Split};
use crate::error::{Error, Result};
use crate::metrics::ApMethod;
use crate::run_dir::{Checkpoint, Manifest, RunDir, Status};
use crate::train::history::History;

/// The state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has not been started.
    Waiting,
    /// A process holds its folder.
    Running,
    /// It is neither finished nor running: interrupted or killed. It can be resumed.
    Stopped,
    /// It ended with an error.
    Failed,
    /// Trained and evaluated.
    Finished,
}

impl State {
    /// Returns the state's name.
    pub fn name(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Running => "running",
            State::Stopped => "stopped",
            State::Failed => "failed",
            State::Finished => "finished",
        }
    }
}

/// A run's state with the values of a status table.
#[derive(Debug, Clone)]
pub struct RunState {
    /// The state.
    pub state: State,
    /// Number of steps recorded.
    pub steps: usize,
    /// Total number of steps.
    pub total_steps: usize,
    /// Training images per second.
    pub images_per_second: Option<f64>,
    /// The error it ended with, if it failed.
    pub error: Option<String>,
}

impl RunState {
    /// Reads the state from a run's folder.
    pub fn read(plan: &Plan, run: &PlannedRun, split: &Split) -> Result<Self> {
        let folder = plan.run_dir(run);
        let manifest = manifest_of(&folder, run, split);
        let finished = (manifest.as_ref()).is_some_and(|m| is_finished(&folder, m, &plan.sets));
        let state = match &manifest {
            _ if finished => State::Finished,
            _ if folder.is_locked() => State::Running,
            None => State::Waiting,
            Some(manifest) if manifest.status == Status::Failed => State::Failed,
            Some(_) => State::Stopped,
        };
        let mut history = History::new(&folder);
        if manifest.is_some() {
            history.update()?;
        }
        Ok(RunState {
            state,
            steps: history.steps.len(),
            total_steps: run.total_steps(split),
            images_per_second: manifest.as_ref().and_then(Manifest::images_per_second),
            error: manifest.and_then(|manifest| manifest.error),
        })
    }
}

impl RunState {
    /// Formats the steps done and the total as `40/120`; empty if an epoch has no full batch.
    pub fn progress(&self) -> String {
        match self.total_steps {
            0 => String::new(),
            all => format!("{}/{all}", self.steps.min(all)),
        }
    }

    /// Returns the failure of `run`, if it failed.
    pub fn failure(&self, run: &str) -> Option<Failure> {
        let error = (self.state == State::Failed).then_some(self.error.as_ref())??;
        let cause = match error.split_once(": ") {
            Some((place, problem)) => Error::input(place, problem),
            None => Error::input(run, error),
        };
        Some(Failure::new(run, cause, None, false))
    }
}

/// Returns the manifest of the planned run; `None` if there is none or the folder contains a
/// different run.
pub(super) fn manifest_of(folder: &RunDir, run: &PlannedRun, split: &Split) -> Option<Manifest> {
    let manifest = Manifest::read(&folder.manifest()).ok()?;
    let same = run.is_recorded(folder, &manifest) && manifest.split_hash == split.hash;
    same.then_some(manifest)
}

/// Returns whether a run is trained, and its last checkpoint has been evaluated on `sets` with the
/// settings that the tables need.
pub(super) fn is_finished(folder: &RunDir, manifest: &Manifest, sets: &[Set]) -> bool {
    manifest.status == Status::Finished && sets.iter().all(|&set| is_scored(folder, set))
}

/// Returns whether the last checkpoint has been evaluated on a set with those settings.
pub(super) fn is_scored(folder: &RunDir, set: Set) -> bool {
    #[derive(serde::Deserialize)]
    struct Settings {
        checkpoint: Checkpoint,
        average_precision: ApMethod,
    }
    let evaluation = folder.eval(set).join("settings.toml");
    let settings = fs_err::read_to_string(evaluation).ok();
    let settings = settings.and_then(|text| toml::from_str::<Settings>(&text).ok());
    folder.eval(set).join("per_class.csv").is_file()
        && settings.is_some_and(|s| {
            s.checkpoint == Checkpoint::Last && s.average_precision == ApMethod::default()
        })
}

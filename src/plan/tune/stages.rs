//! Second stages: methods that start from the network of another method's run.

use std::path::Path;

use super::Tuning;
use super::candidates::Candidates;
use super::trials::{self, Trial};
use crate::config::Experiment;
use crate::error::{KeyPath, Result};
use crate::io::absolute;
use crate::layers::{Assignment, Origin};

impl Tuning {
    /// Returns the methods to search for one stage after the other: those that start on their own,
    /// then those that start from a run of the former, if any.
    pub(super) fn stages(&self) -> Vec<Vec<&Candidates>> {
        let is_first =
            |candidates: &&Candidates| !self.config.start.contains_key(&candidates.method);
        let (first, second) = self.candidates.iter().partition::<Vec<_>, _>(is_first);
        let stages = [first, second].into_iter();
        stages.filter(|stage| !stage.is_empty()).collect()
    }

    /// Returns a placeholder for the run that `method` starts from, until that is known; `None` for
    /// a method that starts on its own.
    pub(super) fn placeholder(&self, method: &str) -> Option<Assignment> {
        self.config.start.get(method).map(|first| Assignment {
            key: KeyPath::from("start.run"),
            value: toml::Value::String(first.clone()),
            origin: Origin::file(&self.sweep.path),
        })
    }

    /// Sets the starting point of the trial `run` of `method` on the fold with this number, counted
    /// from 0: the training with the setting that `before` chooses for its first stage.
    ///
    /// # Errors
    /// Fails if every setting of the first stage diverged.
    pub(super) fn begin_trial(
        &self,
        run: &mut Experiment,
        method: &str,
        fold: usize,
        before: &[Trial],
    ) -> Result<()> {
        let Some(first) = self.config.start.get(method) else {
            return Ok(());
        };
        let mut all = self.candidates.iter();
        if let Some(candidates) = all.find(|candidates| candidates.method == *first) {
            let (point, _) = trials::best(candidates, before)?;
            let is_it = |trial: &&Trial| {
                let row = &trial.row;
                row.method == *first && row.setting == point.label && row.fold == fold + 1
            };
            if let Some(trial) = before.iter().find(is_it) {
                begin_with(run, trial.run.path());
            }
        }
        Ok(())
    }

    /// Sets the starting point of a final run in the folder `home`: the run of its first stage with
    /// the same seed.
    pub(super) fn begin_final(&self, run: &mut Experiment, home: &Path) {
        if let Some(first) = self.config.start.get(&run.method) {
            let first = Experiment {
                method: first.clone(),
                ..run.clone()
            };
            begin_with(run, &home.join(first.run_name()));
        }
    }
}

fn begin_with(run: &mut Experiment, folder: &Path) {
    if let Some(start) = &mut run.start {
        start.run = absolute(Path::new(""), folder);
    }
}

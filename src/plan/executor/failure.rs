//! Failed runs, and how they are reported.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::plan::folder::Plan;
use crate::wording::counted;

/// A failed run.
#[derive(Debug)]
pub struct Failure {
    /// The run's name.
    pub run: String,
    /// The cause of the failure.
    pub cause: Error,
    /// The file with the run's log, if it was a separate process.
    pub log: Option<PathBuf>,
    /// Whether the cause has already been reported.
    pub told: bool,
}

impl Failure {
    /// A failure of `run`, reported at once if its training had begun. A failure before the
    /// training is reported once at the end, because it probably affects other runs too.
    pub(in crate::plan) fn new(run: &str, cause: Error, log: Option<PathBuf>, began: bool) -> Self {
        let failure = Failure {
            run: run.to_owned(),
            cause,
            log,
            told: began,
        };
        if began {
            failure.tell(&failure.run);
        }
        failure
    }

    /// Reports what made `runs` fail.
    fn tell(&self, runs: &str) {
        let hint = self.cause.remedy().map(|hint| format!("; {hint}"));
        let log = self.log.as_ref();
        let log = log.map(|log| format!(" (log: {})", log.display()));
        tracing::error!(
            "{runs} failed: {}{}{}",
            self.cause,
            hint.unwrap_or_default(),
            log.unwrap_or_default()
        );
    }
}

/// Reports each cause once, with the runs it stopped, and returns the error of the whole plan if
/// `missing`, the names of its unfinished runs, is not empty. If a single cause kept all of them
/// from starting, that cause is the error.
///
/// # Errors
/// Fails if runs are missing.
pub fn verdict(plan: &Plan, failures: Vec<Failure>, missing: &[String]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let mut causes: Vec<(Failure, Vec<String>)> = Vec::new();
    for failure in failures {
        let text = failure.cause.to_string();
        match causes
            .iter_mut()
            .find(|(first, _)| first.cause.to_string() == text)
        {
            Some((_, runs)) => runs.push(failure.run),
            None => {
                let run = failure.run.clone();
                causes.push((failure, vec![run]));
            }
        }
    }
    let all = missing.len() == plan.runs.len();
    if all && causes.len() == 1 && causes[0].1.len() == missing.len() && !causes[0].0.told {
        let (failure, runs) = causes.remove(0);
        if runs.len() > 1 {
            tracing::error!("none of {} could begin", counted(runs.len(), "run"));
        }
        return Err(failure.cause);
    }
    for (failure, runs) in causes.iter().filter(|(failure, _)| !failure.told) {
        failure.tell(&runs.join(", "));
    }
    let all = counted(plan.runs.len(), "run");
    let are = match plan.runs.len() {
        1 => "is",
        _ => "are",
    };
    let problem = format!(
        "{}: {} of {all} {are} not finished: {}",
        plan.home.display(),
        missing.len(),
        missing.join(", ")
    );
    Err(Error::unfinished(problem).hint("the same command continues with them"))
}

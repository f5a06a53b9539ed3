//! Runs that did not come to their end, and what is said of them.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::plan::folder::Plan;
use crate::wording::counted;

/// A run that did not come to its end.
#[derive(Debug)]
pub struct Failure {
    /// The run's name.
    pub run: String,
    /// Why.
    pub cause: Error,
    /// The file with all that the run said, if it was a process of its own.
    pub log: Option<PathBuf>,
    /// True if the cause has been told already.
    pub told: bool,
}

impl Failure {
    /// A failure of `run`, told at once if its training had begun. What came before any training
    /// is told at the end, once: it is likely to end other runs too.
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

    /// Says what ended `runs`.
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

/// Says of each cause, once, which runs it ended, and gives the error that a plan ends with if
/// `missing`, the names of its runs that are not finished, holds any. Where one cause kept all of
/// them from beginning, it is that cause.
///
/// # Errors
/// If runs are missing.
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

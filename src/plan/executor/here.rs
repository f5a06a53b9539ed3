//! Runs a plan in this process, one run after another.

use std::time::Instant;

use super::failure::Failure;
use super::one;
use super::{Executor, Outcome};
use crate::data::split::Split;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::job::Machine;
use crate::plan::folder::{Plan, Replace};
use crate::progress::human_seconds;
use crate::run_dir::Manifest;
use crate::wording::counted;

/// Executor that uses this process, one run at a time.
#[derive(Debug, Clone)]
pub struct Here {
    /// The settings of the machine.
    pub machine: Machine,
    /// Which existing runs may be replaced.
    pub replace: Replace,
}

impl Executor for Here {
    fn execute(&self, plan: &Plan, split: &Split) -> Result<Outcome> {
        interrupt::listen()?;
        let start = Instant::now();
        let (mut failures, mut finished) = (Vec::new(), 0);
        let all = plan.runs.len();
        for run in &plan.runs {
            match one::run(plan, run, split, &self.machine, self.replace) {
                Ok(None) => {
                    finished += 1;
                    tracing::info!("{}: finished already", run.name);
                }
                Ok(Some(evaluation)) => {
                    finished += 1;
                    let manifest = Manifest::read(&plan.run_dir(run).manifest())?;
                    let speed = manifest.images_per_second();
                    let speed = speed.map_or(String::new(), |speed| format!(", {speed:.1} img/s"));
                    tracing::info!(
                        "{} ({finished} of {all}, {} in all): mAP {}{speed}",
                        run.name,
                        human_seconds(start.elapsed().as_secs_f64()),
                        evaluation.one_line(),
                    );
                }
                Err(stopped) => match stopped.error {
                    Error::Interrupted(what) => {
                        let runs = counted(all, "run");
                        return Err(Error::Interrupted(format!(
                            "{}: {what}; {finished} of {runs} finished; {}",
                            run.name,
                            goes_on(self.replace)
                        )));
                    }
                    // The others can still be compared.
                    cause => {
                        let began = stopped.began && all > 1;
                        failures.push(Failure::new(&run.name, cause, None, began));
                    }
                },
            }
        }
        Ok(Outcome::Ended(failures))
    }
}

/// Says how an interrupted plan is continued.
pub(super) fn goes_on(replace: Replace) -> &'static str {
    match replace {
        Replace::Everything => "the same command without `--force` continues",
        _ => "the same command continues",
    }
}

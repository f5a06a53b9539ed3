//! Runs a sweep on this machine, several runs at a time.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::plan::{Plan, PlannedRun};
use super::state::{RunState, State};
use crate::data::split::Split;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::progress::Progress;
use crate::train::history::History;

/// How a sweep runs on this machine. None of it changes a number in the tables.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// The program to run as `PROGRAM sweep-task ...`: dbloss itself.
    pub program: PathBuf,
    /// Runs at a time.
    pub jobs: usize,
    /// Threads of all engines together; 0 takes all cores.
    pub threads: usize,
    /// Further options of `sweep-task`, the same for every run.
    pub task: Vec<String>,
}

impl LocalOptions {
    /// Threads of one run's engine: an equal share, at least one.
    pub fn threads_per_run(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let all = match self.threads {
            0 => cores(),
            given => given,
        };
        (all / self.jobs.max(1)).max(1)
    }
}

/// A run that did not come to its end.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The run's name.
    pub run: String,
    /// Its last error line, or how the process ended.
    pub reason: String,
    /// Where all of it stands.
    pub log: PathBuf,
}

/// A process at work on a run.
struct Active<'a> {
    run: &'a PlannedRun,
    child: Child,
    /// Bytes in the log before this process.
    log_start: u64,
    history: History,
    progress: Progress,
    /// Steps shown already.
    shown: usize,
}

/// How often processes are looked at.
const TICK: Duration = Duration::from_millis(50);

/// Runs whatever is not finished, and gives back the failures. A signal makes the runs save and
/// leave, and is an error here.
pub fn run_local(plan: &Plan, split: &Split, options: &LocalOptions) -> Result<Vec<Failure>> {
    interrupt::listen()?;
    let mut waiting = VecDeque::new();
    let (mut total, mut before, mut finished) = (0, 0, 0);
    for run in &plan.runs {
        let state = RunState::read(plan, run, split)?;
        total += state.total_steps;
        match state.state {
            State::Finished => {
                before += state.total_steps;
                finished += 1;
            }
            _ => {
                before += state.steps.min(state.total_steps);
                waiting.push_back(run);
            }
        }
    }
    let already = match finished {
        0 => String::new(),
        n => format!(", {n} finished already"),
    };
    tracing::info!(
        "{}: {} runs{already}; {} at a time with {} threads each",
        plan.name,
        plan.runs.len(),
        options.jobs,
        options.threads_per_run()
    );
    let mut overall = Progress::new(plan.name.clone(), total as u64);
    overall.skip(before as u64);
    let mut active: Vec<Active> = Vec::new();
    let mut failures: Vec<Failure> = Vec::new();
    let mut stopping = false;
    loop {
        if interrupt::requested() && !stopping {
            stopping = true;
            tracing::info!("stopping: {} runs save their state", active.len());
            active
                .iter_mut()
                .for_each(|a| interrupt::ask_to_stop(&mut a.child));
        }
        let mut still = Vec::with_capacity(active.len());
        for mut one in active {
            one.show(&mut overall)?;
            match one.child.try_wait()? {
                None => still.push(one),
                Some(status) if status.success() => {
                    finished += 1;
                    let name = &one.run.name;
                    tracing::info!("{name}: finished ({finished} of {})", plan.runs.len());
                }
                Some(_) if stopping => {}
                Some(status) => {
                    let failure = one.failure(plan, status);
                    tracing::error!("{}: {}", failure.run, failure.reason);
                    failures.push(failure);
                }
            }
        }
        active = still;
        while !stopping
            && active.len() < options.jobs
            && let Some(run) = waiting.pop_front()
        {
            active.push(Active::start(plan, run, split, options)?);
        }
        if active.is_empty() {
            break;
        }
        let failed = match failures.len() {
            0 => String::new(),
            n => format!(", {n} failed"),
        };
        overall.message(format!(
            "{finished} of {} runs finished{failed}",
            plan.runs.len()
        ));
        std::thread::sleep(TICK);
    }
    if stopping {
        let problem = format!("{finished} of {} runs are finished", plan.runs.len());
        return Err(Error::Interrupted(format!(
            "{problem}; the same command goes on"
        )));
    }
    Ok(failures)
}

impl<'a> Active<'a> {
    fn start(
        plan: &Plan,
        run: &'a PlannedRun,
        split: &Split,
        options: &LocalOptions,
    ) -> Result<Self> {
        let path = plan.log(run);
        let log = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)?;
        let log_start = log.metadata()?.len();
        let log = log.into_parts().0;
        let mut command = Command::new(&options.program);
        command
            .arg("sweep-task")
            .arg(&plan.home)
            .args(["--run", &run.name]);
        command.args(["--threads", &options.threads_per_run().to_string()]);
        command.args(["--parent", &std::process::id().to_string()]);
        command.args(&options.task);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // Ctrl-C reaches a whole group: without one of its own a run would get it twice.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command
            .spawn()
            .map_err(|e| Error::file(&options.program, format_args!("cannot be started: {e}")))?;
        let mut history = History::new(&plan.run_dir(run));
        history.update()?;
        let shown = history.steps.len();
        let mut progress = Progress::new(run.name.clone(), run.total_steps(split) as u64);
        progress.skip(shown as u64);
        Ok(Active {
            run,
            child,
            log_start,
            history,
            progress,
            shown,
        })
    }

    /// Brings the progress up to the rows that the run has written.
    fn show(&mut self, overall: &mut Progress) -> Result<()> {
        self.history.update()?;
        let steps = self.history.steps.len();
        // A resumed run repeats the steps after its checkpoint; they count once.
        if steps > self.shown {
            let new = (steps - self.shown) as u64;
            self.shown = steps;
            if let Some(last) = self.history.steps.last() {
                let message = format!("epoch {} loss {:.4}", last.epoch + 1, last.loss);
                self.progress.message(message);
            }
            self.progress.advance(new);
            overall.advance(new);
        }
        Ok(())
    }

    fn failure(&self, plan: &Plan, status: ExitStatus) -> Failure {
        let log = plan.log(self.run);
        let ended = match signal(status) {
            Some(signal) => format!("killed by signal {signal}"),
            None => status.to_string(),
        };
        Failure {
            run: self.run.name.clone(),
            reason: last_error(&log, self.log_start).unwrap_or(ended),
            log,
        }
    }
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal(_: ExitStatus) -> Option<i32> {
    None
}

/// The last line `error: ...` of a log from byte `start` on.
pub(super) fn last_error(log: &Path, start: u64) -> Option<String> {
    let bytes = fs_err::read(log).ok()?;
    let text = String::from_utf8_lossy(bytes.get(start as usize..)?);
    let line = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("error: "));
    line.map(str::to_owned)
}

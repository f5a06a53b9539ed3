//! Runs a plan in processes of this machine, several runs at a time.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::failure::Failure;
use super::here::goes_on;
use super::{Executor, Outcome};
use crate::data::split::Split;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::plan::folder::{Plan, PlannedRun, Replace};
use crate::plan::state::{RunState, State};
use crate::progress::Progress;
use crate::run_dir::{Manifest, Status};
use crate::train::history::History;
use crate::wording::counted;

/// Executor that uses processes of this machine, one per run and several at a time. None of these
/// settings changes a number in the tables.
#[derive(Debug, Clone)]
pub struct Processes {
    /// The program to start as `PROGRAM sweep-task ...`: dbloss itself.
    pub program: PathBuf,
    /// Number of runs at a time.
    pub jobs: usize,
    /// Number of threads of all engines together.
    pub threads: usize,
    /// Further options of `sweep-task`, the same for every run.
    pub task: Vec<String>,
    /// Which existing runs may be replaced; `task` must agree.
    pub replace: Replace,
}

impl Processes {
    /// Returns the number of threads of one run's engine: an equal share, at least one.
    fn threads_per_run(&self) -> usize {
        (self.threads / self.jobs.max(1)).max(1)
    }
}

/// A process that is working on a run.
struct Active<'a> {
    run: &'a PlannedRun,
    child: Child,
    /// Size of the log in bytes before this process started.
    log_start: u64,
    history: History,
    progress: Progress,
    /// Number of steps already shown.
    shown: usize,
}

/// Interval at which the processes are polled.
const TICK: Duration = Duration::from_millis(50);

impl Executor for Processes {
    fn execute(&self, plan: &Plan, split: &Split) -> Result<Outcome> {
        interrupt::listen()?;
        fs_err::create_dir_all(plan.logs())?;
        let mut work = Work::new(plan, split, self)?;
        loop {
            work.stop_if_asked();
            work.look()?;
            work.start(split)?;
            if work.active.is_empty() {
                break;
            }
            work.tell();
            std::thread::sleep(TICK);
        }
        if work.stopping {
            return Err(Error::Interrupted(format!(
                "{} of {} finished; {}",
                work.finished,
                counted(plan.runs.len(), "run"),
                goes_on(self.replace)
            )));
        }
        Ok(Outcome::Ended(work.failures))
    }
}

/// A plan in progress.
struct Work<'a> {
    plan: &'a Plan,
    executor: &'a Processes,
    waiting: VecDeque<&'a PlannedRun>,
    active: Vec<Active<'a>>,
    failures: Vec<Failure>,
    finished: usize,
    stopping: bool,
    overall: Progress,
}

impl<'a> Work<'a> {
    fn new(plan: &'a Plan, split: &Split, executor: &'a Processes) -> Result<Self> {
        let mut waiting = VecDeque::new();
        let (mut total, mut before, mut finished) = (0, 0, 0);
        for run in &plan.runs {
            let state = RunState::read(plan, run, split)?;
            total += state.total_steps;
            match (state.state, executor.replace) {
                (_, Replace::Everything) => waiting.push_back(run),
                (State::Finished, _) => {
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
            "{}: {}{already}; {} at a time with {} each",
            plan.name,
            counted(plan.runs.len(), "run"),
            executor.jobs,
            counted(executor.threads_per_run(), "thread"),
        );
        let mut overall = Progress::new(plan.name.clone(), total as u64);
        overall.skip(before as u64);
        Ok(Work {
            plan,
            executor,
            waiting,
            active: Vec::new(),
            failures: Vec::new(),
            finished,
            stopping: false,
            overall,
        })
    }

    /// After a signal, asks the runs once to save and exit.
    fn stop_if_asked(&mut self) {
        if interrupt::requested() && !self.stopping {
            self.stopping = true;
            tracing::info!(
                "stopping: {} to save and leave",
                counted(self.active.len(), "run")
            );
            for one in &mut self.active {
                interrupt::ask_to_stop(&mut one.child);
            }
        }
    }

    /// Polls every process for its progress and whether it has ended.
    fn look(&mut self) -> Result<()> {
        for mut one in std::mem::take(&mut self.active) {
            one.show(&mut self.overall)?;
            match one.child.try_wait()? {
                None => self.active.push(one),
                Some(status) if status.success() => {
                    self.finished += 1;
                    let (name, all) = (&one.run.name, self.plan.runs.len());
                    tracing::info!("{name}: finished ({} of {all})", self.finished);
                }
                Some(_) if self.stopping => {}
                Some(status) => self.failures.push(one.failure(self.plan, status)),
            }
        }
        Ok(())
    }

    /// Starts runs while there are free slots.
    fn start(&mut self, split: &Split) -> Result<()> {
        while !self.stopping
            && self.active.len() < self.executor.jobs
            && let Some(run) = self.waiting.pop_front()
        {
            let started = Active::start(self.plan, run, split, self.executor)?;
            self.active.push(started);
        }
        Ok(())
    }

    fn tell(&mut self) {
        let failed = match self.failures.len() {
            0 => String::new(),
            n => format!(", {n} failed"),
        };
        self.overall.message(format!(
            "{} of {} finished{failed}",
            self.finished,
            counted(self.plan.runs.len(), "run")
        ));
    }
}

impl<'a> Active<'a> {
    fn start(
        plan: &Plan,
        run: &'a PlannedRun,
        split: &Split,
        executor: &Processes,
    ) -> Result<Self> {
        let path = plan.log(run);
        let log = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)?;
        let log_start = log.metadata()?.len();
        let log = log.into_parts().0;
        let mut command = Command::new(&executor.program);
        command
            .arg("sweep-task")
            .arg(&plan.home)
            .args(["--run", &run.name]);
        command.args(["--threads", &executor.threads_per_run().to_string()]);
        command.args(["--parent", &std::process::id().to_string()]);
        command.args(&executor.task);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // Ctrl-C reaches the whole process group: without its own group a run would receive it
        // twice.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command
            .spawn()
            .map_err(|e| Error::file(&executor.program, format_args!("cannot be started: {e}")))?;
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

    /// Advances the progress to the number of rows that the run has written.
    fn show(&mut self, overall: &mut Progress) -> Result<()> {
        self.history.update()?;
        let steps = self.history.steps.len();
        // A resumed run repeats the steps after its checkpoint; they are counted once.
        if steps > self.shown {
            let new = (steps - self.shown) as u64;
            self.shown = steps;
            if let Some(last) = self.history.steps.last() {
                let message = format!(
                    "epoch {} of {} loss {:.4}",
                    last.epoch + 1,
                    self.run.experiment.train.epochs,
                    last.loss
                );
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
        let cause = last_error(&log, self.log_start);
        let cause = cause.unwrap_or_else(|| Error::input(&self.run.name, ended));
        let manifest = Manifest::read(&plan.run_dir(self.run).manifest());
        let began = manifest.is_ok_and(|manifest| manifest.status != Status::Finished);
        Failure::new(
            &self.run.name,
            cause,
            Some(log),
            began && plan.runs.len() > 1,
        )
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

/// Returns the error that a process ended with, from its log after byte `start`: `error: PLACE:
/// PROBLEM`, and `hint: ...` on the next line.
fn last_error(log: &Path, start: u64) -> Option<Error> {
    let bytes = fs_err::read(log).ok()?;
    let text = String::from_utf8_lossy(bytes.get(start as usize..)?);
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().rposition(|line| line.starts_with("error: "))?;
    let line = lines[at].strip_prefix("error: ")?;
    let error = match line.split_once(": ") {
        Some((place, problem)) => Error::input(place, problem),
        None => Error::input("error", line),
    };
    match lines
        .get(at + 1)
        .and_then(|next| next.strip_prefix("hint: "))
    {
        Some(hint) => Some(error.hint(hint)),
        None => Some(error),
    }
}

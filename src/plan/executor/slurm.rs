//! Runs a plan through Slurm: a job array with one task per run.
//!
//! The job script `exec`s dbloss, so that Slurm's signal before the time limit (`--signal=B:USR1`)
//! reaches the training itself, which saves, requeues its task and exits.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Executor, Outcome, slurm_script};
use crate::data::split::Split;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::io::write_text;
use crate::plan::folder::Plan;
use crate::plan::slurm_config::SlurmConfig;
use crate::plan::state::{RunState, State};
use crate::wording::counted;

/// A pending or running task of the job array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Index of the run in the plan.
    pub index: usize,
    /// Slurm's state of the task, for example `PENDING` or `RUNNING`.
    pub state: String,
    /// The node, or the reason for waiting.
    pub reason: String,
}

/// The submitted job, stored in `slurm/job.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Submitted {
    job: String,
    runs: Vec<String>,
}

/// Executor that submits a Slurm job array, one task per run.
#[derive(Debug, Clone)]
pub struct JobArray {
    /// The resources requested for a run.
    pub config: SlurmConfig,
    /// Path of dbloss; like the plan's folder, it must be visible from the nodes.
    pub program: PathBuf,
    /// Options of `dbloss sweep-task`, the same for every run.
    pub task: Vec<String>,
}

impl Executor for JobArray {
    fn execute(&self, plan: &Plan, split: &Split) -> Result<Outcome> {
        let mut indices = Vec::new();
        for (index, run) in plan.runs.iter().enumerate() {
            if RunState::read(plan, run, split)?.state != State::Finished {
                indices.push(index);
            }
        }
        let all = counted(plan.runs.len(), "run");
        if indices.is_empty() {
            tracing::info!("{all}: finished already");
            return Ok(Outcome::Ended(Vec::new()));
        }
        let job = Slurm::new(plan).submit(self, &indices)?;
        tracing::info!("job {job}: {} of {all} submitted", indices.len());
        Ok(Outcome::Submitted(job))
    }
}

/// A plan's connection to Slurm.
#[derive(Debug)]
pub struct Slurm<'a> {
    plan: &'a Plan,
}

impl<'a> Slurm<'a> {
    /// Makes the connection for `plan`.
    pub fn new(plan: &'a Plan) -> Self {
        Slurm { plan }
    }

    /// Submits the runs with these indices as one job array, and returns the job's number.
    fn submit(&self, executor: &JobArray, indices: &[usize]) -> Result<String> {
        let tasks = self.tasks()?;
        if let Some(job) = self.job()?
            && !tasks.is_empty()
        {
            let problem = format!(
                "job {job} still has {} of these runs",
                counted(tasks.len(), "task")
            );
            return Err(Error::file(&self.plan.home, problem)
                .hint("`dbloss sweep status` shows them, `dbloss sweep cancel` ends them"));
        }
        let folder = self.folder();
        fs_err::create_dir_all(&folder)?;
        fs_err::create_dir_all(self.plan.logs())?;
        let script = folder.join("job.sh");
        let text = slurm_script::script(
            self.plan,
            &executor.config,
            &executor.program,
            &executor.task,
        )?;
        write_text(&script, &text)?;
        let limit = executor
            .config
            .max_running
            .map_or(String::new(), |n| format!("%{n}"));
        let output = call(
            Command::new("sbatch")
                .arg("--parsable")
                .arg(format!("--array={}{limit}", slurm_script::ranges(indices)))
                .arg(&script),
        )?;
        // The output is `JOB` or `JOB;CLUSTER`.
        let job = output
            .trim()
            .split(';')
            .next()
            .unwrap_or_default()
            .to_owned();
        let submitted = Submitted {
            job: job.clone(),
            runs: self.plan.runs.iter().map(|run| run.name.clone()).collect(),
        };
        let path = folder.join("job.json");
        let text = serde_json::to_string_pretty(&submitted)
            .map_err(|e| Error::file(&path, format_args!("cannot be written: {e}")))?;
        write_text(&path, &(text + "\n"))?;
        Ok(job)
    }

    /// Returns the job that was submitted last, if any.
    pub fn job(&self) -> Result<Option<String>> {
        Ok(self.submitted()?.map(|submitted| submitted.job))
    }

    /// Returns the tasks that are still pending or running.
    pub fn tasks(&self) -> Result<Vec<Task>> {
        let Some(Submitted { job, runs }) = self.submitted()? else {
            return Ok(Vec::new());
        };
        let mut command = Command::new("squeue");
        command.args(["--noheader", "--array", "--jobs", &job, "--format=%K|%T|%R"]);
        let output = match call(&mut command) {
            Ok(output) => output,
            // Slurm forgets a job some minutes after it has ended.
            Err(error) if error.to_string().contains("Invalid job id") => String::new(),
            Err(error) => return Err(error),
        };
        let tasks = output.lines().filter_map(|line| {
            let mut cells = line.trim().splitn(3, '|');
            let index: usize = cells.next()?.parse().ok()?;
            // The sweep file may have changed since, so runs are matched by name.
            let name = runs.get(index)?;
            let index = self.plan.runs.iter().position(|run| run.name == *name)?;
            Some(Task {
                index,
                state: cells.next()?.to_owned(),
                reason: cells.next().unwrap_or_default().to_owned(),
            })
        });
        Ok(tasks.collect())
    }

    /// Waits for `job` to end; if a signal ends the waiting, the job continues.
    pub fn wait(&self, job: &str) -> Result<()> {
        loop {
            let tasks = self.tasks()?;
            if tasks.is_empty() {
                return Ok(());
            }
            tracing::debug!("{} waiting or running", counted(tasks.len(), "task"));
            for _ in 0..20 {
                interrupt::check(&format!(
                    "job {job} continues; `dbloss sweep cancel` ends it"
                ))?;
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }

    /// Cancels the job; active runs save and exit. Returns the number of its tasks.
    pub fn cancel(&self) -> Result<usize> {
        let tasks = self.tasks()?.len();
        if let Some(job) = self.job()?
            && tasks > 0
        {
            call(Command::new("scancel").arg(job))?;
        }
        Ok(tasks)
    }

    fn folder(&self) -> PathBuf {
        self.plan.home.join("slurm")
    }

    fn submitted(&self) -> Result<Option<Submitted>> {
        let path = self.folder().join("job.json");
        if !path.is_file() {
            return Ok(None);
        }
        let text = fs_err::read_to_string(&path)?;
        let read = serde_json::from_str(&text);
        read.map(Some)
            .map_err(|e| Error::file(&path, format_args!("is not a submitted job: {e}")))
    }
}

/// Decides what a task does after it was stopped by a signal and has saved: if Slurm still
/// considers it running (the time limit is near, or somebody sent the signal), it is requeued. A
/// task that was cancelled, or that Slurm itself requeues, is left alone. Returns whether it was
/// requeued.
pub fn requeue_or_leave() -> Result<bool> {
    let Ok(job) = std::env::var("SLURM_JOB_ID") else {
        return Err(Error::argument("--slurm", "this is not a Slurm job")
            .hint("`dbloss sweep SWEEP.toml --executor slurm` submits the runs"));
    };
    let state = call(Command::new("squeue").args(["--noheader", "--jobs", &job, "--format=%T"]))?;
    if state.trim() != "RUNNING" {
        tracing::info!(
            "saved; Slurm says {}, so the task is not queued again",
            state.trim()
        );
        return Ok(false);
    }
    call(Command::new("scontrol").args(["requeue", &job]))?;
    Ok(true)
}

/// Runs a Slurm command and returns its output.
fn call(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| match e.kind() {
        ErrorKind::NotFound => Error::input(&name, "is not installed here")
            .hint("`--executor slurm` needs a login node of a cluster with Slurm"),
        _ => Error::input(&name, e),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let problem = String::from_utf8_lossy(&output.stderr);
    let problem = problem.trim().replace('\n', "; ");
    Err(Error::input(
        name,
        match problem.is_empty() {
            true => output.status.to_string(),
            false => problem,
        },
    ))
}

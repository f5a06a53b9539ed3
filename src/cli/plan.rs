//! What `dbloss run` and `dbloss sweep` share: the arguments of a plan of runs, and what is printed
//! of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use dbloss::data::split::Split;
use dbloss::job::Room;
use dbloss::plan::{
    Executor, Failure, Here, JobArray, Plan, Processes, Replace, RunState, Slurm, SlurmConfig,
    SlurmTask, State, collect, verdict,
};
use dbloss::report::table::Table;
use dbloss::run_dir::RunLock;
use dbloss::wording::counted;
use dbloss::{Error, Result, device, interrupt, plan};

use super::common::{MachineArgs, OutArgs, OverrideArgs};
use super::output::{self, FormatArg};

/// How the runs of a plan are run.
#[derive(Debug, clap::Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pub overrides: OverrideArgs,
    #[command(flatten)]
    pub out: OutArgs,
    /// Runs at a time on this machine; if several, each is a process of its own [default: 1, or the
    /// sweep file's `jobs`]
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    #[command(flatten)]
    pub machine: MachineArgs,
    /// List what would be run and what is already finished, without running or writing anything
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub format: FormatArg,
}

impl PlanArgs {
    /// Runs at a time: what is asked for, or `default`.
    pub(super) fn jobs(&self, default: usize) -> Result<usize> {
        match self.jobs.unwrap_or(default) {
            0 => {
                let problem = "is 0, expected at least 1";
                Err(Error::argument("--jobs", problem))
            }
            jobs => Ok(jobs),
        }
    }

    /// Refuses what Slurm would not be told of: the file's `[slurm]` says it there.
    pub(super) fn refuse_ignored_by_slurm(&self) -> Result<()> {
        let given = [
            (
                "--jobs",
                self.jobs.is_some(),
                "set `max_running` in the file's `[slurm]` table, which limits the tasks at a time",
            ),
            (
                "--threads",
                self.machine.asks_for_threads(),
                "set `cpus` in the file's `[slurm]` table, which is the number of threads per run",
            ),
        ];
        match given.iter().find(|(_, given, _)| *given) {
            Some((option, _, hint)) => {
                let problem = "applies to this machine, not to Slurm";
                Err(Error::argument(*option, problem).hint(hint))
            }
            None => Ok(()),
        }
    }

    /// Processes of this machine, `jobs` at a time.
    pub(super) fn processes(&self, jobs: usize, replace: Replace) -> Result<Processes> {
        Ok(Processes {
            program: std::env::current_exe()?,
            jobs,
            threads: self.machine.threads(),
            task: self.task(replace)?,
            replace,
        })
    }

    /// Who runs `jobs` runs at a time on this machine, and where their batches lie: this process
    /// where it is one at a time, which opens the device first, since every run needs it.
    pub(super) fn here(&self, jobs: usize, replace: Replace) -> Result<(Box<dyn Executor>, Room)> {
        Ok(match jobs {
            1 => {
                let machine = self.machine.open()?;
                let room = Room::of(&machine.device, 1);
                (Box::new(Here { machine, replace }), room)
            }
            _ => {
                let room = Room::of(&device::parse(self.machine.device())?, jobs);
                (Box::new(self.processes(jobs, replace)?), room)
            }
        })
    }

    /// The job array that runs the runs through Slurm.
    pub(super) fn job_array(&self, config: SlurmConfig, replace: Replace) -> Result<JobArray> {
        Ok(JobArray {
            config,
            program: std::env::current_exe()?,
            task: self.task(replace)?,
        })
    }

    /// What a process is told that runs one of the runs.
    pub(super) fn task(&self, replace: Replace) -> Result<Vec<String>> {
        let mut options = self.machine.arguments()?;
        match replace {
            Replace::Nothing => {}
            Replace::Others => options.push("--force".to_owned()),
            Replace::Everything => options.push("--again".to_owned()),
        }
        Ok(options)
    }
}

/// Prepares a plan and takes its folder: the split is there afterwards, and whatever can be known
/// before the first training has been looked at. `file` is what the plan was made from, `room` where
/// its runs will hold their batches.
pub(super) fn prepare(
    plan: &mut Plan,
    file: &Path,
    replace: Replace,
    patience: Duration,
    room: Room,
) -> Result<(Split, RunLock)> {
    interrupt::listen()?;
    let lock = plan.lock(patience)?;
    let split = plan.prepare(file, replace)?;
    tracing::info!("{}", split.summary());
    plan::check(plan, &split, replace == Replace::Everything, room)?;
    interrupt::check("nothing was started")?;
    Ok((split, lock))
}

/// Writes and prints the tables; an error tells which runs are missing from them.
pub(super) fn finish(
    plan: &Plan,
    split: &Split,
    mut failures: Vec<Failure>,
    format: FormatArg,
) -> Result<()> {
    let collected = collect(plan, split)?;
    if let Some(comparison) = &collected.comparison {
        output::table(format, comparison.rows(), |_| comparison.to_string())?;
        tracing::info!("tables written to {}", plan.home.display());
    }
    // Runs that failed elsewhere, or in an earlier call, say so in their own folders.
    for run in plan
        .runs
        .iter()
        .filter(|run| collected.missing.contains(&run.name))
    {
        if failures.iter().all(|failure| failure.run != run.name) {
            let state = RunState::read(plan, run, split)?;
            failures.extend(state.failure(&run.name));
        }
    }
    verdict(plan, failures, &collected.missing)
}

/// A run that is planned, a row of `--dry-run`.
#[derive(Serialize, Deserialize)]
struct PlannedRow {
    run: String,
    loss: String,
    /// The configuration's hash.
    configuration: String,
    state: String,
    /// Steps done of all; empty where the split is not there yet.
    steps: String,
}

/// What would be run: the runs and what is there of each. Nothing is written.
pub(super) fn dry_run(plan: &Plan, format: FormatArg) -> Result<()> {
    let split = plan.existing_split()?;
    let mut rows = Vec::new();
    let mut finished = 0;
    for run in &plan.runs {
        let (state, steps) = match &split {
            Some(split) => {
                let state = RunState::read(plan, run, split)?;
                (state.state, state.progress())
            }
            None => (State::Waiting, String::new()),
        };
        finished += usize::from(state == State::Finished);
        rows.push(PlannedRow {
            run: run.name.clone(),
            loss: run.experiment.loss.name().to_owned(),
            configuration: run.hash[..12].to_owned(),
            state: state.name().to_owned(),
            steps,
        });
    }
    output::table(format, rows, |rows| {
        let header = ["run", "loss", "configuration", "state", "steps"];
        let mut table = Table::new(header.map(str::to_owned).to_vec());
        for row in rows {
            let cells = [
                &row.run,
                &row.loss,
                &row.configuration,
                &row.state,
                &row.steps,
            ];
            table.push(cells.map(String::clone).to_vec());
        }
        table.to_terminal()
    })?;
    tracing::info!(
        "{} in {}, {finished} finished already; nothing was run",
        counted(plan.runs.len(), "run"),
        plan.home.display()
    );
    Ok(())
}

/// Which plan: its file, or its folder.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// The file that the runs were made from, or the folder that contains them
    #[arg(value_name = "FILE.toml|FOLDER")]
    pub plan: PathBuf,
    #[command(flatten)]
    pub out: OutArgs,
    #[command(flatten)]
    pub format: FormatArg,
}

/// How far a run is, a row of `status`.
#[derive(Serialize, Deserialize)]
struct StatusRow {
    run: String,
    state: String,
    /// Steps recorded.
    steps: usize,
    /// Steps in all; 0 where an epoch has no full batch.
    total_steps: usize,
    /// Training images a second.
    images_per_second: Option<f64>,
    /// The state of its task in Slurm; empty without one.
    slurm: String,
    /// What ended it, or what Slurm says of it.
    note: String,
}

/// Shows how far each run is.
pub(super) fn status(plan: &Plan, split: &Split, format: FormatArg) -> Result<()> {
    let tasks = Slurm::new(plan).tasks()?;
    let (mut rows, mut progress) = (Vec::new(), Vec::new());
    let mut counts = [0usize; 5];
    for (index, run) in plan.runs.iter().enumerate() {
        let state = RunState::read(plan, run, split)?;
        let task = tasks.iter().find(|task| task.index == index);
        let note = match (task, &state.error) {
            (_, Some(error)) if state.state == State::Failed => error.clone(),
            (Some(SlurmTask { reason, .. }), _) => reason.clone(),
            _ => String::new(),
        };
        counts[state.state as usize] += 1;
        progress.push(state.progress());
        rows.push(StatusRow {
            run: run.name.clone(),
            state: state.state.name().to_owned(),
            steps: state.steps,
            total_steps: state.total_steps,
            images_per_second: state.images_per_second,
            slurm: task.map_or(String::new(), |task| task.state.to_lowercase()),
            note,
        });
    }
    output::table(format, rows, |rows| {
        let header = ["run", "state", "steps", "img/s", "slurm", "note"];
        let mut table = Table::new(header.map(str::to_owned).to_vec());
        for (row, progress) in rows.iter().zip(progress) {
            let speed = row.images_per_second;
            table.push(vec![
                row.run.clone(),
                row.state.clone(),
                progress,
                speed.map_or(String::new(), |speed| format!("{speed:.1}")),
                row.slurm.clone(),
                row.note.clone(),
            ]);
        }
        table.to_terminal()
    })?;
    let states = [
        State::Finished,
        State::Running,
        State::Waiting,
        State::Stopped,
        State::Failed,
    ];
    let parts: Vec<String> = states
        .into_iter()
        .filter(|state| counts[*state as usize] > 0)
        .map(|state| format!("{} {}", counts[state as usize], state.name()))
        .collect();
    let runs = counted(plan.runs.len(), "run");
    tracing::info!("{runs}: {}", parts.join(", "));
    Ok(())
}

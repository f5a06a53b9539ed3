//! `dbloss sweep`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dbloss::data::split::Split;
use dbloss::device;
use dbloss::interrupt;
use dbloss::report::table::Table;
use dbloss::run_dir::RunLock;
use dbloss::sweep::{
    Failure, LocalOptions, Plan, RunState, Slurm, SlurmTask, State, SweepFile, collect, run_local,
};
use dbloss::{Error, Result};

use super::common::{LoaderArgs, OutArgs, OverrideArgs};
use super::output;

/// Run methods x seeds x a grid of settings, here or through Slurm, and compare
///
/// Runs that are finished are recognised by their configuration and skipped; those that were
/// interrupted go on. Whatever ends a sweep, the same command again goes on with it, and ends with
/// the same tables. A run that fails does not stop the others.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  dbloss sweep experiments/sweeps/shapes.toml --dry-run
  dbloss sweep experiments/sweeps/shapes.toml --jobs 2
  dbloss sweep experiments/sweeps/voc07.toml --executor slurm
  dbloss sweep status experiments/sweeps/voc07.toml"
)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// The sweep file
    #[arg(value_name = "SWEEP.toml", required = true)]
    file: Option<PathBuf>,
    #[command(flatten)]
    out: OutArgs,
    #[command(flatten)]
    overrides: OverrideArgs,
    /// Runs at a time on this machine, instead of the file's `jobs`
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Threads of all engines together, divided between the runs; 0 takes all cores
    #[arg(long, default_value_t = 0, value_name = "N")]
    threads: usize,
    #[command(flatten)]
    loader: LoaderArgs,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: String,
    /// Who runs them: this machine, or Slurm as the file's `[slurm]` says
    #[arg(long, default_value = "local", value_name = "WHO", value_parser = ["local", "slurm"])]
    executor: String,
    /// With Slurm: stay until all runs have ended, and write the tables
    #[arg(long)]
    wait: bool,
    /// Replace runs of another configuration that are in the way
    #[arg(long)]
    force: bool,
    /// Say what would be run, and run nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show how far each run is
    Status(Which),
    /// Compare the runs that are finished, and write the tables
    Collect(Which),
    /// Cancel the sweep's job in Slurm; runs under way save and leave
    Cancel(Which),
}

/// Which sweep: its file, or its folder.
#[derive(Debug, clap::Args)]
struct Which {
    /// The sweep file, or the sweep's folder
    #[arg(value_name = "SWEEP.toml|FOLDER")]
    sweep: PathBuf,
    #[command(flatten)]
    out: OutArgs,
}

impl Which {
    fn plan(&self) -> Result<Plan> {
        match self.sweep.is_dir() {
            true => Plan::open(&self.sweep),
            false => Plan::open(&self.out.out.join(SweepFile::read(&self.sweep)?.name)),
        }
    }
}

/// Runs the subcommand.
pub fn run(args: Args) -> Result<()> {
    match (&args.action, &args.file) {
        (Some(Action::Status(which)), _) => status(&which.plan()?),
        (Some(Action::Collect(which)), _) => {
            let plan = which.plan()?;
            let _lock = plan.lock()?;
            finish(&plan, &plan.split()?, &[])
        }
        (Some(Action::Cancel(which)), _) => {
            let plan = which.plan()?;
            let tasks = Slurm::new(&plan).cancel()?;
            tracing::info!("{tasks} tasks cancelled");
            Ok(())
        }
        (None, Some(file)) => start(&args, file),
        (None, None) => Err(Error::input("sweep", "names no sweep file")),
    }
}

fn start(args: &Args, path: &Path) -> Result<()> {
    let file = SweepFile::read(path)?;
    let overrides = args.overrides.assignments();
    let mut plan = Plan::new(&file, &args.out.out, &overrides)?;
    let jobs = args.jobs.unwrap_or(file.config.jobs);
    if jobs == 0 {
        return Err(Error::argument(
            "--jobs",
            "`0` runs nothing, expected at least 1",
        ));
    }
    // A device that cannot be opened would fail every run.
    device::parse(&args.device)?;
    if args.dry_run {
        return dry_run(&plan);
    }
    interrupt::listen()?;
    let lock = plan.lock()?;
    let split = plan.prepare(path, args.force)?;
    tracing::info!("{}", split.summary());
    interrupt::check("nothing has begun")?;
    let program = std::env::current_exe()?;
    if args.executor == "slurm" {
        return submit(args, &file, &plan, &split, &program, lock);
    }
    let options = LocalOptions {
        program,
        jobs,
        threads: args.threads,
        task: task_options(args)?,
    };
    let failures = run_local(&plan, &split, &options)?;
    finish(&plan, &split, &failures)
}

/// What every run is told, whoever starts it.
fn task_options(args: &Args) -> Result<Vec<String>> {
    let mut options = args.loader.arguments()?;
    options.extend(["--device".to_owned(), args.device.clone()]);
    if args.force {
        options.push("--force".to_owned());
    }
    Ok(options)
}

/// What would be run: the runs and what is there of each. Nothing is written.
fn dry_run(plan: &Plan) -> Result<()> {
    let split = plan.home.join("split");
    let split = match split.join("split.toml").is_file() {
        true => Some(Split::read(&split)?),
        false => None,
    };
    let mut table = Table::new(
        ["run", "loss", "configuration", "state"]
            .map(str::to_owned)
            .to_vec(),
    );
    for run in &plan.runs {
        let state = match &split {
            Some(split) => RunState::read(plan, run, split)?.state,
            None => State::Waiting,
        };
        table.push(vec![
            run.name.clone(),
            run.experiment.loss.name().to_owned(),
            run.hash[..12].to_owned(),
            state.name().to_owned(),
        ]);
    }
    output::data(&table.to_terminal());
    tracing::info!("{} runs; nothing was run", plan.runs.len());
    Ok(())
}

fn submit(
    args: &Args,
    file: &SweepFile,
    plan: &Plan,
    split: &Split,
    program: &Path,
    lock: RunLock,
) -> Result<()> {
    let mut indices = Vec::new();
    for (index, run) in plan.runs.iter().enumerate() {
        if RunState::read(plan, run, split)?.state != State::Finished {
            indices.push(index);
        }
    }
    if indices.is_empty() {
        tracing::info!("all {} runs are finished already", plan.runs.len());
        return finish(plan, split, &[]);
    }
    let options = task_options(args)?;
    let slurm = Slurm::new(plan);
    let job = slurm.submit(&file.config.slurm, &indices, program, &options)?;
    tracing::info!(
        "job {job}: {} of {} runs submitted",
        indices.len(),
        plan.runs.len()
    );
    output::data(&job);
    if !args.wait {
        let home = plan.home.display();
        tracing::info!(
            "`dbloss sweep status {home}` shows how far they are, `dbloss sweep collect {home}` compares them"
        );
        return Ok(());
    }
    // Tasks do not need it, and another call is told that the job has tasks.
    drop(lock);
    loop {
        let tasks = slurm.tasks()?;
        if tasks.is_empty() {
            break;
        }
        tracing::debug!("{} tasks wait or run", tasks.len());
        for _ in 0..20 {
            interrupt::check(&format!("job {job} goes on; `dbloss sweep cancel` ends it"))?;
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    finish(plan, split, &[])
}

fn status(plan: &Plan) -> Result<()> {
    let split = plan.split()?;
    let slurm = Slurm::new(plan);
    let tasks = slurm.tasks()?;
    let header = ["run", "state", "steps", "img/s", "slurm", "note"];
    let mut table = Table::new(header.map(str::to_owned).to_vec());
    let mut counts = [0usize; 5];
    for (index, run) in plan.runs.iter().enumerate() {
        let state = RunState::read(plan, run, &split)?;
        let task = tasks.iter().find(|task| task.index == index);
        let note = match (task, &state.error) {
            (_, Some(error)) if state.state == State::Failed => error.clone(),
            (Some(SlurmTask { reason, .. }), _) => reason.clone(),
            _ => String::new(),
        };
        counts[state.state as usize] += 1;
        table.push(vec![
            run.name.clone(),
            state.state.name().to_owned(),
            format!("{}/{}", state.steps, state.total_steps),
            state
                .images_per_second
                .map_or(String::new(), |v| format!("{v:.1}")),
            task.map_or(String::new(), |task| task.state.to_lowercase()),
            note,
        ]);
    }
    output::data(&table.to_terminal());
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
    tracing::info!("{} runs: {}", plan.runs.len(), parts.join(", "));
    Ok(())
}

/// Writes and prints the tables; an error tells which runs are missing from them.
fn finish(plan: &Plan, split: &Split, failures: &[Failure]) -> Result<()> {
    let collected = collect(plan, split)?;
    output::data(&collected.comparison.to_string());
    tracing::info!("tables written to {}", plan.home.display());
    for Failure { run, reason, log } in failures {
        tracing::error!("{run} failed: {reason} (log: {})", log.display());
    }
    let missing = collected.missing;
    // Runs that failed elsewhere, or in an earlier call, say so in their own folders.
    let told = |name: &str| failures.iter().any(|failure| failure.run == name);
    for name in missing.iter().filter(|name| !told(name)) {
        let state = RunState::read(plan, plan.find(name)?, split)?;
        if let (State::Failed, Some(error)) = (state.state, state.error) {
            tracing::error!("{name} failed: {error}");
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Error::input(
            plan.home.display(),
            format_args!(
                "{} of {} runs are not finished: {}",
                missing.len(),
                plan.runs.len(),
                missing.join(", ")
            ),
        )
        .hint("their logs are in `logs/`; the same `dbloss sweep` again goes on with them")),
    }
}

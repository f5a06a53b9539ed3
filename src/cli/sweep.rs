//! `dbloss sweep`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dbloss::device;
use dbloss::job::Room;
use dbloss::plan::{Executor, Outcome, Plan, Replace, Slurm, SweepFile};
use dbloss::wording::counted;
use dbloss::{Error, Result};

use super::output;
use super::plan::{PlanArgs, Which, dry_run, finish, prepare, status};

/// Run methods x seeds x a grid of settings, here or through Slurm, and compare them
///
/// Finished runs are recognised by their configuration and skipped, and interrupted ones continue:
/// however a sweep ends, running the same command again picks up where it stopped and gives the
/// same tables. A run that fails does not stop the others.
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
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// The sweep file
    #[arg(value_name = "SWEEP.toml", required = true)]
    file: Option<PathBuf>,
    #[command(flatten)]
    plan: PlanArgs,
    /// Where to run: on this machine, or through Slurm with the settings of the file's `[slurm]`
    /// table
    #[arg(long, default_value = "local", value_name = "WHO", value_parser = ["local", "slurm"])]
    executor: String,
    /// With Slurm: wait until all runs have ended, then write the tables
    #[arg(long)]
    wait: bool,
    /// Replace existing runs that have another configuration
    #[arg(long)]
    force: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show the progress of each run
    Status(Which),
    /// Compare the finished runs, and write the tables
    Collect(Which),
    /// Cancel the sweep's Slurm job; active runs save their state and stop
    Cancel(Which),
}

/// The plan of a folder, or the one that a sweep file led to.
fn opened(which: &Which) -> Result<Plan> {
    match which.plan.is_dir() {
        true => Plan::open(&which.plan),
        false => Plan::open(&which.out.out.join(SweepFile::read(&which.plan)?.name)),
    }
}

/// Runs the subcommand.
pub(super) fn run(args: Args) -> Result<()> {
    match (&args.action, &args.file) {
        (Some(Action::Status(which)), _) => {
            let plan = opened(which)?;
            status(&plan, &plan.split()?, which.format)
        }
        (Some(Action::Collect(which)), _) => {
            let plan = opened(which)?;
            let _lock = plan.lock(Duration::ZERO)?;
            finish(&plan, &plan.split()?, Vec::new(), which.format)
        }
        (Some(Action::Cancel(which)), _) => {
            let tasks = Slurm::new(&opened(which)?).cancel()?;
            tracing::info!("{} cancelled", counted(tasks, "task"));
            Ok(())
        }
        (None, Some(file)) => start(&args, file),
        (None, None) => Err(Error::input("sweep", "names no sweep file")),
    }
}

fn start(args: &Args, path: &Path) -> Result<()> {
    let overrides = args.plan.overrides.assignments();
    let file = SweepFile::read(path)?.renamed(&overrides);
    if file.config.tune.is_some() {
        let problem =
            "has a `[tune]` table: it is meant for choosing settings, not for comparing them";
        return Err(Error::file(path, problem).hint(format_args!(
            "use `dbloss tune {}`, which does so without the test set",
            path.display()
        )));
    }
    let mut plan = Plan::of_sweep(&file, &args.plan.out.out, &overrides)?;
    let jobs = args.plan.jobs(file.config.jobs)?;
    let slurm = args.executor == "slurm";
    refuse_ignored(args, slurm)?;
    // A device that cannot be opened would fail every run.
    let device = device::parse(args.plan.machine.device())?;
    if args.plan.dry_run {
        return dry_run(&plan, args.plan.format);
    }
    let replace = match args.force {
        true => Replace::Others,
        false => Replace::Nothing,
    };
    let executor: Box<dyn Executor> = match slurm {
        true => Box::new(args.plan.job_array(file.config.slurm, replace)?),
        false => Box::new(args.plan.processes(jobs, replace)?),
    };
    let room = match slurm {
        true => Room::Elsewhere,
        false => Room::of(&device, jobs),
    };
    let (split, lock) = prepare(&mut plan, path, replace, Duration::ZERO, room)?;
    let failures = match executor.execute(&plan, &split)? {
        Outcome::Ended(failures) => failures,
        Outcome::Submitted(job) => {
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
            Slurm::new(&plan).wait(&job)?;
            Vec::new()
        }
    };
    finish(&plan, &split, failures, args.plan.format)
}

/// Options that would say nothing to the executor.
fn refuse_ignored(args: &Args, slurm: bool) -> Result<()> {
    if !slurm && args.wait {
        return Err(
            Error::argument("--wait", "has no effect without `--executor slurm`")
                .hint("on this machine a sweep always waits until its runs have ended"),
        );
    }
    match slurm {
        true => args.plan.refuse_ignored_by_slurm(),
        false => Ok(()),
    }
}

//! `dbloss run`.

use std::path::PathBuf;
use std::time::Duration;

use dbloss::config::ExperimentFile;
use dbloss::data::split::Split;
use dbloss::plan::{Outcome, Plan, Replace};
use dbloss::{Error, Result};

use super::output;
use super::plan::{PlanArgs, Which, dry_run, finish, prepare, status};

/// Split, train and evaluate every method of an experiment, and compare them
///
/// Finished runs are recognised by their configuration and not trained again, and interrupted ones
/// continue: however the command ends, running it again picks up where it stopped and gives the
/// same tables. A run that fails does not stop the others. The comparison is printed, and written
/// as CSV and Markdown to `<OUT>/<experiment>/`.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  dbloss run experiments/shapes.toml
  dbloss run experiments/shapes.toml --seeds 0,1,2 --method erm --method db-focal
  dbloss run experiments/shapes.toml --seeds 0,1,2 --dry-run
  dbloss run status experiments/shapes.toml"
)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// The experiment file, or the name of an embedded one (`dbloss config list`)
    #[arg(value_name = "EXPERIMENT.toml", required = true)]
    file: Option<PathBuf>,
    /// Run only this method; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    method: Vec<String>,
    /// Seeds, instead of the file's
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', allow_negative_numbers = true, value_parser = super::common::seed)]
    seeds: Vec<u64>,
    /// Train existing runs again
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    plan: PlanArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show the progress of each run
    Status(Which),
}

/// Runs the subcommand.
pub(super) fn run(args: Args) -> Result<()> {
    match (&args.action, &args.file) {
        (Some(Action::Status(which)), _) => {
            let (plan, split) = opened(which)?;
            status(&plan, &split, which.format)
        }
        (None, Some(file)) => start(&args, file),
        (None, None) => Err(Error::input("run", "names no experiment file")),
    }
}

/// The plan of a folder, or of an experiment file as it stands.
fn opened(which: &Which) -> Result<(Plan, Split)> {
    if which.plan.is_dir() {
        let plan = Plan::open(&which.plan)?;
        let split = plan.split()?;
        return Ok((plan, split));
    }
    let file = ExperimentFile::read(&which.plan, &[])?;
    let plan = Plan::of_experiment(&file, &which.out.out, &[], &[])?;
    match plan.existing_split()? {
        Some(split) => Ok((plan, split)),
        None => Err(
            Error::file(&plan.home, "contains no run of this experiment yet")
                .hint("pass the same `--out` as to `dbloss run`"),
        ),
    }
}

fn start(args: &Args, path: &std::path::Path) -> Result<()> {
    let PlanArgs { overrides, out, .. } = &args.plan;
    let file = ExperimentFile::read(path, &overrides.assignments())?;
    let mut plan = Plan::of_experiment(&file, &out.out, &args.method, &args.seeds)?;
    let jobs = args.plan.jobs(1)?.min(plan.runs.len());
    if args.plan.dry_run {
        return dry_run(&plan, args.plan.format);
    }
    let replace = match args.force {
        true => Replace::Everything,
        false => Replace::Nothing,
    };
    let (executor, room) = args.plan.here(jobs, replace)?;
    // Two calls may train different methods of one experiment at the same time: the folder is held
    // only while it is prepared.
    let (split, lock) = prepare(&mut plan, path, replace, Duration::from_secs(600), room)?;
    drop(lock);
    plan.add_earlier(&file, &split)?;
    match executor.execute(&plan, &split)? {
        Outcome::Ended(failures) => finish(&plan, &split, failures, args.plan.format),
        Outcome::Submitted(job) => {
            output::data(&job);
            Ok(())
        }
    }
}

//! `dbloss tune`.

use std::path::PathBuf;

use dbloss::config::Layers;
use dbloss::data::split::Split;
use dbloss::job::Room;
use dbloss::plan::tune::{ChosenRow, Means, Tuning};
use dbloss::plan::{Executor, JobArray, Outcome, Plan, Replace, Slurm, SweepFile};
use dbloss::report::table::{Table, percent};
use dbloss::{Result, interrupt};

use super::output;
use super::plan::PlanArgs;

/// Choose each method's settings on folds of the training subset, then compare on the test set
///
/// Every method gets the same number of trainings. A trial trains on one part of the training
/// subset and is scored on the rest; it never sees the test set. The chosen settings are recorded;
/// then the final runs train on the whole subset (or on several newly drawn ones) and are scored
/// once on the test set. However the command ends, running it again continues.
///
/// The file is a sweep file: `[grid]` lists the values to try, and `[tune]` says how. With an
/// experiment file, five learning rates are tried, from a tenth of its own to ten times that.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dbloss tune experiments/shapes.toml
  dbloss tune experiments/tune/voc07-features.toml --jobs 2
  dbloss tune experiments/tune/voc07-features.toml --only-search")]
pub(super) struct Args {
    /// The sweep file, or an experiment file
    #[arg(value_name = "FILE.toml")]
    file: PathBuf,
    #[command(flatten)]
    plan: PlanArgs,
    /// Where to train: on this machine, or through Slurm with the settings of the file's `[slurm]`
    /// table
    #[arg(long, default_value = "local", value_name = "WHO", value_parser = ["local", "slurm"])]
    executor: String,
    /// Stop once the settings are chosen, without using the test set
    #[arg(long)]
    only_search: bool,
}

/// Slurm, waiting for the end of each job: what follows depends on it.
struct Patient(JobArray);

impl Executor for Patient {
    fn execute(&self, plan: &Plan, split: &Split) -> Result<Outcome> {
        match self.0.execute(plan, split)? {
            Outcome::Submitted(job) => {
                Slurm::new(plan).wait(&job)?;
                Ok(Outcome::Ended(Vec::new()))
            }
            ended => Ok(ended),
        }
    }
}

/// Runs the subcommand.
pub(super) fn run(args: Args) -> Result<()> {
    let slurm = args.executor == "slurm";
    if slurm {
        args.plan.refuse_ignored_by_slurm()?;
    }
    let layers = Layers::read(&args.file)?;
    let sweep = match SweepFile::is_one(&layers) {
        true => SweepFile::of(&args.file, &layers)?,
        false => SweepFile::around(&args.file)?,
    };
    let overrides = args.plan.overrides.assignments();
    let sweep = sweep.renamed(&overrides);
    let jobs = args.plan.jobs(sweep.config.jobs)?;
    let slurm_config = sweep.config.slurm.clone();
    let tuning = Tuning::new(sweep, &args.plan.out.out, &overrides)?;
    tracing::info!("{}", tuning.summary());
    if args.plan.dry_run {
        tracing::info!("nothing was run");
        return Ok(());
    }
    interrupt::listen()?;
    let _lock = tuning.lock()?;
    let replace = Replace::Nothing;
    let (executor, room): (Box<dyn Executor>, Room) = match slurm {
        true => {
            let array = args.plan.job_array(slurm_config, replace)?;
            (Box::new(Patient(array)), Room::Elsewhere)
        }
        false => args.plan.here(jobs, replace)?,
    };
    let means = Means {
        executor: &*executor,
        room,
    };
    let chosen = tuning.run(means, args.only_search)?;
    output::table(args.plan.format, chosen, chosen_table)?;
    tracing::info!(
        "see {} for the search and its outcome",
        tuning.home().join("index.html").display()
    );
    Ok(())
}

/// What was chosen, for people.
fn chosen_table(chosen: &[ChosenRow]) -> String {
    let header = [
        "method",
        "chosen",
        "mAP on folds, %",
        "trainings",
        "at the edge",
    ];
    let mut table = Table::new(header.map(str::to_owned).to_vec());
    for row in chosen {
        table.push(vec![
            row.method.clone(),
            row.setting_in_words(),
            percent(row.map),
            row.trainings.to_string(),
            row.at_edge.clone(),
        ]);
    }
    table.to_terminal()
}

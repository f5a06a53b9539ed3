//! `dbloss train`.

use std::path::PathBuf;

use dbloss::Result;
use dbloss::config::ExperimentFile;
use dbloss::job;
use dbloss::run_dir::RunDir;

use super::common::{ExistingArgs, MachineArgs, OverrideArgs};
use super::output;

/// Train one model
///
/// Builds the experiment's split if it is not there yet, trains one method with one seed, and
/// writes the run's folder: the resolved configuration, a manifest, a row a step and an epoch,
/// and the checkpoint. Ctrl-C saves and leaves; `--resume` goes on and ends with the same model
/// as an uninterrupted run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  dbloss train --config experiments/shapes.toml --method db-focal --seed 1
  dbloss train --config experiments/shapes.toml --method erm --set train.epochs=4 --out runs/short")]
pub struct Args {
    /// The experiment file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Which of the file's methods; may be left out if there is but one
    #[arg(long, value_name = "NAME")]
    method: Option<String>,
    /// Root of all random numbers, instead of the file's
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The run's folder [default: runs/<experiment>/<method>-s<seed>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    overrides: OverrideArgs,
    #[command(flatten)]
    existing: ExistingArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Runs the subcommand.
pub fn run(args: Args) -> Result<()> {
    let file = ExperimentFile::read(&args.config, &args.overrides.assignments())?;
    let experiment = file.resolve(args.method.as_deref(), args.seed)?;
    let machine = args.machine.open()?;
    let home = PathBuf::from("runs").join(&experiment.name);
    let out = args.out.unwrap_or_else(|| home.join(experiment.run_name()));
    // A run with a folder of its own keeps its split there too.
    let split_folder = match out.starts_with(&home) {
        true => home.join("split"),
        false => out.join("split"),
    };
    let run = RunDir::new(&out);
    let existing = args.existing.existing();
    job::check_folder(&run, existing)?;
    let (split, split_folder) = job::open_split(&experiment, &split_folder)?;
    job::train(&experiment, &split, &split_folder, &run, &machine, existing)?;
    output::data(&out.display().to_string());
    Ok(())
}

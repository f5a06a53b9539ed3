//! `dbloss train`.

use std::path::PathBuf;

use dbloss::config::ExperimentFile;
use dbloss::job::{self, Room, Train, Trained};
use dbloss::progress::human_seconds;
use dbloss::run_dir::RunDir;
use dbloss::{Error, Result};

use super::common::{ExistingArgs, MachineArgs, OverrideArgs};
use super::output;

/// Train one model
///
/// Builds the experiment's split if it does not exist yet, trains one method with one seed, and
/// writes the run's folder: the resolved configuration, a manifest, tables with one row per step
/// and per epoch, and the checkpoint. Ctrl-C saves the state and stops; `--resume` continues, and
/// gives the same model as an uninterrupted run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dbloss train experiments/shapes.toml --method db-focal --seed 1
  dbloss train experiments/shapes.toml --method erm --set train.epochs=4 --out runs/short")]
pub(super) struct Args {
    /// The experiment file, or the name of an embedded one (`dbloss config list`)
    #[arg(value_name = "EXPERIMENT.toml", required_unless_present = "config")]
    file: Option<PathBuf>,
    /// How version 0.1 spelled it
    #[arg(long, value_name = "FILE", hide = true, conflicts_with = "file")]
    config: Option<PathBuf>,
    /// Which of the file's methods; needed only if there are several
    #[arg(long, value_name = "NAME")]
    method: Option<String>,
    /// Seed of all random numbers, instead of the file's
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = super::common::seed)]
    seed: Option<u64>,
    /// Folder of the run [default: runs/<experiment>/<method>-s<seed>]
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
pub(super) fn run(args: Args) -> Result<()> {
    let Some(path) = args.file.or(args.config) else {
        return Err(Error::input("train", "names no experiment file"));
    };
    let file = ExperimentFile::read(&path, &args.overrides.assignments())?;
    let experiment = file.resolve(args.method.as_deref(), args.seed)?;
    let machine = args.machine.open()?;
    let home = PathBuf::from("runs").join(&experiment.name);
    let out = args.out.unwrap_or_else(|| home.join(experiment.run_name()));
    // A run with a folder of its own keeps its split there too.
    let split_folder = match out.starts_with(&home) {
        true => home.join(RunDir::SPLIT),
        false => out.join(RunDir::SPLIT),
    };
    let run = RunDir::new(&out);
    let existing = args.existing.existing();
    run.check(existing)?;
    let (split, split_folder) = job::open_split(&experiment, &split_folder)?;
    tracing::info!("{}", split.summary());
    let train = Train {
        experiment: &experiment,
        split: &split,
        split_folder: &split_folder,
        run: &run,
        machine: &machine,
        existing,
    };
    let manifest = match train.finished()? {
        Some(manifest) => {
            tracing::info!("{}: finished already", out.display());
            job::add_events(&experiment, &split, &run)?;
            manifest
        }
        None => {
            job::check_images(&experiment, &split, &split_folder, false)?;
            job::tell([&experiment], &split, Room::of(&machine.device, 1))?;
            let trained = train.prepare()?.train();
            let Trained { manifest, .. } = trained.map_err(|error| match error {
                Error::Interrupted(what) => Error::Interrupted(format!(
                    "{what}; continue with the same command and `--resume`"
                )),
                other => other,
            })?;
            manifest
        }
    };
    let speed = manifest.images_per_second();
    let speed = speed.map_or(String::new(), |speed| format!(" at {speed:.1} img/s"));
    tracing::info!(
        "trained in {}{speed}; next: `dbloss eval {}`",
        human_seconds(manifest.train_seconds),
        out.display()
    );
    output::data(&out.display().to_string());
    Ok(())
}

//! `dbloss features`.

use std::path::PathBuf;

use dbloss::config::ExperimentFile;
use dbloss::data::split::Set;
use dbloss::job;
use dbloss::run_dir::RunDir;
use dbloss::{Error, Result};

use super::common::{MachineArgs, OverrideArgs};
use super::output;

/// Compute the features of a frozen backbone, or export them to a file
///
/// `train`, `run` and `sweep` compute and keep features on their own; this command does it in
/// advance, for the sets that training and evaluation need. With `--out` they are written as an
/// array instead, with the names and labels of their pictures: a `.npy` file with a `.csv` file
/// beside it, or one `.safetensors` file. An experiment reads either with `model.features`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dbloss features experiments/voc-mlt.toml --set model.frozen_stages=4 --views 10
  dbloss features experiments/voc-mlt.toml --set model.frozen_stages=4 --on test --out test.npy")]
pub(super) struct Args {
    /// The experiment file
    #[arg(value_name = "EXPERIMENT.toml")]
    file: PathBuf,
    /// Which of the file's methods [default: the first]
    #[arg(long, value_name = "NAME")]
    method: Option<String>,
    /// Which images
    #[arg(long, default_value = "all", value_name = "SET",
        value_parser = ["train", "validation", "test", "all"])]
    on: String,
    /// Augmented versions of each training picture, instead of the file's `input.augment.views`
    #[arg(long, value_name = "K")]
    views: Option<usize>,
    /// Write features to a `.npy` or `.safetensors` file: of the pictures as in testing, or with
    /// `--views` as in training
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    overrides: OverrideArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Runs the subcommand.
pub(super) fn run(args: Args) -> Result<()> {
    let mut assignments = args.overrides.assignments();
    assignments.extend(
        args.views
            .map(|views| format!("input.augment.views={views}")),
    );
    let file = ExperimentFile::read(&args.file, &assignments)?;
    let methods = file.methods();
    let method = args.method.as_deref().or(methods.first().copied());
    let experiment = file.resolve(method, None)?;
    let machine = args.machine.open()?;
    let home = PathBuf::from("runs").join(&experiment.name);
    let (split, split_folder) = job::open_split(&experiment, &home.join(RunDir::SPLIT))?;
    tracing::info!("{}", split.summary());
    let sets: Vec<Set> = match Set::from_name(&args.on) {
        Some(set) => vec![set],
        None => (Set::ALL.into_iter())
            .filter(|&set| set != Set::Validation || split.validation.is_some())
            .filter(|&set| set != Set::Test || !split.test.is_empty())
            .collect(),
    };
    let features = job::Features {
        experiment: &experiment,
        split: &split,
        split_folder: &split_folder,
        machine: &machine,
    };
    let written = match args.out {
        Some(out) => {
            features
                .export(&sets, args.views.is_some(), &out)
                .map_err(|error: Error| experiment.locate(error))?;
            out
        }
        None => features
            .keep(&sets)
            .map_err(|error: Error| experiment.locate(error))?,
    };
    output::data(&written.display().to_string());
    Ok(())
}

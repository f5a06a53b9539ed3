//! `dbloss config`.

use std::path::PathBuf;

use dbloss::config::{Experiment, ExperimentFile, Layers};
use dbloss::data::sampler::SamplerConfig;
use dbloss::data::split::Split;
use dbloss::job::Room;
use dbloss::model::backbone;
use dbloss::plan::SweepFile;
use dbloss::wording::counted;
use dbloss::{Result, job, loss};

use super::common::OverrideArgs;
use super::output;

/// Show, check and list configurations
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dbloss config show experiments/shapes.toml --method db-focal --set loss.mu=0.4
  dbloss config check experiments/shapes.toml
  dbloss config list")]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print the resolved configuration of a method as TOML
    Show {
        /// The experiment file
        file: PathBuf,
        /// Which of its methods
        #[arg(long, value_name = "NAME")]
        method: Option<String>,
        #[command(flatten)]
        overrides: OverrideArgs,
    },
    /// Check files: every key, every range, every method
    Check {
        /// The experiment files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        overrides: OverrideArgs,
    },
    /// List experiment files and the names of losses, samplers and backbones
    List {
        /// Folder of the experiment files
        #[arg(long, default_value = "experiments", value_name = "DIR")]
        folder: PathBuf,
    },
}

/// Runs the subcommand.
pub(super) fn run(args: Args) -> Result<()> {
    match args.action {
        Action::Show {
            file,
            method,
            overrides,
        } => {
            let file = ExperimentFile::read(&file, &overrides.assignments())?;
            output::data(&file.resolve(method.as_deref(), None)?.to_toml()?);
        }
        Action::Check { files, overrides } => {
            for path in files {
                let layers = Layers::read(&path)?;
                let assignments = overrides.assignments();
                let (experiments, jobs, kind) = match SweepFile::is_one(&layers) {
                    true => {
                        let sweep = SweepFile::of(&path, &layers)?;
                        let runs = sweep.experiments(&assignments)?;
                        (runs, sweep.config.jobs, "a sweep of ")
                    }
                    false => {
                        let file = ExperimentFile::of(&path, layers, &assignments)?;
                        (file.resolve_all(&[], &[])?, 1, "")
                    }
                };
                tell(&experiments, jobs)?;
                let runs = counted(experiments.len(), "run");
                output::data(&format!("{}: good, {kind}{runs}", path.display()));
            }
        }
        Action::List { folder } => list(&folder)?,
    }
    Ok(())
}

/// Tells of what is odd about experiments, of which `jobs` run at a time, as far as it can be known:
/// with their split if it is there already.
fn tell(experiments: &[Experiment], jobs: usize) -> Result<()> {
    let folder = experiments.first().and_then(|e| e.split_folder.as_deref());
    match folder.filter(|folder| folder.is_dir()) {
        Some(folder) => {
            let room = Room::of_any_device(jobs);
            job::tell(experiments, &Split::read(folder)?, room)
        }
        None => {
            let mut told: Vec<String> = Vec::new();
            told.extend(experiments.iter().flat_map(|e| job::warnings(e, None)));
            told.sort();
            told.dedup();
            told.iter().for_each(|warning| tracing::warn!("{warning}"));
            Ok(())
        }
    }
}

fn list(folder: &std::path::Path) -> Result<()> {
    let mut text = String::from("experiments:\n");
    for path in dbloss::config::experiment_files(folder)? {
        let layers = Layers::read(&path);
        if layers.as_ref().is_ok_and(SweepFile::is_one) {
            text.push_str(&format!("  {}: (a sweep)\n", path.display()));
            continue;
        }
        let line = match layers.and_then(|layers| ExperimentFile::of(&path, layers, &[])) {
            Ok(file) if file.methods().is_empty() => String::from("(a base, or one method)"),
            Ok(file) => file.methods().join(" "),
            Err(error) => format!("({error})"),
        };
        text.push_str(&format!("  {}: {line}\n", path.display()));
    }
    for (what, names) in [
        ("losses", loss::names().join(" ")),
        ("samplers", SamplerConfig::KINDS.join(" ")),
        ("backbones", backbone::names().join(" ")),
    ] {
        text.push_str(&format!("{what}: {names}\n"));
    }
    output::data(&text);
    Ok(())
}

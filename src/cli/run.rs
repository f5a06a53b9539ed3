//! `dbloss run`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use dbloss::config::{Experiment, ExperimentFile};
use dbloss::data::split::Split;
use dbloss::job::{self, Evaluate, EvaluatedSet, Existing, Machine};
use dbloss::progress::human_seconds;
use dbloss::report::compare::{Comparison, Entry};
use dbloss::report::evaluation::Options;
use dbloss::run_dir::{Manifest, RunDir, Status};
use dbloss::{Error, Result};

use super::common::{MachineArgs, OutArgs, OverrideArgs};
use super::output;

/// Split, train and evaluate every method of an experiment, and compare
///
/// Runs that are finished are recognised by their configuration and not trained again; those that
/// were interrupted go on. The comparison is printed and written as CSV and Markdown to
/// `<OUT>/<experiment>/`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dbloss run experiments/shapes.toml
  dbloss run experiments/shapes.toml --seeds 0,1,2 --method erm --method db-focal")]
pub struct Args {
    /// The experiment file
    #[arg(value_name = "EXPERIMENT.toml")]
    file: PathBuf,
    /// Only this method; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    method: Vec<String>,
    /// Seeds, instead of the file's
    #[arg(long, value_name = "N,N,...", value_delimiter = ',')]
    seeds: Vec<u64>,
    #[command(flatten)]
    overrides: OverrideArgs,
    #[command(flatten)]
    out: OutArgs,
    /// Train runs again that are there already
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Runs the subcommand.
pub fn run(args: Args) -> Result<()> {
    let file = ExperimentFile::read(&args.file, &args.overrides.assignments())?;
    let experiments = file.resolve_all(&args.method, &args.seeds)?;
    let machine = args.machine.open()?;
    let home = args.out.out.join(&experiments[0].name);
    let (split, split_folder) = job::open_split(&experiments[0], &home.join("split"))?;
    tracing::info!("{}", split.summary());

    let existing = match args.force {
        true => Existing::Overwrite,
        false => Existing::ResumeOrStart,
    };
    // All folders first: a training must not end before another's that cannot begin.
    for experiment in &experiments {
        job::check_folder(&RunDir::new(home.join(experiment.run_name())), existing)?;
    }
    let start = Instant::now();
    let (mut entries, mut failures) = (Vec::new(), Vec::new());
    for (done, experiment) in experiments.iter().enumerate() {
        let run = RunDir::new(home.join(experiment.run_name()));
        let trained = job::train(experiment, &split, &split_folder, &run, &machine, existing);
        match trained.and_then(|()| entry(experiment, &run, &machine)) {
            Ok((entry, line)) => {
                tracing::info!(
                    "{} ({} of {}, {} in all): {line}",
                    experiment.run_name(),
                    done + 1,
                    experiments.len(),
                    human_seconds(start.elapsed().as_secs_f64()),
                );
                entries.push(entry);
            }
            Err(error @ Error::Interrupted(_)) => return Err(error),
            // The others can still be compared; the error is told now and counted at the end.
            Err(error) if experiments.len() > 1 => {
                tracing::error!("{}: {error}", experiment.run_name());
                failures.push(experiment.run_name());
            }
            Err(error) => return Err(error),
        }
    }
    entries.extend(earlier(&file, &experiments, &home, &split, &machine)?);
    let comparison = Comparison::new(&experiments[0].name, entries);
    comparison.write(&home)?;
    output::data(&comparison.to_string());
    tracing::info!("tables written to {}", home.display());
    match failures.is_empty() {
        true => Ok(()),
        false => Err(Error::input(
            home.display(),
            format_args!("{} runs failed: {}", failures.len(), failures.join(", ")),
        )
        .hint("the reason is in each run's `manifest.json`")),
    }
}

/// Evaluates a trained run: its row of the comparison, and a line for the log.
fn entry(experiment: &Experiment, run: &RunDir, machine: &Machine) -> Result<(Entry, String)> {
    let job = Evaluate {
        run,
        set: EvaluatedSet::Test,
        checkpoint: "last",
        fit_thresholds: false,
        split_folder: None,
    };
    let evaluation = job::evaluate(&job, machine, Options::default())?;
    let manifest = Manifest::read(&run.manifest())?;
    let speed = manifest.images_per_second();
    let speed_text = speed.map_or(String::new(), |speed| format!(", {speed:.1} img/s"));
    let line = format!("mAP {}{speed_text}", evaluation.one_line());
    let entry = Entry {
        method: experiment.method.clone(),
        seed: experiment.seed,
        groups: evaluation.groups().clone(),
        classes: evaluation.classes().to_vec(),
        train_seconds: manifest.train_seconds,
        images_per_second: speed,
    };
    Ok((entry, line))
}

/// Runs of the same file that an earlier call finished in the same folder, with the settings that
/// this call would give them: they belong into the comparison too.
fn earlier(
    file: &ExperimentFile,
    experiments: &[Experiment],
    home: &Path,
    split: &Split,
    machine: &Machine,
) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut folders: Vec<PathBuf> = Vec::new();
    for folder in fs_err::read_dir(home)? {
        folders.push(folder?.path());
    }
    folders.sort();
    for folder in folders {
        let run = RunDir::new(&folder);
        let Ok(manifest) = Manifest::read(&run.manifest()) else {
            continue;
        };
        let this_call = |e: &Experiment| folder == home.join(e.run_name());
        if manifest.status != Status::Finished
            || manifest.split_hash != split.hash
            || experiments.iter().any(this_call)
        {
            continue;
        }
        let method = Some(manifest.method.as_str()).filter(|_| !file.methods().is_empty());
        if let Ok(experiment) = file.resolve(method, Some(manifest.seed))
            && experiment.hash()? == manifest.config_hash
        {
            entries.push(entry(&experiment, &run, machine)?.0);
        }
    }
    Ok(entries)
}

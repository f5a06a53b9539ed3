//! Arguments that several subcommands share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, StringValueParser, TypedValueParser};

use dbloss::config::{ExperimentFile, Layers};
use dbloss::data::augment::InputConfig;
use dbloss::data::image::ImageRoot;
use dbloss::data::labels::LabelTable;
use dbloss::data::loader::LoaderOptions;
use dbloss::data::split::{Set, Split};
use dbloss::device;
use dbloss::error::closest;
use dbloss::job::{KeptFeatures, Machine};
use dbloss::run_dir::{Checkpoint, Existing};
use dbloss::{Error, Result};

/// Parses the name of a split's set.
pub(super) fn set_parser() -> impl TypedValueParser<Value = Set> {
    PossibleValuesParser::new(Set::ALL.map(Set::name))
        .map(|name| Set::from_name(&name).unwrap_or(Set::Test))
}

/// Parses the name of a checkpoint: `last`, `best`, `epoch-3`.
pub(super) fn checkpoint_parser() -> impl TypedValueParser<Value = Checkpoint> {
    StringValueParser::new().try_map(|name| name.parse::<Checkpoint>())
}

/// The index of the class called `name`, which `argument` asks for.
///
/// # Errors
/// There is none; one that is spelled nearly so is named.
pub(super) fn class_named(classes: &[String], name: &str, argument: &str) -> Result<usize> {
    (classes.iter().position(|class| class == name)).ok_or_else(|| {
        let error = Error::argument(argument, format_args!("the split has no class `{name}`"));
        match closest(name, classes.iter().map(String::as_str)) {
            Some(near) => error.hint(format_args!("did you mean `{near}`?")),
            None => error.hint(format_args!("the classes are {}", classes.join(", "))),
        }
    })
}

/// Refuses a file that is there, unless it may be replaced.
///
/// # Errors
/// It is there and `force` is false.
pub(super) fn free_file(file: &Path, force: bool) -> Result<()> {
    match file.exists() && !force {
        true => Err(Error::file(file, "exists already")
            .hint("name another file with `--out`, or pass `--force` to replace it")),
        false => Ok(()),
    }
}

/// How pictures are loaded; none of it changes a number.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct LoaderArgs {
    /// Threads per run that load pictures while the network computes; 0 loads them between the
    /// steps
    #[arg(long, default_value_t = 2, value_name = "N")]
    workers: usize,
    /// Mebibytes of decoded pictures that each run keeps in memory between epochs; 0 keeps none
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    cache_memory: u64,
    /// Folder that keeps decoded pictures between runs. It takes about ten times the size of the
    /// files, and pays off when pictures are large, do not fit into memory, or are read by several
    /// runs at once
    #[arg(long, value_name = "DIR")]
    cache_folder: Option<PathBuf>,
}

impl LoaderArgs {
    /// As the loader takes them.
    pub(super) fn options(&self) -> LoaderOptions {
        LoaderOptions {
            workers: self.workers,
            cache_bytes: self.cache_memory.saturating_mul(1 << 20),
            cache_folder: self.cache_folder.clone(),
            ..LoaderOptions::default()
        }
    }

    /// The same arguments for another process, wherever it starts.
    fn arguments(&self) -> Result<Vec<String>> {
        let mut arguments = vec![
            "--workers".to_owned(),
            self.workers.to_string(),
            "--cache-memory".to_owned(),
            self.cache_memory.to_string(),
        ];
        if let Some(folder) = &self.cache_folder {
            arguments.extend(absolute_argument("--cache-folder", folder)?);
        }
        Ok(arguments)
    }
}

/// Where and with how many threads; none of it changes a number.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct MachineArgs {
    /// Device to compute on: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: String,
    /// Threads to compute with, shared out if several runs go at once; 0 uses all cores
    #[arg(long, default_value_t = 0, value_name = "N")]
    threads: usize,
    #[command(flatten)]
    loader: LoaderArgs,
    /// Folder that keeps the features that a frozen backbone computes, for all runs to share
    /// [default: `features` in the split folder]
    #[arg(long, value_name = "DIR", conflicts_with = "no_features")]
    features_folder: Option<PathBuf>,
    /// Compute features again each time a picture is used: the same result, but much slower
    #[arg(long)]
    no_features: bool,
}

/// A path for another process, wherever it starts.
fn absolute_argument(option: &str, path: &Path) -> Result<[String; 2]> {
    let path = std::path::absolute(path)?.into_os_string();
    let path = path.into_string().map_err(|path| {
        let problem = format!("{} is not UTF-8", Path::new(&path).display());
        Error::argument(option, problem)
    })?;
    Ok([option.to_owned(), path])
}

impl MachineArgs {
    /// Opens the device and starts the threads.
    pub(super) fn open(&self) -> Result<Machine> {
        device::set_threads(self.threads)?;
        let options = self.loader.options();
        Ok(Machine {
            device: device::parse(&self.device)?,
            workers: options.workers,
            cache_bytes: options.cache_bytes,
            cache_folder: options.cache_folder,
            features: KeptFeatures::new(self.no_features, self.features_folder.clone()),
            patience: Duration::ZERO,
        })
    }

    /// The device's name.
    pub(super) fn device(&self) -> &str {
        &self.device
    }

    /// Threads to be divided between several runs.
    pub(super) fn threads(&self) -> usize {
        device::usable_threads(self.threads)
    }

    /// True if a number of threads is given.
    pub(super) fn asks_for_threads(&self) -> bool {
        self.threads > 0
    }

    /// The same arguments, without the threads, for another process, wherever it starts.
    pub(super) fn arguments(&self) -> Result<Vec<String>> {
        let mut arguments = self.loader.arguments()?;
        arguments.extend(["--device".to_owned(), self.device.clone()]);
        if let Some(folder) = &self.features_folder {
            arguments.extend(absolute_argument("--features-folder", folder)?);
        }
        if self.no_features {
            arguments.push("--no-features".to_owned());
        }
        Ok(arguments)
    }
}

/// What to do with results that are there already.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ExistingArgs {
    /// Continue an interrupted run from its last checkpoint
    #[arg(long, conflicts_with = "force")]
    resume: bool,
    /// Replace an existing run
    #[arg(long)]
    force: bool,
}

impl ExistingArgs {
    /// The choice.
    pub(super) fn existing(&self) -> Existing {
        match (self.resume, self.force) {
            (true, _) => Existing::Resume,
            (_, true) => Existing::Overwrite,
            _ => Existing::Refuse,
        }
    }
}

/// An experiment file with overrides.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct OverrideArgs {
    /// Override a key of the configuration, for example `--set loss.gamma=0.5`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    assignments: Vec<String>,
    /// What to do about a picture that cannot be decoded, instead of the file's `on_bad_image`:
    /// stop with an error, or warn and skip it
    #[arg(long, value_name = "CHOICE", value_parser = ["error", "skip"])]
    on_bad_image: Option<String>,
    /// Also write TensorBoard event files, into `tensorboard/` of each run
    #[arg(long)]
    tensorboard: bool,
}

impl OverrideArgs {
    /// The overrides as `key=value`, in the order in which they apply.
    pub(super) fn assignments(&self) -> Vec<String> {
        let choice = self.on_bad_image.iter();
        let choice = choice.map(|choice| format!("on_bad_image={choice}"));
        let events = (self.tensorboard).then(|| "train.tensorboard=true".to_owned());
        let given = self.assignments.iter().cloned();
        given.chain(choice).chain(events).collect()
    }
}

/// Where runs are written.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct OutArgs {
    /// Folder for all runs; those of one experiment go into `<OUT>/<experiment>/`
    #[arg(long, default_value = "runs", value_name = "DIR")]
    pub out: PathBuf,
}

/// The folder of a split.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct SplitArg {
    /// The split folder
    #[arg(value_name = "SPLIT", required_unless_present = "split")]
    folder: Option<PathBuf>,
    /// How version 0.1 spelled it
    #[arg(long, value_name = "DIR", hide = true, conflicts_with = "folder")]
    split: Option<PathBuf>,
}

impl SplitArg {
    /// The folder; clap has seen to it that there is one.
    pub(super) fn folder(&self) -> &Path {
        let given = self.folder.as_deref().or(self.split.as_deref());
        given.unwrap_or(Path::new("."))
    }
}

/// How pictures become a network's input, and which of a split are taken.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct InputArgs {
    /// Which images [default: train]
    #[arg(long, value_name = "SET", value_parser = set_parser())]
    on: Option<Set>,
    /// Override a key of the configuration, for example `--set input.size=96`; may be repeated
    // Version 0.1 named the images with it: `--set test`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    assignments: Vec<String>,
    /// Experiment whose `[input]` table to use, that of its first method [default: the published
    /// recipe]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Side of the pictures in pixels, instead of the configuration's `input.size`
    #[arg(long, value_name = "PIXELS")]
    size: Option<u32>,
}

impl InputArgs {
    /// Which images: the training images if nothing else is asked for.
    pub(super) fn set(&self) -> Result<Set> {
        let mut sets: Vec<Set> = self.on.into_iter().collect();
        for value in &self.assignments {
            match (value.contains('='), Set::from_name(value)) {
                (true, _) => {}
                (false, Some(set)) => sets.push(set),
                (false, None) => {
                    return Err(Error::argument(
                        format_args!("--set {value}"),
                        "expected `key.path=value`",
                    )
                    .hint("choose the images with `--on train|validation|test`"));
                }
            }
        }
        match sets.as_slice() {
            [] => Ok(Set::Train),
            [set] => Ok(*set),
            _ => Err(Error::argument("--on", "names more than one set")),
        }
    }

    /// The `[input]` table.
    pub(super) fn config(&self) -> Result<InputConfig> {
        let assignments = self.assignments.iter().filter(|value| value.contains('='));
        let assignments: Vec<String> = assignments.cloned().collect();
        let mut config = match &self.config {
            Some(path) => {
                let file = ExperimentFile::read(path, &assignments)?;
                file.resolve(file.methods().first().copied(), None)?.input
            }
            None => {
                let mut layers = Layers::default();
                for assignment in &assignments {
                    layers.set(assignment)?;
                }
                layers.typed::<InputAlone>()?.input
            }
        };
        config.size = self.size.unwrap_or(config.size);
        config.check(&"input".into())?;
        Ok(config)
    }

    /// The label table of the images and the root of their pictures.
    pub(super) fn images(&self, folder: &Path) -> Result<(Arc<LabelTable>, ImageRoot)> {
        let split = Split::read(folder)?;
        let (table, root) = split.set(self.set()?, folder)?;
        Ok((Arc::clone(table), root.clone()))
    }
}

/// The part of an experiment that needs no experiment.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct InputAlone {
    #[serde(default)]
    input: InputConfig,
}

/// A seed as the command line takes it; TOML holds none beyond.
pub(super) fn seed(text: &str) -> std::result::Result<u64, String> {
    let seed = text
        .parse()
        .ok()
        .filter(|seed| i64::try_from(*seed).is_ok());
    seed.ok_or_else(|| format!("expected a whole number from 0 to {}", i64::MAX))
}

/// Says that 0.1.0's `--bootstrap` is taken but changes nothing.
pub(super) fn tell_of_bootstrap(resamples: Option<usize>) {
    if resamples.is_some() {
        tracing::info!("`--bootstrap` has no effect: the intervals no longer need resampling");
    }
}

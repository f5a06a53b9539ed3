//! Arguments that several subcommands share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dbloss::data::loader::LoaderOptions;
use dbloss::device;
use dbloss::job::{Existing, Machine};
use dbloss::{Error, Result};

/// How pictures are loaded; none of it changes a number.
#[derive(Debug, Clone, clap::Args)]
pub struct LoaderArgs {
    /// Threads of a run that load pictures beside its engine; 0 loads between the steps
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub workers: usize,
    /// Mebibytes of decoded pictures that a run keeps in memory from epoch to epoch; 0 keeps none
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    cache_memory: u64,
    /// Folder that keeps decoded pictures from run to run: worth its room (about ten times that of
    /// the files) where they are large, do not fit into memory, or serve several runs at once
    #[arg(long, value_name = "DIR")]
    cache_folder: Option<PathBuf>,
}

impl LoaderArgs {
    /// As the loader takes them.
    pub fn options(&self) -> LoaderOptions {
        LoaderOptions {
            workers: self.workers,
            cache_bytes: self.cache_memory.saturating_mul(1 << 20),
            cache_folder: self.cache_folder.clone(),
            ..LoaderOptions::default()
        }
    }

    /// The same arguments for another process, wherever it starts.
    pub fn arguments(&self) -> Result<Vec<String>> {
        let mut arguments = vec![
            "--workers".to_owned(),
            self.workers.to_string(),
            "--cache-memory".to_owned(),
            self.cache_memory.to_string(),
        ];
        if let Some(folder) = &self.cache_folder {
            let folder = std::path::absolute(folder)?.into_os_string();
            let folder = folder.into_string().map_err(|folder| {
                let problem = format!("{} is not UTF-8", Path::new(&folder).display());
                Error::argument("--cache-folder", problem)
            })?;
            arguments.extend(["--cache-folder".to_owned(), folder]);
        }
        Ok(arguments)
    }
}

/// Where and with how many threads; none of it changes a number.
#[derive(Debug, Clone, clap::Args)]
pub struct MachineArgs {
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: String,
    /// Threads of the engine; 0 takes all cores
    #[arg(long, default_value_t = 0, value_name = "N")]
    threads: usize,
    #[command(flatten)]
    loader: LoaderArgs,
}

impl MachineArgs {
    /// Opens the device and starts the threads.
    pub fn open(&self) -> Result<Machine> {
        device::set_threads(self.threads)?;
        let options = self.loader.options();
        Ok(Machine {
            device: device::parse(&self.device)?,
            workers: options.workers,
            cache_bytes: options.cache_bytes,
            cache_folder: options.cache_folder,
            patience: Duration::ZERO,
        })
    }
}

/// What to do with results that are there already.
#[derive(Debug, Clone, clap::Args)]
pub struct ExistingArgs {
    /// Go on from the last checkpoint of a run that was interrupted
    #[arg(long, conflicts_with = "force")]
    resume: bool,
    /// Replace a run that is there already
    #[arg(long)]
    force: bool,
}

impl ExistingArgs {
    /// The choice.
    pub fn existing(&self) -> Existing {
        match (self.resume, self.force) {
            (true, _) => Existing::Resume,
            (_, true) => Existing::Overwrite,
            _ => Existing::Refuse,
        }
    }
}

/// An experiment file with overrides.
#[derive(Debug, Clone, clap::Args)]
pub struct OverrideArgs {
    /// Override a key of the configuration, for example `--set loss.gamma=0.5`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    assignments: Vec<String>,
    /// What to do about a picture that cannot be decoded, instead of the file's `on_bad_image`:
    /// stop, or warn and leave it out
    #[arg(long, value_name = "CHOICE", value_parser = ["error", "skip"])]
    on_bad_image: Option<String>,
    /// Write TensorBoard event files too, into each run's `tensorboard/`
    #[arg(long)]
    tensorboard: bool,
}

impl OverrideArgs {
    /// The overrides as `key=value`, in the order in which they apply.
    pub fn assignments(&self) -> Vec<String> {
        let choice = self.on_bad_image.iter();
        let choice = choice.map(|choice| format!("on_bad_image={choice}"));
        let events = (self.tensorboard).then(|| "train.tensorboard=true".to_owned());
        let given = self.assignments.iter().cloned();
        given.chain(choice).chain(events).collect()
    }
}

/// Where runs are written.
#[derive(Debug, Clone, clap::Args)]
pub struct OutArgs {
    /// Folder of all runs; an experiment's lie in `<OUT>/<experiment>/`
    #[arg(long, default_value = "runs", value_name = "DIR")]
    pub out: PathBuf,
}

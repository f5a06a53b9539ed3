//! The folder of one training run: which file lies where, and the manifest.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::io::write_text;

/// A run's folder: `<out>/<experiment>/<method>-s<seed>/`.
#[derive(Debug, Clone)]
pub struct RunDir {
    root: PathBuf,
}

impl RunDir {
    /// The run at `root`, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        RunDir { root: root.into() }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    /// What ran where, when, on what: [`Manifest`].
    pub fn manifest(&self) -> PathBuf {
        self.root.join("manifest.json")
    }

    /// One row a training step.
    pub fn steps(&self) -> PathBuf {
        self.root.join("steps.csv")
    }

    /// One row an epoch.
    pub fn epochs(&self) -> PathBuf {
        self.root.join("epochs.csv")
    }

    /// A checkpoint: `last` or `best`.
    pub fn checkpoint(&self, which: &str) -> PathBuf {
        self.root
            .join("checkpoints")
            .join(format!("{which}.safetensors"))
    }

    /// Results on a set: `test`, `validation`, `train`.
    pub fn eval(&self, set: &str) -> PathBuf {
        self.root.join("eval").join(set)
    }
}

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Training goes on, or was killed.
    Running,
    /// Stopped by a signal with a checkpoint written.
    Interrupted,
    /// All epochs are done.
    Finished,
    /// Ended with an error.
    Failed,
}

/// Facts of a run that the configuration does not hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// What became of it.
    pub status: Status,
    /// The experiment's name.
    pub experiment: String,
    /// The method's name.
    pub method: String,
    /// The seed.
    pub seed: u64,
    /// The command line that started it.
    pub command: Vec<String>,
    /// The version of dbloss.
    pub version: String,
    /// The device, for example `cpu`.
    pub device: String,
    /// Threads of the engine.
    pub threads: usize,
    /// Loader workers.
    pub workers: usize,
    /// The processor and the instruction set that the engine chose; empty where an earlier version
    /// did not write it.
    #[serde(default)]
    pub processor: String,
    /// When this process started the training, seconds since 1970; 0 where an earlier
    /// version did not write it.
    #[serde(default)]
    pub started_unix: u64,
    /// Folder of the split.
    pub split_folder: PathBuf,
    /// Content hash of the split.
    pub split_hash: String,
    /// Hash of the weight file the backbone started from.
    pub weights_hash: Option<String>,
    /// Hash of the configuration, which tells a finished run from one with other settings.
    pub config_hash: String,
    /// Training time so far, seconds.
    pub train_seconds: f64,
    /// Training images seen so far.
    pub images_seen: u64,
    /// The error that ended it, if it failed.
    pub error: Option<String>,
}

impl Manifest {
    /// Training images a second over the whole run; `None` before the first.
    pub fn images_per_second(&self) -> Option<f64> {
        (self.images_seen > 0 && self.train_seconds > 0.0)
            .then(|| self.images_seen as f64 / self.train_seconds)
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| Error::file(path, format_args!("cannot be written: {e}")))?;
        write_text(path, &(text + "\n"))
    }

    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs_err::read_to_string(path)?;
        serde_json::from_str(&text)
            .map_err(|e| Error::file(path, format_args!("is not a run's manifest: {e}")))
    }
}

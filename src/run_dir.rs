//! The folder of one training run: which file lies where, and the manifest.

use std::fmt::Display;
use std::fs::TryLockError;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::interrupt;
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

    /// TensorBoard event files.
    pub fn tensorboard(&self) -> PathBuf {
        self.root.join("tensorboard")
    }

    /// Name of the file whose lock a training process holds.
    pub const LOCK: &str = ".lock";

    /// Takes the folder, which is made if need be, for this process alone. The lock belongs to the
    /// process: the operating system lets go of it however the process ends.
    ///
    /// Waits for another process for as long as `patience`, then gives up with an error.
    pub fn lock(&self, patience: Duration) -> Result<RunLock> {
        fs_err::create_dir_all(&self.root)?;
        let path = self.root.join(Self::LOCK);
        let file = fs_err::File::create(&path)?.into_parts().0;
        // Whoever only asks whether the folder is taken holds the lock for a moment.
        let patience = patience.max(Duration::from_millis(200));
        let start = Instant::now();
        let mut told = false;
        // Where the file system knows no locks, work goes on without.
        while let Err(TryLockError::WouldBlock) = file.try_lock() {
            let problem = "another process is training into this folder";
            if start.elapsed() >= patience {
                return Err(Error::file(&self.root, problem)
                    .hint("wait for it, or give another folder with `--out`"));
            }
            if !told {
                tracing::info!("{}: {problem}; waiting for it", self.root.display());
                told = true;
            }
            interrupt::check("while waiting for another process")?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(RunLock { _file: file })
    }

    /// True while a process holds the folder's lock.
    pub fn is_locked(&self) -> bool {
        // Asked through a lock of one's own, let go of at once.
        std::fs::File::open(self.root.join(Self::LOCK))
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Results on a set: `test`, `validation`, `train`.
    pub fn eval(&self, set: &str) -> PathBuf {
        self.root.join("eval").join(set)
    }
}

/// A run's folder held by this process until this is dropped.
#[derive(Debug)]
pub struct RunLock {
    _file: std::fs::File,
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
    /// Steps of the whole training.
    #[serde(default)]
    pub total_steps: Option<usize>,
    /// The error that ended it, if it failed.
    pub error: Option<String>,
    /// What was found amiss with a training that came to its end, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
}

impl Manifest {
    /// Training images a second over the whole run; `None` before the first.
    pub fn images_per_second(&self) -> Option<f64> {
        (self.images_seen > 0 && self.train_seconds > 0.0)
            .then(|| self.images_seen as f64 / self.train_seconds)
    }

    /// What is different about the machine of `now`, which goes on with this run: the manifest
    /// names the last machine only, and times no longer come from one.
    pub fn machine_changes(&self, now: &Manifest) -> Vec<String> {
        let fact = |what, before: &dyn Display, now: &dyn Display, effect| {
            let (before, now) = (before.to_string(), now.to_string());
            (before != now).then(|| format!("resumed on {what} {now}, was {before}: {effect}"))
        };
        let times = "speed and time are a mixture of both";
        let bytes = "the last digits may differ from those of an uninterrupted run";
        [
            fact("device", &self.device, &now.device, bytes),
            fact("processor", &self.processor, &now.processor, bytes),
            fact("version", &self.version, &now.version, bytes),
            fact("threads", &self.threads, &now.threads, times),
            fact("loader workers", &self.workers, &now.workers, times),
        ]
        .into_iter()
        .flatten()
        .collect()
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

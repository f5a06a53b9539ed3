//! The folder of one training run: which file lies where, and the manifest.

use std::fmt::Display;
use std::fs::TryLockError;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::data::split::Set;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::io::{is_temporary, write_text};

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

    /// One row a training step, counted from 0.
    pub fn steps(&self) -> PathBuf {
        self.root.join("steps.csv")
    }

    /// One row an epoch, counted from 0; messages and pictures count from 1.
    pub fn epochs(&self) -> PathBuf {
        self.root.join("epochs.csv")
    }

    /// How long each epoch took: with the manifest and the TensorBoard events all that a run knows of
    /// the clock. Equal trainings leave every other file equal.
    pub fn epoch_times(&self) -> PathBuf {
        self.root.join("epoch_times.csv")
    }

    /// A checkpoint.
    pub fn checkpoint(&self, which: Checkpoint) -> PathBuf {
        self.checkpoints()
            .join(format!("{}.safetensors", which.name()))
    }

    fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// What `dbloss export` made of the run, unless it was told another place.
    pub fn exported(&self) -> PathBuf {
        self.root.join("export")
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
        fs_err::File::open(self.root.join(Self::LOCK)).is_ok_and(|file| {
            matches!(file.file().try_lock_shared(), Err(TryLockError::WouldBlock))
        })
    }

    /// Results of the last checkpoint on a set.
    pub fn eval(&self, set: Set) -> PathBuf {
        self.evaluations().join(set.name())
    }

    /// Results of a checkpoint on a set: `eval/<set>/`, or `eval/<set>-best/` for the best
    /// checkpoint, whose tables must not take the place of those that comparisons read.
    pub fn eval_of(&self, set: Set, checkpoint: Checkpoint) -> PathBuf {
        match checkpoint {
            Checkpoint::Last => self.eval(set),
            other => self
                .evaluations()
                .join(format!("{}-{}", set.name(), other.name())),
        }
    }

    /// Results on a set of the weights themselves, for a run whose result is their moving average:
    /// `eval/<set>-plain/`.
    pub fn eval_of_plain(&self, set: Set, checkpoint: Checkpoint) -> PathBuf {
        let mut folder = self.eval_of(set, checkpoint).into_os_string();
        folder.push("-plain");
        folder.into()
    }

    /// Results on a set called `name` that is none of the run's split: `eval/other-<name>/`, or
    /// `eval/other-<name>-best/` for the best checkpoint.
    pub fn eval_of_other(&self, name: &str, checkpoint: Checkpoint) -> PathBuf {
        let folder = match checkpoint {
            Checkpoint::Last => format!("other-{name}"),
            other => format!("other-{name}-{}", other.name()),
        };
        self.evaluations().join(folder)
    }

    fn evaluations(&self) -> PathBuf {
        self.root.join("eval")
    }

    /// Name of the folder of a split inside the folder of the runs, or of the one run, that it is for.
    pub const SPLIT: &str = "split";

    /// Checks whether a training may go into the folder. Nothing is changed yet.
    ///
    /// A folder that holds anything but a run of dbloss (or the split of one that never began) is
    /// refused whatever `existing` says.
    ///
    /// # Errors
    /// The folder is a file, holds something else, or a run that `existing` does not allow.
    pub fn check(&self, existing: Existing) -> Result<()> {
        let folder = self.path();
        if folder.is_file() {
            return Err(Error::file(folder, "is a file, expected a folder"));
        }
        if self.manifest().is_file() {
            Manifest::read(&self.manifest())?;
            return match existing {
                Existing::Refuse => Err(Error::file(folder, "holds a run already").hint(
                    "`--resume` goes on with it, `--force` replaces it, `--out` writes elsewhere",
                )),
                _ => Ok(()),
            };
        }
        if folder.is_dir() {
            for entry in fs_err::read_dir(folder)? {
                let name = entry?.file_name();
                // What is there before the manifest is, so what a kill in the first moment leaves.
                let early = name == Self::SPLIT || name == Self::LOCK || is_temporary(&name);
                if !early {
                    let name = name.display();
                    let problem = format!("is not empty and not a run's folder: it holds `{name}`");
                    return Err(
                        Error::file(folder, problem).hint("name another folder with `--out`")
                    );
                }
            }
        }
        match existing {
            Existing::Resume => Err(Error::file(folder, "holds no run to resume")
                .hint("check `--out`, `--method` and `--seed`, or leave `--resume` out to start")),
            _ => Ok(()),
        }
    }

    /// Name of the file that is there while an earlier run's files are being removed.
    const REPLACING: &str = ".replacing";

    /// Notes that the files of an earlier run are about to go: whoever resumes what a kill leaves in
    /// the middle of that removes the rest.
    pub fn begin_replacing(&self) -> Result<()> {
        write_text(&self.root.join(Self::REPLACING), "")
    }

    /// True where an earlier run's files were being removed when the process ended.
    pub fn is_being_replaced(&self) -> bool {
        self.root.join(Self::REPLACING).is_file()
    }

    /// Removes the files of an earlier run except for the manifest, and nothing else; ends what
    /// [`RunDir::begin_replacing`] began.
    pub fn clear(&self) -> Result<()> {
        for file in [
            self.config(),
            self.steps(),
            self.epochs(),
            self.epoch_times(),
        ] {
            if file.is_file() {
                fs_err::remove_file(file)?;
            }
        }
        for folder in [
            self.checkpoints(),
            self.evaluations(),
            self.exported(),
            self.tensorboard(),
        ] {
            if folder.is_dir() {
                fs_err::remove_dir_all(folder)?;
            }
        }
        if self.is_being_replaced() {
            fs_err::remove_file(self.root.join(Self::REPLACING))?;
        }
        Ok(())
    }
}

/// A checkpoint of a run; in files `last`, `best`, `epoch-3`, also the names of theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Checkpoint {
    /// The newest one; of a finished run the end of its training.
    Last,
    /// The one with the best score on the validation part.
    Best,
    /// The one after so many epochs, from 1.
    Epoch(usize),
}

impl Checkpoint {
    /// What the name of one after an epoch begins with.
    const EPOCH: &str = "epoch-";

    /// The checkpoint's name, also that of its file.
    pub fn name(self) -> String {
        match self {
            Checkpoint::Last => "last".to_owned(),
            Checkpoint::Best => "best".to_owned(),
            Checkpoint::Epoch(epoch) => format!("{}{epoch}", Self::EPOCH),
        }
    }
}

impl FromStr for Checkpoint {
    type Err = String;

    /// The checkpoint of that name; the error says which names there are.
    fn from_str(name: &str) -> Result<Self, String> {
        let number = |digits: &str| digits.parse().ok().filter(|&number| number > 0);
        let found = match name {
            "last" => Some(Checkpoint::Last),
            "best" => Some(Checkpoint::Best),
            _ => name
                .strip_prefix(Self::EPOCH)
                .and_then(number)
                .map(Checkpoint::Epoch),
        };
        found
            .filter(|found| found.name() == name)
            .ok_or_else(|| format!("`{name}`, expected `last`, `best` or `epoch-N`, N from 1"))
    }
}

impl TryFrom<String> for Checkpoint {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl From<Checkpoint> for String {
    fn from(checkpoint: Checkpoint) -> String {
        checkpoint.name()
    }
}

/// What to do with a run's folder that already holds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse it.
    Refuse,
    /// Go on from its last checkpoint; a finished run is left as it is, a missing one an error.
    Resume,
    /// Go on if there is something to go on with, else start.
    ResumeOrStart,
    /// Start anew in it.
    Overwrite,
}

impl Existing {
    /// True if a run that is there already may go on.
    pub fn resumes(self) -> bool {
        matches!(self, Existing::Resume | Existing::ResumeOrStart)
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
    /// The experiment file; `dbloss:/voc-mlt/erm.toml` for an embedded one. Empty where an earlier
    /// version did not write it.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub experiment_file: PathBuf,
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
    /// Names of the classes, in the order of the logits; empty where an earlier version did not
    /// write them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Hash of the weight file the backbone started from, or of the checkpoint that the network did.
    pub weights_hash: Option<String>,
    /// Hash of the configuration, which tells a finished run from one with other settings.
    pub config_hash: String,
    /// Training time so far, seconds.
    pub train_seconds: f64,
    /// Training images seen so far.
    pub images_seen: u64,
    /// Steps of the whole training; those that were done, where the validation part ended it.
    #[serde(default)]
    pub total_steps: Option<usize>,
    /// The error that ended it, if it failed.
    pub error: Option<String>,
    /// True if that is because the training left the range of finite numbers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub diverged: bool,
    /// Norm of the loss's gradient at the logits, over a batch, with all logits 0: how large the loss
    /// is. `None` where an earlier version did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_gradient: Option<f64>,
    /// The same as a multiple of that of binary cross-entropy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_gradient_of_bce: Option<f64>,
    /// What was found amiss with a training that came to its end, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
    /// The network, where a version that writes it trained it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

/// What a network is, beyond its configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Scalars of all parameters.
    pub parameters: usize,
    /// Scalars of those that learn.
    pub trainable: usize,
    /// Width of the backbone's features.
    pub features: usize,
    /// The zeros around a picture: `symmetric`, or `same` as in TensorFlow; empty without a
    /// backbone.
    pub padding: String,
}

impl Manifest {
    /// What is amiss with the run, a sentence each: what its training found, and whether all
    /// images of its test set score `alike`.
    pub fn remarks(&self, alike: bool) -> Vec<String> {
        let scored = alike.then(|| "all images score alike".to_owned());
        self.findings.iter().cloned().chain(scored).collect()
    }

    /// The manifest of scores that another program made: a finished run of `method` without a
    /// training, so that they stand in a report beside those of dbloss. `hash` is that of the
    /// scores' file.
    pub fn of_predictions(
        method: &str,
        seed: u64,
        split_folder: &Path,
        split_hash: &str,
        hash: String,
    ) -> Result<Self> {
        Ok(Manifest {
            status: Status::Finished,
            experiment: "predictions".to_owned(),
            method: method.to_owned(),
            seed,
            command: std::env::args().collect(),
            experiment_file: PathBuf::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: String::new(),
            threads: 0,
            workers: 0,
            processor: String::new(),
            started_unix: 0,
            split_folder: std::path::absolute(split_folder)?,
            split_hash: split_hash.to_owned(),
            classes: Vec::new(),
            weights_hash: None,
            config_hash: hash,
            train_seconds: 0.0,
            images_seen: 0,
            total_steps: None,
            error: None,
            diverged: false,
            start_gradient: None,
            start_gradient_of_bce: None,
            findings: Vec::new(),
            network: None,
        })
    }

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

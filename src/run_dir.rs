//! The folder of a training run: where its files are, and who may write to it.

use std::fs::TryLockError;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::data::split::Set;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::io::{is_temporary, write_text};

mod checkpoint;
mod manifest;

pub use checkpoint::Checkpoint;
pub use manifest::{Manifest, Network, Status};

/// A run's folder: `<out>/<experiment>/<method>-s<seed>/`.
#[derive(Debug, Clone)]
pub struct RunDir {
    root: PathBuf,
}

impl RunDir {
    /// Refers to the run at `root`, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        RunDir { root: root.into() }
    }

    /// Returns the folder itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Returns the path of the resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    /// Returns the path of the [`Manifest`]: what ran where, when, and on which machine.
    pub fn manifest(&self) -> PathBuf {
        self.root.join("manifest.json")
    }

    /// Returns the path of the table with one row per training step, counted from 0.
    pub fn steps(&self) -> PathBuf {
        self.root.join("steps.csv")
    }

    /// Returns the path of the table with one row per epoch, counted from 0 (messages and pictures
    /// count from 1).
    pub fn epochs(&self) -> PathBuf {
        self.root.join("epochs.csv")
    }

    /// Returns the path of the table with the time of each epoch. Apart from it, only the manifest
    /// and the TensorBoard events depend on the clock: equal trainings write all other files
    /// equally.
    pub fn epoch_times(&self) -> PathBuf {
        self.root.join("epoch_times.csv")
    }

    /// Returns the path of a checkpoint.
    pub fn checkpoint(&self, which: Checkpoint) -> PathBuf {
        self.checkpoints()
            .join(format!("{}.safetensors", which.name()))
    }

    fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// Returns the default path of the file written by `dbloss export`.
    pub fn exported(&self) -> PathBuf {
        self.root.join("export")
    }

    /// Returns the folder of the TensorBoard event files.
    pub fn tensorboard(&self) -> PathBuf {
        self.root.join("tensorboard")
    }

    /// Name of the file whose lock a training process holds.
    pub const LOCK: &str = ".lock";

    /// Locks the folder for this process, and creates it if needed. The operating system releases
    /// the lock however the process ends.
    ///
    /// Waits up to `patience` for another process, then fails.
    pub fn lock(&self, patience: Duration) -> Result<RunLock> {
        fs_err::create_dir_all(&self.root)?;
        let path = self.root.join(Self::LOCK);
        let file = fs_err::File::create(&path)?.into_parts().0;
        // A process that only checks whether the folder is locked holds the lock for a moment.
        let patience = patience.max(Duration::from_millis(200));
        let start = Instant::now();
        let mut told = false;
        // If the file system does not support locks, work continues without one.
        while let Err(TryLockError::WouldBlock) = file.try_lock() {
            let problem = "another process is training into this folder";
            if start.elapsed() >= patience {
                return Err(Error::file(&self.root, problem)
                    .hint("wait for it, or choose another folder with `--out`"));
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

    /// Returns whether a process holds the folder's lock.
    pub fn is_locked(&self) -> bool {
        // Tested by taking a lock, which is released at once.
        fs_err::File::open(self.root.join(Self::LOCK)).is_ok_and(|file| {
            matches!(file.file().try_lock_shared(), Err(TryLockError::WouldBlock))
        })
    }

    /// Returns the folder of the last checkpoint's results on a set.
    pub fn eval(&self, set: Set) -> PathBuf {
        self.evaluations().join(set.name())
    }

    /// Returns the folder of a checkpoint's results on a set: `eval/<set>/`, or `eval/<set>-best/`
    /// for the best checkpoint, whose tables must not replace those that comparisons read.
    pub fn eval_of(&self, set: Set, checkpoint: Checkpoint) -> PathBuf {
        match checkpoint {
            Checkpoint::Last => self.eval(set),
            other => self
                .evaluations()
                .join(format!("{}-{}", set.name(), other.name())),
        }
    }

    /// Returns the folder of the results of the weights themselves on a set, for a run whose result
    /// is their moving average: `eval/<set>-plain/`.
    pub fn eval_of_plain(&self, set: Set, checkpoint: Checkpoint) -> PathBuf {
        let mut folder = self.eval_of(set, checkpoint).into_os_string();
        folder.push("-plain");
        folder.into()
    }

    /// Returns the folder of the results on a set called `name` that is not part of the run's
    /// split: `eval/other-<name>/`, or `eval/other-<name>-best/` for the best checkpoint.
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

    /// Name of the folder of a split inside the folder of the runs, or of the single run, that uses
    /// it.
    pub const SPLIT: &str = "split";

    /// Checks whether a training may use the folder. Nothing is changed yet.
    ///
    /// A folder that contains anything but a run of dbloss (or the split of one that never began)
    /// is rejected regardless of `existing`.
    ///
    /// # Errors
    /// Fails if the folder is a file, or contains something else, or a run that `existing` does not
    /// allow.
    pub fn check(&self, existing: Existing) -> Result<()> {
        let folder = self.path();
        if folder.is_file() {
            return Err(Error::file(folder, "is a file, expected a folder"));
        }
        if self.manifest().is_file() {
            Manifest::read(&self.manifest())?;
            return match existing {
                Existing::Refuse => Err(Error::file(folder, "already contains a run").hint(
                    "continue it with `--resume`, replace it with `--force`, or write elsewhere with `--out`",
                )),
                _ => Ok(()),
            };
        }
        if folder.is_dir() {
            for entry in fs_err::read_dir(folder)? {
                let name = entry?.file_name();
                // Files that exist before the manifest, which a process killed early on leaves
                // behind.
                let early = name == Self::SPLIT || name == Self::LOCK || is_temporary(&name);
                if !early {
                    let name = name.display();
                    let problem =
                        format!("is not empty and not a run's folder: it contains `{name}`");
                    return Err(
                        Error::file(folder, problem).hint("name another folder with `--out`")
                    );
                }
            }
        }
        match existing {
            Existing::Resume => Err(Error::file(folder, "contains no run to resume").hint(
                "check `--out`, `--method` and `--seed`, or start a new run without `--resume`",
            )),
            _ => Ok(()),
        }
    }

    /// Name of the file that exists while an earlier run's files are being removed.
    const REPLACING: &str = ".replacing";

    /// Records that the files of an earlier run are about to be removed: if the process is killed
    /// in the middle, a resuming process removes the rest.
    pub fn begin_replacing(&self) -> Result<()> {
        write_text(&self.root.join(Self::REPLACING), "")
    }

    /// Returns whether the process ended while an earlier run's files were being removed.
    pub fn is_being_replaced(&self) -> bool {
        self.root.join(Self::REPLACING).is_file()
    }

    /// Removes the files of an earlier run except for the manifest, and nothing else; completes
    /// what [`RunDir::begin_replacing`] began.
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

/// What to do with a run's folder that is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Reject it.
    Refuse,
    /// Resume from its last checkpoint; a finished run is left as it is, a missing one is an error.
    Resume,
    /// Resume if possible, otherwise start.
    ResumeOrStart,
    /// Start again from the beginning.
    Overwrite,
}

impl Existing {
    /// Returns whether an existing run may be resumed.
    pub fn resumes(self) -> bool {
        matches!(self, Existing::Resume | Existing::ResumeOrStart)
    }
}

/// The lock on a run's folder, released when dropped.
#[derive(Debug)]
pub struct RunLock {
    _file: std::fs::File,
}

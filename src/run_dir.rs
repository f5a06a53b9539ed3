//! The folder of one training run: which file lies where, and who may write to it.

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
                Existing::Refuse => Err(Error::file(folder, "already contains a run").hint(
                    "continue it with `--resume`, replace it with `--force`, or write elsewhere with `--out`",
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

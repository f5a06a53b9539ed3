//! Starting from another run: the second of two training stages.

use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::checkpoint::Saved;
use crate::data::labels::LabelTable;
use crate::data::split::Split;
use crate::error::{Error, KeyPath, Result};
use crate::io::hash_file;
use crate::model::Parameters;
use crate::run_dir::{Checkpoint, Manifest, RunDir};

/// The `[start]` table of an experiment: a run whose network the training begins with, in place of
/// `model.weights`. Of a run that kept a moving average it is the average.
///
/// With the head drawn anew, what was learned held still (`model.frozen_stages = 4` and
/// `optimizer.groups.neck = 0`) and another sampler it is classifier re-training (Kang et al.,
/// ICLR 2020).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartConfig {
    /// The run's folder, or one of its checkpoints.
    pub run: PathBuf,
    /// Which of the folder's checkpoints.
    #[serde(default = "last")]
    pub checkpoint: Checkpoint,
    /// Start with a new head, and take over only backbone and neck.
    #[serde(default)]
    pub reset_head: bool,
}

fn last() -> Checkpoint {
    Checkpoint::Last
}

impl StartConfig {
    /// Returns the path of the checkpoint, and the folder of its run if it exists.
    fn places(&self) -> (PathBuf, Option<RunDir>) {
        if self.run.is_file() {
            let folder = self.run.parent().and_then(Path::parent).map(RunDir::new);
            return (
                self.run.clone(),
                folder.filter(|run| run.manifest().is_file()),
            );
        }
        let run = RunDir::new(&self.run);
        (run.checkpoint(self.checkpoint), Some(run))
    }

    /// Rejects a run that does not exist, or one whose classes differ from those of `labels`
    /// although its head is kept.
    pub fn check(&self, labels: &LabelTable) -> Result<()> {
        let at = KeyPath::from("start.run");
        let (checkpoint, run) = self.places();
        if !checkpoint.is_file() {
            let problem = format!("{} does not exist", checkpoint.display());
            return Err(Error::key(at, problem)
                .hint("name the folder of a trained run, or a checkpoint of it"));
        }
        if self.reset_head {
            return Ok(());
        }
        let split = run.and_then(|run| Manifest::read(&run.manifest()).ok());
        let split = split.and_then(|manifest| Split::read(&manifest.split_folder).ok());
        let Some(split) = split else {
            tracing::warn!(
                "start.run: the split of {} does not exist: its classes are assumed to be those of \
                 this one, in the same order",
                checkpoint.display()
            );
            return Ok(());
        };
        let pairs = split.train.classes().iter().zip(labels.classes());
        let differs = pairs.clone().find(|(theirs, ours)| theirs != ours);
        let problem = match differs {
            Some((theirs, ours)) => {
                format!("its class `{theirs}` is where this split has `{ours}`")
            }
            None if split.train.num_classes() != labels.num_classes() => format!(
                "has {} classes, but this split {}",
                split.train.num_classes(),
                labels.num_classes()
            ),
            None => return Ok(()),
        };
        Err(Error::key(at, problem).hint("set `start.reset_head = true` to start with a new head"))
    }

    /// Loads the run's network into `parameters`; returns the hash of the file that was read.
    pub fn load(&self, parameters: &Parameters, device: &Device) -> Result<String> {
        let (path, _) = self.places();
        let head = if self.reset_head { "head." } else { "" };
        Saved::read(&path, device)?.result(parameters, head)?;
        tracing::info!(
            "starts with the network of {}{}",
            path.display(),
            if self.reset_head {
                ", with a new head"
            } else {
                ""
            }
        );
        hash_file(&path)
    }
}

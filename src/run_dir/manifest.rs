//! `manifest.json`: what ran where, when, and on which machine.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::io::write_text;

/// The status of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The training is running, or was killed.
    Running,
    /// It was stopped by a signal, and a checkpoint was written.
    Interrupted,
    /// All epochs are done.
    Finished,
    /// It ended with an error.
    Failed,
}

/// Facts about a run that are not in its configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The status of the run.
    pub status: Status,
    /// The experiment's name.
    pub experiment: String,
    /// The method's name.
    pub method: String,
    /// The seed.
    pub seed: u64,
    /// The command line that started the run.
    pub command: Vec<String>,
    /// The experiment file; `dbloss:/voc-mlt/erm.toml` for an embedded one. Empty if an earlier
    /// version did not record it.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub experiment_file: PathBuf,
    /// The version of dbloss.
    pub version: String,
    /// The device, for example `cpu`.
    pub device: String,
    /// Number of threads of the engine.
    pub threads: usize,
    /// Number of loader workers.
    pub workers: usize,
    /// The processor and the instruction set used by the engine; empty if an earlier version did
    /// not record it.
    #[serde(default)]
    pub processor: String,
    /// When this process started the training, in seconds since 1970; 0 if an earlier version did
    /// not record it.
    #[serde(default)]
    pub started_unix: u64,
    /// The folder of the split.
    pub split_folder: PathBuf,
    /// Content hash of the split.
    pub split_hash: String,
    /// Names of the classes, in the order of the logits; empty if an earlier version did not record
    /// them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Hash of the weight file that the backbone started from, or of the checkpoint that the
    /// network started from.
    pub weights_hash: Option<String>,
    /// Hash of the configuration, which distinguishes a finished run from one with other settings.
    pub config_hash: String,
    /// Training time so far, in seconds.
    pub train_seconds: f64,
    /// Number of training images seen so far.
    pub images_seen: u64,
    /// Number of steps of the whole training, or of those done if the validation score stopped it.
    #[serde(default)]
    pub total_steps: Option<usize>,
    /// The error that ended it, if it failed.
    pub error: Option<String>,
    /// Whether it failed because the training produced non-finite numbers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub diverged: bool,
    /// Norm of the gradient of the loss at the logits, over a batch, with all logits 0: the scale
    /// of the loss. `None` if an earlier version did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_gradient: Option<f64>,
    /// The same as a multiple of that of binary cross-entropy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_gradient_of_bce: Option<f64>,
    /// Problems found in a training that finished, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
    /// The network, if the version that trained it records it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

/// Facts about a network that are not in its configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Number of scalars in all parameters.
    pub parameters: usize,
    /// Number of scalars in the trainable parameters.
    pub trainable: usize,
    /// Width of the backbone's features.
    pub features: usize,
    /// The padding of a picture: `symmetric`, or `same` as in TensorFlow; empty without a backbone.
    pub padding: String,
}

impl Manifest {
    /// Returns what is wrong with the run, one sentence each: the findings of its training, and
    /// whether all images of its test set score `alike`.
    pub fn remarks(&self, alike: bool) -> Vec<String> {
        let scored = alike.then(|| "all images score alike".to_owned());
        self.findings.iter().cloned().chain(scored).collect()
    }

    /// Makes the manifest of scores computed by another program: a finished run of `method` without
    /// training, so that they can be reported beside those of dbloss. `hash` is that of the file of
    /// scores.
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

    /// Returns the training images per second over the whole run; `None` before the first image.
    pub fn images_per_second(&self) -> Option<f64> {
        (self.images_seen > 0 && self.train_seconds > 0.0)
            .then(|| self.images_seen as f64 / self.train_seconds)
    }

    /// Describes how the machine of `now`, which resumes this run, differs: the manifest only names
    /// the last machine, and the times are then a mixture.
    pub fn machine_changes(&self, now: &Manifest) -> Vec<String> {
        let fact = |what, before: &dyn Display, now: &dyn Display, effect| {
            let (before, now) = (before.to_string(), now.to_string());
            (before != now).then(|| format!("resumed on {what} {now}, was {before}: {effect}"))
        };
        let times = "speed and time are a mixture of the two";
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

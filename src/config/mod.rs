//! Experiments as data: TOML in, a typed tree, and the resolved TOML back out.

mod file;
pub mod keys;
mod paths;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::data::augment::InputConfig;
use crate::data::image::OnBadImage;
use crate::data::sampler::SamplerConfig;
use crate::data::split::SplitConfig;
use crate::error::{Error, KeyPath, Result};
use crate::io::absolute;
use crate::layers::Tree;
use crate::loss::LossConfig;
use crate::model::ModelConfig;
use crate::optim::{Extent, OptimizerConfig, Schedule};
use crate::range::Range;
use crate::train::config::TrainConfig;
use crate::train::start::StartConfig;

pub use crate::layers::{Assignment, Layers, embedded, leaves};
pub use file::{ExperimentFile, ExperimentSources};

/// One training, fully resolved: what changes numbers, and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// The experiment's name: the folder of its runs.
    pub name: String,
    /// The method's name: the row of the tables.
    #[serde(default)]
    pub method: String,
    /// Root of every random stream of the training. The split has a seed of its own.
    #[serde(default)]
    pub seed: u64,
    /// A split folder that exists already; without it, `split` says how to build one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_folder: Option<PathBuf>,
    /// What to do about a picture that cannot be decoded.
    #[serde(default)]
    pub on_bad_image: OnBadImage,
    /// How the split is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitConfig>,
    /// The network.
    #[serde(default)]
    pub model: ModelConfig,
    /// Picture size, normalisation and augmentation.
    #[serde(default)]
    pub input: InputConfig,
    /// The loss.
    pub loss: LossConfig,
    /// The order of the training images.
    pub sampler: SamplerConfig,
    /// The optimiser.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// The learning rate by step.
    #[serde(default)]
    pub schedule: Schedule,
    /// Batches, length, and what is done along the way.
    #[serde(default)]
    pub train: TrainConfig,
    /// A run that the training begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartConfig>,
    /// Where each key was written.
    #[serde(skip)]
    pub(crate) written: Written,
}

/// Where the keys of an experiment were written. No part of what it is: two experiments may be the
/// same and come from different files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written {
    /// The keys.
    tree: Arc<Tree>,
    /// The experiment file.
    file: PathBuf,
}

impl PartialEq for Written {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Experiment {
    /// An error that names a key of this experiment, with the file and line, or the argument, that
    /// wrote it: what is wrong with a value may show only when the data are read.
    pub fn locate(&self, error: Error) -> Error {
        self.written.tree.locate(error)
    }

    /// The file that it was read from; `dbloss:/voc-mlt/erm.toml` for an embedded one.
    pub fn file(&self) -> &Path {
        &self.written.file
    }

    /// Checks every range, as far as that is possible without the data.
    pub fn check(&self) -> Result<()> {
        let key = |key: &str| KeyPath::from(key);
        for (at, name) in [("name", &self.name), ("method", &self.method)] {
            if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
                let problem = format!("is `{name}`, which cannot be the name of a folder");
                return Err(Error::key(at, problem));
            }
        }
        Range::WholeWithin(0, i64::MAX).check_whole(&key("seed"), self.seed)?;
        match &self.split {
            Some(split) => split.check(&key("split"))?,
            None if self.split_folder.is_some() => {}
            None => {
                return Err(Error::key("split", "is missing").hint(
                    "add a `[split]` table with a source, or `split_folder` with the path of a \
                     split",
                ));
            }
        }
        self.model.check(&key("model"))?;
        self.input.check(&key("input"))?;
        self.check_size()?;
        self.sampler.check(&key("sampler"))?;
        self.optimizer.check(&key("optimizer"))?;
        self.schedule.check(&key("schedule"))?;
        self.train.check(&key("train"))?;
        self.check_loss()
    }

    /// Refuses pictures that the backbone cannot cut into patches.
    fn check_size(&self) -> Result<()> {
        let (kind, size) = (self.model.backbone, self.input.size);
        match kind.architecture().patch() {
            Some(patch) if !(size as usize).is_multiple_of(patch) => {
                let patch = patch as u32;
                let near = [size / patch * patch, size.next_multiple_of(patch)];
                let near: Vec<String> = (near.iter().filter(|&&size| size >= 8))
                    .map(u32::to_string)
                    .collect();
                let problem =
                    format!("is {size}, which is not a multiple of the patch size, {patch} pixels");
                Err(Error::key("input.size", problem).hint(format_args!(
                    "`{kind}` cuts pictures into patches: use {}",
                    near.join(" or ")
                )))
            }
            _ => Ok(()),
        }
    }

    /// Refuses what the loss cannot do.
    fn check_loss(&self) -> Result<()> {
        let name = self.loss.name();
        let refused = |key: &str, problem: String| {
            Err(Error::key(key, problem).hint("leave it out, or choose another loss"))
        };
        if self.train.label_smoothing > 0.0 && self.loss.composition().is_none() {
            let problem = format!("`{name}` needs labels of 0 or 1, not blended ones");
            return refused("train.label_smoothing", problem);
        }
        if !Extent::is_nothing(&self.train.reweight_after) && self.loss.without_weights().is_none()
        {
            let problem = format!("`{name}` has no class weights to switch on later");
            return refused("train.reweight_after", problem);
        }
        Ok(())
    }

    /// Sets what `written`, the configuration's own table, leaves out and other keys decide.
    fn complete(&mut self, written: &Table) {
        let split = written.get("split").and_then(Value::as_table);
        if let (Some(split), Some(written)) = (&mut self.split, split) {
            split.complete(written);
        }
        self.take_input_of_backbone(written);
    }

    /// Sets what `written`, the configuration's own table, does not say of the pictures' size and
    /// normalisation to what the published weights of the backbone expect.
    fn take_input_of_backbone(&mut self, written: &Table) {
        let expected = self.model.backbone.input();
        let input = written.get("input");
        let says = |key: &str| input.and_then(|input| input.get(key)).is_some();
        if !says("size") {
            self.input.size = expected.size;
        }
        if !says("mean") {
            self.input.mean = expected.mean;
        }
        if !says("std") {
            self.input.std = expected.std;
        }
    }

    /// Reads a resolved configuration, as a run's folder holds it. Relative paths in one that an
    /// earlier version wrote are relative to the working directory.
    pub fn read(path: &Path) -> Result<Self> {
        let mut experiment = Self::of_layers(path, &Layers::read(path)?)?;
        experiment.resolve_paths(|_, path| absolute(Path::new(""), path));
        Ok(experiment)
    }

    /// A resolved configuration from the text that stands in the file at `path`; paths in it stay as
    /// they are.
    ///
    /// # Errors
    /// As [`Experiment::read`].
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        Self::of_layers(path, &Layers::parse(path, text)?)
    }

    fn of_layers(path: &Path, layers: &Layers) -> Result<Self> {
        let mut experiment: Experiment = layers.typed()?;
        experiment.written = Written {
            tree: Arc::new(layers.tree().clone()),
            file: path.to_owned(),
        };
        (experiment.check()).map_err(|error| experiment.locate(error))?;
        Ok(experiment)
    }

    /// The same with names of files and folders in place of paths: what others need not know of a
    /// machine is left out.
    pub fn without_folders(&self) -> Self {
        let mut experiment = self.clone();
        experiment.resolve_paths(|_, path| path.file_name().map_or_else(PathBuf::new, Into::into));
        experiment
    }

    /// The resolved configuration as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| {
            Error::input(
                "configuration",
                format_args!("cannot be written as TOML: {e}"),
            )
        })
    }

    /// Hash, in hexadecimal, of everything in the resolved configuration that the trained weights
    /// depend on. Two experiments with one hash end with the same weights, so a run may go on, or
    /// count as finished, under either.
    ///
    /// Left out are the experiment's name, which checkpoints are written, what is recorded on
    /// the way, and what to do about a picture that cannot be decoded: it decides whether a run
    /// ends there, not what it learns from the others. Paths count as absolute ones: see
    /// [`is_recorded`] for runs of versions that kept them as they were written.
    pub fn hash(&self) -> Result<String> {
        let mut shared = self.clone();
        shared.name = String::new();
        shared.on_bad_image = OnBadImage::default();
        let usual = TrainConfig::default();
        shared.train.checkpoint_steps = usual.checkpoint_steps;
        shared.train.keep_best = usual.keep_best;
        shared.train.keep_every = usual.keep_every;
        shared.train.tensorboard = usual.tensorboard;
        Ok(blake3::hash(shared.to_toml()?.as_bytes())
            .to_hex()
            .to_string())
    }

    /// `<method>-s<seed>`: the name of the run's folder.
    pub fn run_name(&self) -> String {
        format!("{}-s{}", self.method, self.seed)
    }
}

/// True if a run that recorded the hash `recorded` is the one of the hash `wanted`.
///
/// A run of an earlier version hashed paths as they were written, relative to the working
/// directory; what its own configuration `config` says is hashed anew then.
pub fn is_recorded(recorded: &str, config: &Path, wanted: &str) -> bool {
    let again = || Experiment::read(config).and_then(|experiment| experiment.hash());
    recorded == wanted || again().is_ok_and(|again| again == wanted)
}

/// Every TOML file under `folder`, sorted; empty if the folder does not exist.
pub fn experiment_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        for entry in fs_err::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "toml") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

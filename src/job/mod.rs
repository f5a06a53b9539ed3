//! One run from a resolved experiment: its split, the training, the evaluation.

mod check;
mod ensemble;
mod evaluate;
mod export;
mod features;
mod inspect;
mod kept;
mod other_set;
mod predict;
mod room;
mod supply;
mod thresholds;
mod train;
mod trained;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use candle_core::Device;

use crate::config::Experiment;
use crate::data::image::ImageRoot;
use crate::data::labels::LabelTable;
use crate::data::loader::{Loader, LoaderOptions};
use crate::data::split::Split;
use crate::error::{Error, Result};

pub use check::{check_images, tell, warnings};
pub use ensemble::Ensemble;
pub use evaluate::{Evaluate, Evaluated, Opened};
pub use export::card;
pub use features::Features;
pub use kept::KeptFeatures;
pub use other_set::{EvaluateOther, OtherSet, results_of};
pub use predict::{Take, Tally};
pub use room::Room;
pub use thresholds::ThresholdRow;
pub use train::{Prepared, Train, Trained, add_events};
pub use trained::{Opening, TrainedModel};

/// Settings of the machine, which change no number.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Where tensors live.
    pub device: Device,
    /// Loader threads beside the engine; 0 loads between the steps.
    pub workers: usize,
    /// Most bytes of decoded pictures that are kept in memory.
    pub cache_bytes: u64,
    /// Folder that keeps decoded pictures from run to run.
    pub cache_folder: Option<PathBuf>,
    /// Features of fixed backbones that are kept from run to run.
    pub features: KeptFeatures,
    /// How long to wait for another process that is training into the same folder.
    pub patience: Duration,
}

impl Machine {
    /// How pictures are loaded here; the batch size is left as it is by default.
    pub fn loader_options(&self) -> LoaderOptions {
        LoaderOptions {
            workers: self.workers,
            cache_bytes: self.cache_bytes,
            cache_folder: self.cache_folder.clone(),
            ..LoaderOptions::default()
        }
    }

    /// The loader of the pictures of `table`, which lie at `root`, one of `split`'s sets.
    fn loader(
        &self,
        experiment: &Experiment,
        split: &Split,
        (table, root): (&Arc<LabelTable>, &ImageRoot),
    ) -> Result<Loader> {
        let options = LoaderOptions {
            batch_size: experiment.train.batch_size,
            on_bad_image: experiment.on_bad_image,
            told: split.told.clone(),
            ..self.loader_options()
        };
        Loader::new(
            Arc::clone(table),
            root.clone(),
            experiment.input.clone(),
            options,
        )
    }
}

/// The split of an experiment and where it lies: its `split_folder`, or the one that its `[split]`
/// table describes, which is built under `folder` the first time and read from there afterwards.
pub fn open_split(experiment: &Experiment, folder: &Path) -> Result<(Split, PathBuf)> {
    match (&experiment.split_folder, &experiment.split) {
        (Some(given), _) => Ok((Split::read(given)?, given.clone())),
        (None, Some(config)) => match Split::read_or_build(config, folder) {
            Ok(split) => Ok((split, folder.to_owned())),
            Err(error) => Err(experiment.locate(error)),
        },
        (None, None) => Err(Error::key(
            "split",
            "is missing: the experiment has no split",
        )),
    }
}

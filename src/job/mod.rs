//! One run of a resolved experiment: its split, its training, its evaluation.

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

/// Settings of the machine, which do not change any result.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The device that holds the tensors.
    pub device: Device,
    /// Number of loader threads beside the engine; with 0, pictures are loaded between the steps.
    pub workers: usize,
    /// Largest number of bytes of decoded pictures kept in memory.
    pub cache_bytes: u64,
    /// Folder in which decoded pictures are kept from run to run.
    pub cache_folder: Option<PathBuf>,
    /// Stored features of fixed backbones, kept from run to run.
    pub features: KeptFeatures,
    /// How long to wait for another process that is training in the same folder.
    pub patience: Duration,
}

impl Machine {
    /// Returns how pictures are loaded on this machine; the batch size keeps its default.
    pub fn loader_options(&self) -> LoaderOptions {
        LoaderOptions {
            workers: self.workers,
            cache_bytes: self.cache_bytes,
            cache_folder: self.cache_folder.clone(),
            ..LoaderOptions::default()
        }
    }

    /// Returns the loader of the pictures of `table`, one of the sets of `split`, which are under
    /// `root`.
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

/// Returns the split of an experiment and its folder: its `split_folder`, or the one described by
/// its `[split]` table, which is built under `folder` the first time and read from there
/// afterwards.
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

//! A trained model in use: a network with its weights, the classes, how pictures become its input,
//! and the thresholds above which a class counts as present.

use std::path::{Path, PathBuf};

use candle_core::Device;

use super::evaluate::{Evaluate, checkpoint_of, read_run, split_of};
use super::{Machine, thresholds};
use crate::config::Experiment;
use crate::data::augment::InputConfig;
use crate::data::labels::LabelTable;
use crate::data::split::{Set, Split};
use crate::error::{Error, Result};
use crate::export;
use crate::model::{Model, ModelConfig};
use crate::report::evaluation::Options;
use crate::run_dir::{Checkpoint, Manifest, RunDir};
use crate::train::checkpoint::Saved;

/// A trained model. Everything that uses one (predictions, exports) takes it from here, whether it
/// is a run or an exported file.
pub struct TrainedModel {
    /// The path it was read from.
    pub path: PathBuf,
    /// The network with its weights; if a run kept their moving average, the average.
    pub network: Model,
    /// The configuration of the network.
    pub config: ModelConfig,
    /// How pictures become its input, and which views are averaged.
    pub input: InputConfig,
    /// The batch size used in evaluation.
    pub batch_size: usize,
    /// Names of the classes, in the order of the logits.
    pub classes: Vec<String>,
    /// For each class the logit above which it counts as present, chosen for the best F1 on the
    /// validation part; `None` for a class without positives there, and for all if none are known.
    pub thresholds: Option<Vec<Option<f64>>>,
    /// What is known about the training: method, seed, hash of the split, version.
    pub manifest: Manifest,
}

/// How to read a trained model.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// The checkpoint of a run to use.
    pub checkpoint: Checkpoint,
    /// The present folder of the run's split, if it has been moved.
    pub split_folder: Option<&'a Path>,
    /// Whether thresholds are needed: if they are unknown, the validation part is evaluated to fit
    /// them.
    pub thresholds: bool,
    /// The machine's settings.
    pub machine: &'a Machine,
}

impl TrainedModel {
    /// Reads the model at `path`: a run's folder, or the file of an exported model.
    ///
    /// # Errors
    /// Fails if there is no such model, if it works on given features instead of pictures, or if
    /// its validation part is needed for thresholds and cannot be evaluated.
    pub fn open(path: &Path, opening: &Opening) -> Result<Self> {
        if path.is_file() {
            return Self::open_exported(path, opening);
        }
        let run = RunDir::new(path);
        let (manifest, experiment) = read_run(&run)?;
        if experiment.model.features.is_some() {
            let problem = "was trained on given features (`model.features`), and has no \
                backbone to process pictures with";
            return Err(Error::file(path, problem)
                .hint("train it on the pictures, with the backbone that made the features"));
        }
        let checkpoint = checkpoint_of(&run, opening.checkpoint)?;
        let thresholds = match opening.thresholds {
            true => known_thresholds(&run, (&manifest, &experiment), opening)?,
            false => None,
        };
        let classes = match manifest.classes.is_empty() {
            false => manifest.classes.clone(),
            // An earlier version did not record them.
            true => split_of(&manifest, opening.split_folder)?
                .0
                .classes()
                .to_vec(),
        };
        Ok(TrainedModel {
            path: path.to_owned(),
            network: network(
                &experiment.model,
                &classes,
                &checkpoint,
                &opening.machine.device,
            )?,
            config: experiment.model,
            input: experiment.input,
            batch_size: experiment.train.batch_size,
            classes,
            thresholds,
            manifest,
        })
    }

    /// Reads an exported model, whose file is self-contained.
    fn open_exported(path: &Path, opening: &Opening) -> Result<Self> {
        let card = export::card_of(path)?;
        if opening.checkpoint == Checkpoint::Best && card.checkpoint != Checkpoint::Best {
            let problem = "contains the last checkpoint of its run, not the best";
            return Err(Error::file(path, problem).hint("export the run with `--checkpoint best`"));
        }
        let experiment = card.experiment(path)?;
        let classes = card.class_names();
        let device = &opening.machine.device;
        let labels = LabelTable::new(classes.clone());
        let network = Model::empty(&experiment.model, &labels, device)?;
        export::restore(path, &network.parameters, device)?;
        Ok(TrainedModel {
            path: path.to_owned(),
            network,
            config: experiment.model,
            input: experiment.input,
            batch_size: experiment.train.batch_size,
            classes,
            thresholds: card.chosen_thresholds(),
            manifest: card.training,
        })
    }
}

/// Loads the network of a checkpoint.
fn network(
    config: &ModelConfig,
    classes: &[String],
    checkpoint: &Path,
    device: &Device,
) -> Result<Model> {
    // What a head needs to know about the training labels is among its tensors.
    let labels = LabelTable::new(classes.to_vec());
    let network = Model::empty(config, &labels, device)?;
    Saved::read(checkpoint, device)?.result(&network.parameters, "")?;
    Ok(network)
}

/// Returns the thresholds of a checkpoint, fitted if they do not exist yet; `None` without a
/// validation part, with a warning if the split cannot be found.
fn known_thresholds(
    run: &RunDir,
    (manifest, experiment): (&Manifest, &Experiment),
    opening: &Opening,
) -> Result<Option<Vec<Option<f64>>>> {
    if let Some(kept) = thresholds::read(run, opening.checkpoint)? {
        return Ok(Some(kept));
    }
    let folder = opening.split_folder.unwrap_or(&manifest.split_folder);
    if !Split::is_in(folder) {
        tracing::warn!(
            "{}: the split of {} does not exist (if it has moved, pass `--split`): no thresholds \
             are known",
            folder.display(),
            run.path().display()
        );
        return Ok(None);
    }
    let (split, split_folder) = split_of(manifest, Some(folder))?;
    if split.validation.is_none() {
        return Ok(None);
    }
    tracing::info!(
        "{}: fitting thresholds to the validation part, once",
        run.path().display()
    );
    let evaluate = Evaluate {
        run,
        experiment,
        split: &split,
        split_folder: &split_folder,
        set: Set::Validation,
        checkpoint: opening.checkpoint,
        fit_thresholds: false,
    };
    evaluate.run(None, opening.machine, Options::default())?;
    thresholds::read(run, opening.checkpoint)
}

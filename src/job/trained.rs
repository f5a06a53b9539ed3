//! A trained model as it is used: a network with its weights, the classes, what it expects of a
//! picture, and the scores from which on a class counts as present.

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

/// A trained model. Whatever uses one (predictions, exports) takes it from here, wherever it lies.
pub struct TrainedModel {
    /// Where it was read from.
    pub path: PathBuf,
    /// The network with its weights: of a run that kept their average, the average.
    pub network: Model,
    /// What the network was made from.
    pub config: ModelConfig,
    /// How pictures become its input, and which views of them are averaged.
    pub input: InputConfig,
    /// Pictures a batch, as it was evaluated.
    pub batch_size: usize,
    /// Names of the classes, in the order of the logits.
    pub classes: Vec<String>,
    /// For each class the logit above which it counts as present, by the best F1 on the validation
    /// part; `None` for a class without a positive there, and for all where none are known.
    pub thresholds: Option<Vec<Option<f64>>>,
    /// Method and seed, hash of the training split, version: what is known of the training.
    pub manifest: Manifest,
}

/// How a trained model is read.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// Which checkpoint of a run.
    pub checkpoint: Checkpoint,
    /// Where the split of the run lies now, if it has been moved.
    pub split_folder: Option<&'a Path>,
    /// Whether thresholds are wanted: those that are not known are fitted to the validation part,
    /// which is evaluated for it.
    pub thresholds: bool,
    /// On what machine.
    pub machine: &'a Machine,
}

impl TrainedModel {
    /// Reads the model at `path`: a run's folder, or the file of an exported model.
    ///
    /// # Errors
    /// There is no such model; it works on features that are given, not on pictures; its
    /// validation part is wanted for thresholds and cannot be evaluated.
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
            // An earlier version did not write them down.
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

    /// Reads an exported model, which is all that its file says.
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

/// The network of a checkpoint.
fn network(
    config: &ModelConfig,
    classes: &[String],
    checkpoint: &Path,
    device: &Device,
) -> Result<Model> {
    // What a head knows of the training labels is among its tensors.
    let labels = LabelTable::new(classes.to_vec());
    let network = Model::empty(config, &labels, device)?;
    Saved::read(checkpoint, device)?.result(&network.parameters, "")?;
    Ok(network)
}

/// The thresholds of a checkpoint, fitted if they are not there; `None`, which is said where it is
/// no matter of the run, without a validation part.
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

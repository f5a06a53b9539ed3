//! Evaluation of a trained run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::supply::Supply;
use super::{Machine, thresholds};
use crate::config::Experiment;
use crate::data::labels::LabelTable;
use crate::data::split::{Set, Split};
use crate::error::{Error, Result};
use crate::features::Shown;
use crate::io::write_text;
use crate::model::Model;
use crate::predict::{Predictions, predict};
use crate::report::evaluation::{Evaluation, Options as EvaluationOptions, best_thresholds};
use crate::run_dir::{Checkpoint, Manifest, RunDir, Status};
use crate::train::checkpoint::{self, Saved};

/// A trained run read from its folder, with the split it was trained on.
#[derive(Debug)]
pub struct Opened {
    /// The run's experiment.
    pub experiment: Experiment,
    /// The images.
    pub split: Split,
    /// The folder of the split.
    pub split_folder: PathBuf,
}

impl Opened {
    /// Reads the experiment and the split of `run`; `split_folder` is the split's present folder,
    /// if it has been moved.
    ///
    /// # Errors
    /// Fails if the folder contains no run, or if the split is missing or a different one.
    pub fn read(run: &RunDir, split_folder: Option<&Path>) -> Result<Self> {
        let (manifest, experiment) = read_run(run)?;
        let (split, split_folder) = split_of(&manifest, split_folder)?;
        Ok(Opened {
            experiment,
            split,
            split_folder,
        })
    }
}

/// Reads the manifest and the experiment of `run`, without its split.
///
/// # Errors
/// Fails if the folder contains no run, or only scores made by another program.
pub(super) fn read_run(run: &RunDir) -> Result<(Manifest, Experiment)> {
    let refused = |problem: &str| {
        Err(Error::file(run.path(), problem)
            .hint("expected the folder that `dbloss train` wrote, with `manifest.json`"))
    };
    if !run.manifest().is_file() {
        return refused("is not a run's folder");
    }
    let manifest = Manifest::read(&run.manifest())?;
    if !run.config().is_file() {
        return refused("contains the scores of a run, but no model");
    }
    let experiment = Experiment::read(&run.config())?;
    if manifest.status != Status::Finished {
        tracing::warn!(
            "{}: the training is not finished ({:?}); what follows is the state of its checkpoint",
            run.path().display(),
            manifest.status
        );
    }
    Ok((manifest, experiment))
}

/// Reads the split of a run, and returns it with its folder: `folder` if it has been moved.
///
/// # Errors
/// Fails if it is missing or a different one.
pub(super) fn split_of(manifest: &Manifest, folder: Option<&Path>) -> Result<(Split, PathBuf)> {
    let split_folder = folder.unwrap_or(&manifest.split_folder).to_owned();
    if !Split::is_in(&split_folder) {
        return Err(
            Error::file(&split_folder, "the split of this run does not exist")
                .hint("if it has moved, give its folder with `--split`"),
        );
    }
    let split = Split::read(&split_folder)?;
    if split.hash != manifest.split_hash {
        let problem = "is not the split that the run was trained on, or it has changed since";
        return Err(Error::file(&split_folder, problem).hint("restore the split, or train again"));
    }
    Ok((split, split_folder))
}

/// Returns the path of a checkpoint of `run`, which must exist.
///
/// # Errors
/// Fails if it does not exist.
pub(super) fn checkpoint_of(run: &RunDir, which: Checkpoint) -> Result<PathBuf> {
    let path = run.checkpoint(which);
    match path.is_file() {
        true => Ok(path),
        false => Err(Error::file(&path, "does not exist")
            .hint("the run has not got that far; `best` needs a split with a validation part")),
    }
}

/// What to evaluate.
#[derive(Debug, Clone, Copy)]
pub struct Evaluate<'a> {
    /// The trained run.
    pub run: &'a RunDir,
    /// The run's experiment.
    pub experiment: &'a Experiment,
    /// The split that it was trained on.
    pub split: &'a Split,
    /// The folder of the split, for errors.
    pub split_folder: &'a Path,
    /// The set of images to evaluate on.
    pub set: Set,
    /// The checkpoint to evaluate.
    pub checkpoint: Checkpoint,
    /// Whether to use the per-class thresholds with the best F1 on the validation part.
    pub fit_thresholds: bool,
}

/// The result of an evaluation, with the scores behind it.
#[derive(Debug)]
pub struct Evaluated {
    /// The results by class, by group and overall.
    pub evaluation: Evaluation,
    /// The scores of the images that could be read.
    pub predictions: Predictions,
    /// The labels of the same images.
    pub table: Arc<LabelTable>,
}

impl Evaluate<'_> {
    /// Evaluates the checkpoint, or `model`, which must be the run's result as stored in the
    /// checkpoint, and writes predictions and tables into [`RunDir::eval_of`]. If a run kept a
    /// moving average of its weights, the average is the result; the weights themselves are also
    /// evaluated, into [`RunDir::eval_of_plain`].
    pub fn run(
        &self,
        model: Option<Model>,
        machine: &Machine,
        options: EvaluationOptions,
    ) -> Result<Evaluated> {
        let averaged = self.experiment.train.ema_decay > 0.0;
        let lies = model
            .is_none()
            .then(|| checkpoint_of(self.run, self.checkpoint))
            .transpose()?;
        let supply = Supply::new(
            self.experiment,
            self.split,
            self.split_folder,
            machine,
            lies,
        )?;
        let model = match model {
            Some(model) => model,
            None => self.model(&supply, machine, Weights::Average)?,
        };
        let folder = self.run.eval_of(self.set, self.checkpoint);
        let weights = averaged.then_some(Weights::Average);
        let evaluated = self.score(&model, &supply, options.clone(), &folder, weights)?;
        if averaged {
            drop(model);
            let plain = self.model(&supply, machine, Weights::Plain)?;
            let folder = self.run.eval_of_plain(self.set, self.checkpoint);
            let beside = self.score(&plain, &supply, options, &folder, Some(Weights::Plain))?;
            let percent = |evaluated: &Evaluated| -> String {
                let map = evaluated.evaluation.total_map();
                map.map_or("undefined".into(), |map| format!("{:.2} %", 100.0 * map))
            };
            tracing::info!(
                "{}: mAP {} with averaged weights, {} with plain weights",
                self.experiment.run_name(),
                percent(&evaluated),
                percent(&beside),
            );
        }
        Ok(evaluated)
    }

    /// Evaluates `model` and writes predictions and tables into `folder`.
    fn score(
        &self,
        model: &Model,
        supply: &Supply,
        mut options: EvaluationOptions,
        folder: &Path,
        weights: Option<Weights>,
    ) -> Result<Evaluated> {
        let predict_set = |set: Set| -> Result<(Predictions, Arc<LabelTable>)> {
            let (table, _) = self.split.set(set, self.split_folder)?;
            let inputs = supply.inputs(set, Shown::Testing)?;
            let label = format!("{set} {}", self.experiment.run_name());
            predict(model, &*inputs, table, &label)
        };
        if self.fit_thresholds {
            let (predictions, table) = predict_set(Set::Validation)?;
            options.thresholds = best_thresholds(&predictions, &table, 0.0)?;
        }
        let (predictions, table) = predict_set(self.set)?;
        let evaluation = Evaluation::new(&predictions, &table, self.split, &options)?;
        let settings = Settings {
            checkpoint: self.checkpoint,
            weights,
            step: step_of(self.run, self.checkpoint),
            other_set: None,
            options: &options,
        };
        settings.write(folder, &evaluation, &predictions)?;
        if self.set == Set::Validation {
            thresholds::write(folder, &predictions, &table)?;
        }
        Ok(Evaluated {
            evaluation,
            predictions,
            table,
        })
    }

    /// Loads the model of the checkpoint.
    fn model(&self, supply: &Supply, machine: &Machine, weights: Weights) -> Result<Model> {
        let model = supply.empty()?;
        let path = checkpoint_of(self.run, self.checkpoint)?;
        let saved = Saved::read(&path, &machine.device)?;
        match weights {
            Weights::Average => saved.result(&model.parameters, "")?,
            Weights::Plain => saved.plain(&model.parameters)?,
        }
        Ok(model)
    }
}

/// Which weights to use of a run that kept a moving average of them.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Weights {
    /// Their moving average: the run's result.
    Average,
    /// The weights as they were trained.
    Plain,
}

/// Returns the number of training steps at a checkpoint.
pub(super) fn step_of(run: &RunDir, which: Checkpoint) -> Option<usize> {
    let position = checkpoint::position(&run.checkpoint(which)).ok();
    position.map(|position| position.step)
}

/// `settings.toml` beside the tables: what they were computed from, and how.
#[derive(Serialize)]
pub(super) struct Settings<'a> {
    pub checkpoint: Checkpoint,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// Number of training steps at the checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// The hash of the labels, if they do not belong to the run's split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_set: Option<&'a str>,
    #[serde(flatten)]
    pub options: &'a EvaluationOptions,
}

impl Settings<'_> {
    /// Writes predictions and tables into `folder`, with these settings beside them.
    pub(super) fn write(
        &self,
        folder: &Path,
        evaluation: &Evaluation,
        predictions: &Predictions,
    ) -> Result<()> {
        predictions.write(&folder.join("predictions.csv"))?;
        evaluation.write(folder)?;
        let settings = toml::to_string(self).map_err(|e| Error::file(folder, e))?;
        write_text(&folder.join("settings.toml"), &settings)
    }
}

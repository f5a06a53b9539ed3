//! One training run from a resolved experiment: split, model, loop, evaluation, manifest.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use candle_core::Device;

use crate::config::{Experiment, ExperimentFile};
use crate::data::image::ImageRoot;
use crate::data::labels::LabelTable;
use crate::data::loader::{Loader, LoaderOptions};
use crate::data::split::Split;
use crate::device;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::io::{claim_folder, hash_file, is_temporary, write_text};
use crate::model::Model;
use crate::predict::{Predictions, predict};
use crate::report::evaluation::{Evaluation, Options as EvaluationOptions, best_thresholds};
use crate::run_dir::{Manifest, RunDir, Status};
use crate::train::checkpoint::{self, Position};
use crate::train::fit::Training;

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

/// The split of an experiment: its `split_folder`, or the one its `[split]` table describes, which
/// is built under `folder` the first time and read from there afterwards.
pub fn open_split(experiment: &Experiment, folder: &Path) -> Result<(Split, PathBuf)> {
    if let Some(given) = &experiment.split_folder {
        return Ok((Split::read(given)?, given.clone()));
    }
    let Some(config) = &experiment.split else {
        return Err(Error::input("split", "the experiment names no split"));
    };
    if folder.join("split.toml").is_file() {
        let split = Split::read(folder)?;
        if split.manifest.config != *config {
            return Err(Error::file(
                folder,
                "the split here was built from other settings than the experiment's",
            )
            .hint("remove the folder, or give another one with `--out`"));
        }
        return Ok((split, folder.to_owned()));
    }
    claim_folder(folder, false)?;
    let split = Split::build(config)?;
    // Beside its place first: a process that ends in the middle leaves no half a split there.
    let parent = match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs_err::create_dir_all(parent)?;
    let building = crate::io::temporary_folder(parent)?;
    split.write(building.path(), false)?;
    // Not every system renames onto a folder, even an empty one.
    let _ = std::fs::remove_dir(folder);
    if let Err(error) = std::fs::rename(building.path(), folder) {
        // Another process may have been faster; else the folder is in use for something else.
        if !folder.join("split.toml").is_file() {
            return Err(Error::file(folder, error).hint("name another folder with `--out`"));
        }
    }
    Ok((split, folder.to_owned()))
}

/// Checks whether a training may go into the run's folder. Nothing is changed yet.
///
/// A folder that holds anything but a run of dbloss (or the split of one that never began) is
/// refused whatever `existing` says.
pub fn check_folder(run: &RunDir, existing: Existing) -> Result<()> {
    let folder = run.path();
    if folder.is_file() {
        return Err(Error::file(folder, "is a file, expected a folder"));
    }
    if run.manifest().is_file() {
        Manifest::read(&run.manifest())?;
        return match existing {
            Existing::Refuse => Err(Error::file(folder, "holds a run already").hint(
                "`--resume` goes on with it, `--force` replaces it, `--out` writes elsewhere",
            )),
            _ => Ok(()),
        };
    }
    if folder.is_dir() {
        for entry in fs_err::read_dir(folder)? {
            let entry = entry?;
            // What is there before the manifest is, so what a kill in the first moment leaves.
            let name = entry.file_name();
            let early = name == "split" || name == RunDir::LOCK || is_temporary(&name);
            if !early {
                return Err(Error::file(
                    folder,
                    format_args!(
                        "is not empty and not a run's folder: it holds `{}`",
                        entry.file_name().display()
                    ),
                )
                .hint("name another folder with `--out`"));
            }
        }
    }
    match existing {
        Existing::Resume => Err(Error::file(folder, "holds no run to resume")
            .hint("check `--out`, `--method` and `--seed`, or leave `--resume` out to start")),
        _ => Ok(()),
    }
}

/// Trains one experiment into `run`, a folder that [`check_folder`] let pass. What an earlier run
/// left there is removed only when everything that can be checked has been.
pub fn train(
    experiment: &Experiment,
    split: &Split,
    split_folder: &Path,
    run: &RunDir,
    machine: &Machine,
    existing: Existing,
) -> Result<()> {
    let config_hash = experiment.hash()?;
    let resume = matches!(existing, Existing::Resume | Existing::ResumeOrStart);
    if resume && earlier(run, &config_hash, split)?.is_some_and(finished) {
        tracing::info!("{}: finished already", run.path().display());
        return Ok(());
    }
    warn_about(experiment, split);
    interrupt::listen()?;

    let num_classes = split.train.num_classes();
    let model = Model::new(
        &experiment.model,
        num_classes,
        &machine.device,
        experiment.seed,
    )?;
    let mut weights_hash = None;
    if !experiment.model.weights.is_empty() {
        let path = model.load_backbone(&experiment.model.weights)?;
        weights_hash = Some(hash_file(&path)?);
    }
    let mut manifest = Manifest {
        status: Status::Running,
        experiment: experiment.name.clone(),
        method: experiment.method.clone(),
        seed: experiment.seed,
        command: std::env::args().collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        device: device::name(&machine.device),
        threads: rayon::current_num_threads(),
        workers: machine.workers,
        processor: device::processor(crate::ops::Isa::best().name()),
        started_unix: (SystemTime::now().duration_since(UNIX_EPOCH)).map_or(0, |d| d.as_secs()),
        split_folder: std::path::absolute(split_folder)?,
        split_hash: split.hash.clone(),
        weights_hash,
        config_hash: config_hash.clone(),
        train_seconds: 0.0,
        images_seen: 0,
        total_steps: None,
        error: None,
        findings: Vec::new(),
    };
    let labels = Arc::new(split.train.clone());
    let train_loader = loader(experiment, &labels, &split.train_root, machine)?;
    let held_out = match &split.validation {
        Some(table) => {
            let table = Arc::new(table.clone());
            Some((
                loader(experiment, &table, &split.train_root, machine)?,
                table,
            ))
        }
        None => None,
    };
    let validate = |model: &Model| -> Result<Option<f64>> {
        let Some((loader, table)) = &held_out else {
            return Ok(None);
        };
        let (predictions, table) = predict(model, loader, table, "validate")?;
        let options = EvaluationOptions {
            resamples: 0,
            ..EvaluationOptions::default()
        };
        let evaluation = Evaluation::new(&predictions, &table, split, &options)?;
        Ok(evaluation.groups().total)
    };
    let training = Training {
        model: &model,
        loss: experiment.loss.build(&split.class_frequency())?,
        labels: &labels,
        loader: &train_loader,
        sampler: &experiment.sampler,
        optimizer: &experiment.optimizer,
        schedule: &experiment.schedule,
        config: &experiment.train,
        seed: experiment.seed,
        config_hash: config_hash.clone(),
        validate: held_out.is_some().then_some(&validate),
        label: experiment.run_name(),
    };
    manifest.total_steps = Some(training.steps_per_epoch()? * experiment.train.epochs);
    let _lock = run.lock(machine.patience)?;
    if resume && let Some(before) = earlier(run, &config_hash, split)? {
        // Another process may have gone on with it until now.
        if before.status == Status::Finished {
            tracing::info!("{}: finished already", run.path().display());
            return Ok(());
        }
        for change in before.machine_changes(&manifest) {
            tracing::warn!("{}: {change}", run.path().display());
        }
        manifest.train_seconds = before.train_seconds;
        manifest.images_seen = before.images_seen;
    }
    // The manifest first: from here on the folder is a run's, whenever the process ends.
    manifest.write(&run.manifest())?;
    if existing == Existing::Overwrite {
        clear(run)?;
    }
    write_text(&run.config(), &experiment.to_toml()?)?;

    let mut position = Position::default();
    let outcome = training.fit(run, resume, &mut position);
    manifest.train_seconds = position.train_seconds;
    manifest.images_seen = (position.step * experiment.train.batch_size) as u64;
    match &outcome {
        Ok(findings) => {
            manifest.status = Status::Finished;
            manifest.findings = findings.clone();
        }
        Err(Error::Interrupted(_)) => manifest.status = Status::Interrupted,
        Err(error) => {
            manifest.status = Status::Failed;
            manifest.error = Some(error.to_string());
        }
    }
    manifest.write(&run.manifest())?;
    outcome.map(|_| ())
}

/// What [`evaluate`] is to score.
#[derive(Debug, Clone, Copy)]
pub struct Evaluate<'a> {
    /// The trained run.
    pub run: &'a RunDir,
    /// Which images.
    pub set: EvaluatedSet,
    /// Which checkpoint: `last` or `best`.
    pub checkpoint: &'a str,
    /// Take the per-class thresholds with the best F1 on the validation part.
    pub fit_thresholds: bool,
    /// The run's split, if it has been moved.
    pub split_folder: Option<&'a Path>,
}

impl Evaluate<'_> {
    /// Where the results go: `eval/<set>/`, or `eval/<set>-best/` for the best checkpoint, whose
    /// tables must not take the place of those that comparisons read.
    pub fn folder(&self) -> PathBuf {
        match (self.checkpoint, self.set.name()) {
            ("last", set) => self.run.eval(set),
            (checkpoint, set) => self.run.eval(&format!("{set}-{checkpoint}")),
        }
    }
}

/// Evaluates a trained run on one of its split's sets and writes [`Evaluate::folder`].
pub fn evaluate(
    job: &Evaluate,
    machine: &Machine,
    mut options: EvaluationOptions,
) -> Result<Evaluation> {
    let run = job.run;
    let manifest = Manifest::read(&run.manifest())?;
    let experiment = ExperimentFile::read(&run.config(), &[])?.resolve(None, None)?;
    if manifest.status != Status::Finished {
        tracing::warn!(
            "{}: the training is not finished ({:?}); what follows is the state of its checkpoint",
            run.path().display(),
            manifest.status
        );
    }
    let split_folder = job.split_folder.unwrap_or(&manifest.split_folder);
    if !split_folder.join("split.toml").is_file() {
        return Err(
            Error::file(split_folder, "the split of this run is not there")
                .hint("if it has been moved, give its folder with `--split`"),
        );
    }
    let split = Split::read(split_folder)?;
    if split.hash != manifest.split_hash {
        return Err(Error::file(
            split_folder,
            "is not the split that the run was trained on, or has changed since",
        )
        .hint("restore the split, or train again"));
    }
    let (seed, classes) = (experiment.seed, split.train.num_classes());
    let model = Model::new(&experiment.model, classes, &machine.device, seed)?;
    let checkpoint = run.checkpoint(job.checkpoint);
    if !checkpoint.is_file() {
        return Err(Error::file(&checkpoint, "does not exist")
            .hint("the run has not got that far; `best` needs a split with a validation part"));
    }
    checkpoint::load_model(&checkpoint, &model.parameters, &machine.device)?;
    model.weights_changed();
    let predict_set = |set: EvaluatedSet| -> Result<(Predictions, LabelTable)> {
        let (table, root) = set.of(&split, split_folder)?;
        let table = Arc::new(table.clone());
        let loader = loader(&experiment, &table, root, machine)?;
        let label = format!("{} {}", set.name(), experiment.run_name());
        predict(&model, &loader, &table, &label)
    };
    if job.fit_thresholds {
        let (predictions, table) = predict_set(EvaluatedSet::Validation)?;
        options.thresholds = best_thresholds(&predictions, &table, 0.0)?;
    }
    let (predictions, table) = predict_set(job.set)?;
    let evaluation = Evaluation::new(&predictions, &table, &split, &options)?;
    let folder = job.folder();
    predictions.write(&folder.join("predictions.csv"))?;
    evaluation.write(&folder)?;
    let settings = toml::to_string(&EvaluationSettings {
        checkpoint: job.checkpoint,
        options: &options,
    });
    let settings = settings.map_err(|e| Error::file(&folder, e))?;
    write_text(&folder.join("settings.toml"), &settings)?;
    Ok(evaluation)
}

/// `settings.toml` beside the tables: what they were computed from and how.
#[derive(serde::Serialize)]
struct EvaluationSettings<'a> {
    checkpoint: &'a str,
    #[serde(flatten)]
    options: &'a EvaluationOptions,
}

/// Which images of a split are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvaluatedSet {
    /// The test set.
    Test,
    /// The held-out part of the training set.
    Validation,
    /// The training set itself: how well it was fitted.
    Train,
}

impl EvaluatedSet {
    /// The set's labels and the root of its pictures.
    pub fn of<'a>(
        self,
        split: &'a Split,
        folder: &Path,
    ) -> Result<(&'a LabelTable, &'a ImageRoot)> {
        match (self, &split.validation) {
            (EvaluatedSet::Test, _) => Ok((&split.test, &split.test_root)),
            (EvaluatedSet::Train, _) => Ok((&split.train, &split.train_root)),
            (EvaluatedSet::Validation, Some(table)) => Ok((table, &split.train_root)),
            (EvaluatedSet::Validation, None) => Err(Error::file(folder, "has no validation part")
                .hint("build the split with `validation` set")),
        }
    }

    /// The name of the set's folder under `eval/`.
    pub fn name(self) -> &'static str {
        match self {
            EvaluatedSet::Test => "test",
            EvaluatedSet::Validation => "validation",
            EvaluatedSet::Train => "train",
        }
    }
}

fn loader(
    experiment: &Experiment,
    table: &Arc<LabelTable>,
    root: &ImageRoot,
    machine: &Machine,
) -> Result<Loader> {
    let options = LoaderOptions {
        batch_size: experiment.train.batch_size,
        on_bad_image: experiment.on_bad_image,
        ..machine.loader_options()
    };
    Loader::new(
        Arc::clone(table),
        root.clone(),
        experiment.input.clone(),
        options,
    )
}

/// Settings that run but hardly mean what the user wants.
fn warn_about(experiment: &Experiment, split: &Split) {
    if experiment.model.weights.is_empty() && experiment.model.frozen_stages >= 0 {
        tracing::warn!(
            "stages 0 to {} are frozen but no weights are loaded: they stay random; set \
             `model.weights`, or `model.frozen_stages = -1`",
            experiment.model.frozen_stages
        );
    }
    let unlabelled = (0..split.train.len())
        .filter(|&i| split.train.labels(i).is_empty())
        .count();
    if unlabelled > 0 {
        tracing::info!("{unlabelled} training images have no label and count as negatives");
    }
}

/// The manifest of the run to go on with; `None` if there is none, an error if it is another run.
fn earlier(run: &RunDir, config_hash: &str, split: &Split) -> Result<Option<Manifest>> {
    if !run.manifest().is_file() {
        return Ok(None);
    }
    let manifest = Manifest::read(&run.manifest())?;
    if manifest.config_hash != config_hash || manifest.split_hash != split.hash {
        return Err(Error::file(
            run.path(),
            "holds a run with another configuration or split",
        )
        .hint("give another folder with `--out`, or `--force` to replace it"));
    }
    Ok(Some(manifest))
}

fn finished(manifest: Manifest) -> bool {
    manifest.status == Status::Finished
}

/// Removes the files of an earlier run except for the manifest, and nothing else.
fn clear(run: &RunDir) -> Result<()> {
    for file in [run.config(), run.steps(), run.epochs()] {
        if file.is_file() {
            fs_err::remove_file(file)?;
        }
    }
    let checkpoints = run.path().join("checkpoints");
    for folder in [checkpoints, run.path().join("eval"), run.tensorboard()] {
        if folder.is_dir() {
            fs_err::remove_dir_all(folder)?;
        }
    }
    Ok(())
}

//! Training of one experiment in its folder.

use std::cell::RefCell;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::Machine;
use super::supply::Supply;
use crate::config::{Experiment, is_recorded};
use crate::data::loader::Inputs;
use crate::data::split::{Set, Split};
use crate::device;
use crate::error::{Error, Result};
use crate::features::Shown;
use crate::interrupt;
use crate::io::write_text;
use crate::loss::{StartGradient, start_gradient};
use crate::model::{Held, Model, Role};
use crate::optim::extent::Unit;
use crate::predict::predict;
use crate::report::evaluation::total_map;
use crate::run_dir::{Existing, Manifest, Network, RunDir, Status};
use crate::train::checkpoint::Position;
use crate::train::step::Losses;
use crate::train::tensorboard::EventWriter;
use crate::train::training::{Outcome, Training, Validate};

/// Number of images used to measure the initial gradient of the loss.
const START_IMAGES: usize = 4096;

/// A training of one experiment into one folder.
#[derive(Debug, Clone, Copy)]
pub struct Train<'a> {
    /// The experiment to train.
    pub experiment: &'a Experiment,
    /// The images.
    pub split: &'a Split,
    /// The folder of the split, for the manifest.
    pub split_folder: &'a Path,
    /// The run's folder, accepted by [`RunDir::check`].
    pub run: &'a RunDir,
    /// The machine's settings.
    pub machine: &'a Machine,
    /// What to do if the run already exists.
    pub existing: Existing,
}

/// A training with everything it needs loaded; nothing has been written yet.
pub struct Prepared<'a> {
    job: Train<'a>,
    config_hash: String,
    model: Model,
    weights_hash: Option<String>,
    losses: Losses,
    supply: Supply<'a>,
    inputs: Box<dyn Inputs>,
    held_out: Option<Box<dyn Inputs>>,
}

/// The result of a training.
pub struct Trained {
    /// The run's result; `None` if another process had finished it, or if it is a moving average
    /// stored in the checkpoint.
    pub model: Option<Model>,
    /// The manifest of the run, as written to its folder.
    pub manifest: Manifest,
}

/// Writes the TensorBoard events of a finished run from its tables, if they are requested but
/// missing: the option may have been added after the training.
pub fn add_events(experiment: &Experiment, split: &Split, run: &RunDir) -> Result<()> {
    let Experiment { train, sampler, .. } = experiment;
    if !train.tensorboard || run.tensorboard().is_dir() {
        return Ok(());
    }
    let steps = train.steps_per_epoch(sampler, &split.train)?;
    EventWriter::open(run, steps * train.epochs, train.epochs, steps)?;
    tracing::info!(
        "{}: the run is finished; its event files are written from `steps.csv` and `epochs.csv`",
        run.tensorboard().display()
    );
    Ok(())
}

impl<'a> Train<'a> {
    /// Returns the manifest of the run if it has finished and may be used as it is.
    ///
    /// # Errors
    /// Fails if the folder contains a run with another configuration or split.
    pub fn finished(&self) -> Result<Option<Manifest>> {
        match self.existing.resumes() {
            true => {
                let earlier = self.earlier(&self.experiment.hash()?)?;
                Ok(earlier.filter(|manifest| manifest.status == Status::Finished))
            }
            false => Ok(None),
        }
    }

    /// Loads everything the training needs, and rejects whatever can be rejected before it begins.
    pub fn prepare(self) -> Result<Prepared<'a>> {
        let experiment = self.experiment;
        self.load().map_err(|error| experiment.locate(error))
    }

    fn load(self) -> Result<Prepared<'a>> {
        interrupt::listen()?;
        let Train {
            experiment,
            split,
            split_folder,
            machine,
            ..
        } = self;
        let supply = Supply::new(experiment, split, split_folder, machine, None)?;
        let (mut model, weights_hash) = supply.model()?;
        let inputs = supply.inputs(Set::Train, Shown::Training)?;
        let held_out = match &split.validation {
            Some(_) => Some(supply.inputs(Set::Validation, Shown::Testing)?),
            None => None,
        };
        let groups = &experiment.optimizer.groups;
        model.hold(Held {
            neck: groups.neck == 0.0,
            head: groups.head == 0.0,
        });
        let prepared = Prepared {
            job: self,
            config_hash: experiment.hash()?,
            model,
            weights_hash,
            losses: losses(experiment, split)?,
            supply,
            inputs,
            held_out,
        };
        prepared.training(None).steps_per_epoch()?;
        Ok(prepared)
    }

    /// Returns the manifest of the run to resume; `None` if there is none, an error if it is a
    /// different run.
    fn earlier(&self, config_hash: &str) -> Result<Option<Manifest>> {
        if !self.run.manifest().is_file() {
            return Ok(None);
        }
        let manifest = Manifest::read(&self.run.manifest())?;
        let same = is_recorded(&manifest.config_hash, &self.run.config(), config_hash);
        if !same || manifest.split_hash != self.split.hash {
            let problem = "contains a run with another configuration or split";
            return Err(Error::file(self.run.path(), problem)
                .hint("choose another folder with `--out`, or replace the run with `--force`"));
        }
        Ok(Some(manifest))
    }
}

impl Prepared<'_> {
    /// Trains. An earlier run in the folder is removed first if it is to be replaced.
    ///
    /// # Errors
    /// Fails if the folder is in use, if the training diverges, if a picture cannot be read, or if
    /// a signal ends it; the manifest records the error too.
    pub fn train(mut self) -> Result<Trained> {
        let job = self.job;
        let _lock = job.run.lock(job.machine.patience)?;
        let mut manifest = self.manifest()?;
        let resume = job.existing.resumes();
        if resume && let Some(before) = job.earlier(&self.config_hash)? {
            // Another process may have continued it until now.
            if before.status == Status::Finished {
                tracing::info!("{}: finished already", job.run.path().display());
                return Ok(Trained {
                    model: None,
                    manifest: before,
                });
            }
            for change in before.machine_changes(&manifest) {
                tracing::warn!("{}: {change}", job.run.path().display());
            }
            // Its checkpoints contain its hash, which differs if an earlier version wrote it; see
            // `is_recorded`.
            self.config_hash.clone_from(&before.config_hash);
            manifest.config_hash = before.config_hash;
            manifest.train_seconds = before.train_seconds;
            manifest.images_seen = before.images_seen;
        }
        // The manifest first, so that the folder is recognised as a run's whenever the process
        // ends.
        let replaces = job.existing == Existing::Overwrite || job.run.is_being_replaced();
        if replaces {
            job.run.begin_replacing()?;
        }
        manifest.write(&job.run.manifest())?;
        if replaces {
            job.run.clear()?;
        }
        write_text(&job.run.config(), &job.experiment.to_toml()?)?;
        self.supply.place_backbone(job.run)?;

        let (manifest, outcome) = self.fit(manifest, resume);
        let written = manifest.write(&job.run.manifest());
        // If a full disk prevented both, the error that ended the training is the more useful one.
        outcome?;
        written?;
        let averaged = job.experiment.train.ema_decay > 0.0;
        Ok(Trained {
            model: (!averaged).then_some(self.model),
            manifest,
        })
    }

    /// Trains, and keeps the times in `manifest`; returns the manifest to be written.
    fn fit(&self, manifest: Manifest, resume: bool) -> (Manifest, Result<Outcome>) {
        let job = self.job;
        let (before, start) = (manifest.train_seconds, Instant::now());
        let manifest = RefCell::new(manifest);
        let note = |position: &Position| {
            let mut manifest = manifest.borrow_mut();
            manifest.train_seconds = before + start.elapsed().as_secs_f64();
            manifest.images_seen = (position.step * job.experiment.train.step_images()) as u64;
        };
        // So that the time of a killed process is not lost.
        let saved = |position: &Position| {
            note(position);
            manifest.borrow().write(&job.run.manifest())
        };
        let validate = |model: &Model| self.validate(model);
        let training = Training {
            saved: Some(&saved),
            ..self.training(self.held_out.is_some().then_some(&validate))
        };
        let mut position = Position::default();
        let outcome = training.fit(job.run, resume, &mut position);
        note(&position);
        let mut manifest = manifest.into_inner();
        match &outcome {
            Ok(outcome) => {
                manifest.status = Status::Finished;
                manifest.findings.clone_from(&outcome.findings);
                if outcome.early {
                    manifest.total_steps = Some(position.step);
                }
            }
            Err(Error::Interrupted(_)) => manifest.status = Status::Interrupted,
            Err(error) => {
                manifest.status = Status::Failed;
                manifest.error = Some(error.to_string());
                manifest.diverged = matches!(error, Error::Diverged(_));
            }
        }
        (manifest, outcome)
    }

    fn training<'a>(&'a self, validate: Option<&'a Validate<'a>>) -> Training<'a> {
        let experiment = self.job.experiment;
        Training {
            model: &self.model,
            losses: self.losses.clone(),
            labels: &self.job.split.train,
            inputs: &*self.inputs,
            sampler: &experiment.sampler,
            optimizer: &experiment.optimizer,
            schedule: &experiment.schedule,
            config: &experiment.train,
            seed: experiment.seed,
            config_hash: self.config_hash.clone(),
            validate,
            saved: None,
            label: experiment.run_name(),
        }
    }

    /// Computes mAP on the validation part.
    fn validate(&self, model: &Model) -> Result<Option<f64>> {
        let split = self.job.split;
        let (Some(inputs), Some(table)) = (&self.held_out, &split.validation) else {
            return Ok(None);
        };
        let (predictions, table) = predict(model, &**inputs, table, "validate")?;
        total_map(&predictions, &table, split)
    }

    /// Returns the manifest of a training that starts now.
    fn manifest(&self) -> Result<Manifest> {
        let Train {
            experiment,
            split,
            split_folder,
            machine,
            ..
        } = self.job;
        let steps = self.training(None).steps_per_epoch()? * experiment.train.epochs;
        let start = self.start_gradient()?;
        Ok(Manifest {
            status: Status::Running,
            experiment: experiment.name.clone(),
            method: experiment.method.clone(),
            seed: experiment.seed,
            command: std::env::args().collect(),
            experiment_file: experiment.file().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: device::name(&machine.device),
            threads: rayon::current_num_threads(),
            workers: machine.workers,
            processor: device::processor(crate::ops::Isa::best().name()),
            started_unix: (SystemTime::now().duration_since(UNIX_EPOCH)).map_or(0, |d| d.as_secs()),
            split_folder: std::path::absolute(split_folder)?,
            split_hash: split.hash.clone(),
            classes: split.classes().to_vec(),
            weights_hash: self.weights_hash.clone(),
            config_hash: self.config_hash.clone(),
            train_seconds: 0.0,
            images_seen: 0,
            total_steps: Some(steps),
            error: None,
            diverged: false,
            start_gradient: Some(start.norm),
            start_gradient_of_bce: Some(start.ratio()),
            findings: Vec::new(),
            network: Some(self.network()?),
        })
    }

    /// Measures the gradient of the loss over the beginning of the first epoch; warns if a learning
    /// rate that suits other losses may not suit this one.
    fn start_gradient(&self) -> Result<StartGradient> {
        let Experiment {
            train,
            sampler,
            seed,
            optimizer,
            ..
        } = self.job.experiment;
        let labels = &self.job.split.train;
        let order = sampler.epoch_indices(labels, *seed, 0)?;
        let order = &order[..order.len().min(START_IMAGES.max(train.batch_size))];
        let targets = labels.targets_of(order.iter().map(|&image| image as usize));
        let frequency = self.job.split.class_frequency();
        let loss = self.losses.at(0);
        let start = start_gradient(loss.as_ref(), &targets, &frequency, train.batch_size, 0)?;
        // The step of AdamW does not depend on the scale of the gradient.
        if start.is_far() && optimizer.kind.name() == "sgd" {
            tracing::warn!(
                "{}: the gradient of the loss is {:.3} times that of binary cross-entropy at the \
                 start: at the same `optimizer.learning_rate` it trains as much faster or slower, \
                 and a comparison is one of scales; `dbloss tune` finds each loss its own rate",
                self.job.experiment.run_name(),
                start.ratio(),
            );
        }
        Ok(start)
    }

    /// Returns the manifest's description of the network.
    fn network(&self) -> Result<Network> {
        let (parameters, model) = (&self.model.parameters, &self.job.experiment.model);
        let learnable = parameters.iter().filter(|p| p.role != Role::Buffer);
        let own: usize = learnable.map(|p| p.var.elem_count()).sum();
        let architecture = model.backbone.architecture();
        let (features, padding) = match model.features {
            Some(_) => (self.supply.width()?, String::new()),
            None => (
                architecture.num_pooled(),
                architecture.padding_name().to_owned(),
            ),
        };
        Ok(Network {
            parameters: own + self.supply.scalars_below(),
            trainable: parameters.num_trainable(),
            features,
            padding,
        })
    }
}

/// Makes the loss by step: with its class weights, or without them at first.
fn losses(experiment: &Experiment, split: &Split) -> Result<Losses> {
    let Experiment { train, loss, .. } = experiment;
    let frequency = split.class_frequency();
    let without = match train.reweight_after.is_nothing() {
        true => None,
        false => loss.without_weights(),
    };
    let before = match without {
        Some(without) => {
            let steps = train.steps_per_epoch(&experiment.sampler, &split.train)?;
            let from = (train.reweight_after).steps(Unit::Epoch, steps, train.epochs);
            Some((without.build(&frequency)?, from))
        }
        None => None,
    };
    Ok(Losses {
        loss: loss.build(&frequency)?,
        before,
    })
}

//! The training loop.

use std::sync::Arc;
use std::time::Instant;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::checkpoint::{self, Position};
use super::health::{self, Health};
use super::record::{EpochRecord, StepRecord};
use super::recorder::Recorder;
use super::tensorboard::EventWriter;
use crate::data::labels::LabelTable;
use crate::data::loader::{Batch, Loader};
use crate::data::sampler::SamplerConfig;
use crate::error::{Error, KeyPath, Result};
use crate::interrupt;
use crate::loss::{self, Loss, chance_loss};
use crate::model::Model;
use crate::optim::clip::clip_factor;
use crate::optim::{Schedule, Sgd, SgdConfig, gradient_norm};
use crate::predict::pictures;
use crate::progress::Progress;
use crate::range::Range;
use crate::rng::Stream;
use crate::run_dir::{Checkpoint, RunDir};

/// Length of a training. The defaults are the published recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Images a step, 32. The last incomplete batch of an epoch is dropped.
    pub batch_size: usize,
    /// Passes over the sampler's epoch, 8.
    pub epochs: usize,
    /// Steps between two checkpoints, beside the one after each epoch.
    pub checkpoint_steps: usize,
    /// Write TensorBoard event files too, into the run's `tensorboard/`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tensorboard: bool,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            batch_size: 32,
            epochs: 8,
            checkpoint_steps: 500,
            tensorboard: false,
        }
    }
}

impl TrainConfig {
    /// Checks the ranges; `at` is the table's own key.
    pub fn check(&self, at: &KeyPath) -> Result<()> {
        Range::AtLeast(2).check_whole(&at.join("batch_size"), self.batch_size)?;
        Range::AtLeast(1).check_whole(&at.join("epochs"), self.epochs)?;
        Range::AtLeast(1).check_whole(&at.join("checkpoint_steps"), self.checkpoint_steps)
    }
}

/// Images of an epoch whose labels tell what the loss is at chance.
const CHANCE_IMAGES: usize = 1024;

impl TrainConfig {
    /// Full batches in an epoch of `sampler` over `labels`, at least one.
    ///
    /// # Errors
    /// The epoch does not fill one.
    pub fn steps_per_epoch(&self, sampler: &SamplerConfig, labels: &LabelTable) -> Result<usize> {
        let images = sampler.epoch_length(labels);
        match images / self.batch_size {
            0 => Err(Error::key(
                "train.batch_size",
                format_args!(
                    "is {}, more than an epoch's {images} images",
                    self.batch_size
                ),
            )
            .hint("an epoch needs one full batch, for example with `--set train.batch_size=8`")),
            steps => Ok(steps),
        }
    }
}

/// Scores the model on held-out data: mAP in [0, 1], `None` where it is undefined.
pub type Validate<'a> = dyn Fn(&Model) -> Result<Option<f64>> + 'a;

/// Everything a training is made of.
pub struct Training<'a> {
    /// The network; its parameters are updated in place.
    pub model: &'a Model,
    /// The loss.
    pub loss: Arc<dyn Loss>,
    /// Training labels, for the sampler.
    pub labels: &'a LabelTable,
    /// Training images.
    pub loader: &'a Loader,
    /// The order of the images.
    pub sampler: &'a SamplerConfig,
    /// Optimiser settings.
    pub optimizer: &'a SgdConfig,
    /// Learning rate by step.
    pub schedule: &'a Schedule,
    /// Length.
    pub config: &'a TrainConfig,
    /// Root of all random streams.
    pub seed: u64,
    /// Hash of the configuration, kept in the checkpoint.
    pub config_hash: String,
    /// mAP on held-out data after each epoch, in [0, 1].
    pub validate: Option<&'a Validate<'a>>,
    /// Name on the progress bar.
    pub label: String,
}

/// What a training holds beside the model while it runs.
struct Session<'a> {
    run: &'a RunDir,
    optimizer: Sgd,
    recorder: Recorder,
    progress: Progress,
    health: Health,
    steps_per_epoch: usize,
    /// Seconds that it ran in earlier processes, and when it began in this one.
    before: f64,
    start: Instant,
}

impl Training<'_> {
    /// Trains to the end, from the last checkpoint if `resume` is set and there is one. The final
    /// checkpoint holds the model alone.
    /// `position` tells how far it got, also when the training ends with an error. Gives back what
    /// was found amiss with the training on the way, in a sentence each; it has been logged.
    pub fn fit(&self, run: &RunDir, resume: bool, position: &mut Position) -> Result<Vec<String>> {
        let mut session = self.open(run, resume, position)?;
        while position.epoch < self.config.epochs {
            self.epoch(&mut session, position)?;
        }
        self.save(run, Checkpoint::Last, None, position)?;
        Ok(session.health.findings().to_vec())
    }

    /// Sets `position` to where the training begins, and gets ready to go on from there.
    fn open<'r>(
        &self,
        run: &'r RunDir,
        resume: bool,
        position: &mut Position,
    ) -> Result<Session<'r>> {
        let mut optimizer = Sgd::new(self.optimizer.clone());
        *position = self.start(run, resume, &mut optimizer)?;
        let steps_per_epoch = self.steps_per_epoch()?;
        let (steps, epochs) = (position.step, position.epoch);
        let recorder = Recorder::open(run, steps, epochs)?;
        let events = match self.config.tensorboard {
            true => Some(EventWriter::open(run, steps, epochs, steps_per_epoch)?),
            false => None,
        };
        let total = steps_per_epoch * self.config.epochs;
        let mut progress = Progress::new(self.label.clone(), total as u64);
        progress.skip(position.step as u64);
        Ok(Session {
            run,
            optimizer,
            recorder: recorder.with_events(events),
            progress,
            health: Health::default(),
            steps_per_epoch,
            before: position.train_seconds,
            start: Instant::now(),
        })
    }

    /// What is left of an epoch, its end included.
    fn epoch(&self, session: &mut Session, position: &mut Position) -> Result<()> {
        let (epoch, steps_per_epoch) = (position.epoch, session.steps_per_epoch);
        let (epoch_start, first) = (Instant::now(), position.step_in_epoch);
        let order = self
            .sampler
            .epoch_indices(self.labels, self.seed, epoch as u64)?;
        let augment = Some((self.seed, epoch as u64));
        let batches = self
            .loader
            .epoch(&order, augment, first)
            .take(steps_per_epoch - first);
        for batch in batches {
            let rate = self.schedule.learning_rate(
                self.optimizer.learning_rate,
                position.step,
                steps_per_epoch,
                self.config.epochs,
            );
            let (optimizer, health) = (&mut session.optimizer, &mut session.health);
            let record = self.step(optimizer, batch?, position, rate, health)?;
            session.recorder.step(&record)?;
            position.step += 1;
            position.step_in_epoch += 1;
            position.loss_sum += record.loss;
            position.train_seconds = session.before + session.start.elapsed().as_secs_f64();

            let done = position.step_in_epoch - first;
            let speed =
                (done * self.config.batch_size) as f64 / epoch_start.elapsed().as_secs_f64();
            let mean = position.loss_sum / position.step_in_epoch as f64;
            session.progress.message(format!(
                "epoch {} of {} loss {mean:.4} {speed:.1} img/s",
                epoch + 1,
                self.config.epochs
            ));
            session.progress.advance(1);
            self.save_if_due(session, position)?;
        }
        if position.step_in_epoch < steps_per_epoch {
            return Err(Error::key(
                "train",
                format_args!(
                    "epoch {} gave {} full batches, expected {steps_per_epoch}",
                    epoch + 1,
                    position.step_in_epoch
                ),
            )
            .hint("too many pictures were skipped as bad"));
        }
        let seconds = epoch_start.elapsed().as_secs_f64();
        let images = ((steps_per_epoch - first) * self.config.batch_size) as f64;
        let (run, recorder) = (session.run, &mut session.recorder);
        let loss = self.end_epoch(run, position, recorder, seconds, images)?;
        if position.epoch == self.config.epochs {
            self.hold_against_chance(loss, &order, &mut session.health)
        } else {
            self.save(run, Checkpoint::Last, Some(&session.optimizer), position)
        }
    }

    /// A checkpoint after a step, if it is time for one or somebody asked the run to stop, which is
    /// then an error.
    fn save_if_due(&self, session: &mut Session, position: &mut Position) -> Result<()> {
        let stop = interrupt::requested();
        if stop || position.step.is_multiple_of(self.config.checkpoint_steps) {
            // The rows first: a checkpoint must never know of steps that they lack.
            session.recorder.sync()?;
            let optimizer = Some(&session.optimizer);
            self.save(session.run, Checkpoint::Last, optimizer, position)?;
        }
        if stop {
            let total = session.steps_per_epoch * self.config.epochs;
            let saved = format!("saved at step {} of {total}", position.step);
            return Err(Error::Interrupted(saved));
        }
        Ok(())
    }

    /// Full batches in an epoch, at least one.
    pub fn steps_per_epoch(&self) -> Result<usize> {
        self.config.steps_per_epoch(self.sampler, self.labels)
    }

    /// One step: forward, loss, backward, clip, update.
    fn step(
        &self,
        optimizer: &mut Sgd,
        mut batch: Batch,
        position: &Position,
        learning_rate: f64,
        health: &mut Health,
    ) -> Result<StepRecord> {
        let model = self.model;
        let images = pictures(&mut batch, model.device())?;
        let mut dropout = Stream::new(self.seed, "dropout", 0, position.step as u64);
        let (logits, trace) = model.forward_train(&images, &mut dropout)?;
        let loss = loss::apply(&self.loss, &logits, &batch.targets, position.epoch)?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        let found = loss.backward()?;
        let features = trace.features().clone();
        let gradients = model.gradients(trace, &found)?;
        // In the order of the parameters, so that the sum is the same in every run.
        let trainable = || {
            model.parameters.trainable().filter_map(|entry| {
                let gradient: &Tensor = gradients.get(entry)?;
                Some((entry, gradient))
            })
        };
        let norm = gradient_norm(trainable().map(|(_, gradient)| gradient))?;
        if !value.is_finite() || !norm.is_finite() {
            return Err(diverged(position, learning_rate, value, norm));
        }
        if (position.step + 1).is_multiple_of(health::INTERVAL) {
            let backbone = || trainable().filter(|(entry, _)| entry.name.starts_with("backbone."));
            let backbone_norm = match backbone().next() {
                Some(_) => Some(gradient_norm(backbone().map(|(_, gradient)| gradient))?),
                None => None,
            };
            if let Some(said) = health.look(position.step, &features, backbone_norm, norm)? {
                tracing::warn!("{}: {said}", self.label);
            }
        }
        let factor = match self.optimizer.max_gradient_norm {
            0.0 => 1.0,
            max_norm => clip_factor(norm, max_norm),
        };
        for (entry, gradient) in trainable() {
            optimizer.update(&entry.name, &entry.var, gradient, learning_rate, factor)?;
            entry.changed();
        }
        Ok(StepRecord {
            step: position.step,
            epoch: position.epoch,
            learning_rate,
            loss: value,
            gradient_norm: norm,
        })
    }

    fn start(&self, run: &RunDir, resume: bool, optimizer: &mut Sgd) -> Result<Position> {
        let fresh = Position {
            config_hash: self.config_hash.clone(),
            ..Position::default()
        };
        let path = run.checkpoint(Checkpoint::Last);
        if !resume || !path.is_file() {
            return Ok(fresh);
        }
        let model = self.model;
        let position = checkpoint::load(&path, &model.parameters, optimizer, model.device())?;
        if position.config_hash != self.config_hash {
            return Err(
                Error::file(&path, "was written under another configuration").hint(
                    "resume with the run's own `config.toml`, or start anew in another folder",
                ),
            );
        }
        tracing::info!("resuming at step {}", position.step);
        Ok(position)
    }

    fn end_epoch(
        &self,
        run: &RunDir,
        position: &mut Position,
        recorder: &mut Recorder,
        seconds: f64,
        images: f64,
    ) -> Result<f64> {
        let validation_map = match self.validate {
            Some(validate) => validate(self.model)?,
            None => None,
        };
        let record = EpochRecord {
            epoch: position.epoch,
            loss: position.loss_sum / position.step_in_epoch as f64,
            validation_map,
            seconds,
            // An epoch that was resumed after its last step saw no image in this process.
            images_per_second: (images > 0.0).then(|| images / seconds),
        };
        recorder.epoch(&record, position.step.saturating_sub(1))?;
        tracing::debug!("{}: {record:?}", self.label);
        position.epoch += 1;
        position.step_in_epoch = 0;
        position.loss_sum = 0.0;
        if validation_map.is_some_and(|score| position.best.is_none_or(|best| score > best)) {
            position.best = validation_map;
            self.save(run, Checkpoint::Best, None, position)?;
        }
        Ok(record.loss)
    }

    /// Says so if the last epoch's mean `loss` is what a network would have that does not look at
    /// the pictures. `order` are the images of that epoch.
    fn hold_against_chance(&self, loss: f64, order: &[u32], health: &mut Health) -> Result<()> {
        let classes = self.labels.num_classes();
        let batch_size = self.config.batch_size;
        let order = &order[..order.len().min(CHANCE_IMAGES.max(batch_size))];
        let mut targets = vec![0.0; order.len() * classes];
        for (row, &image) in targets.chunks_mut(classes).zip(order) {
            self.labels.fill_targets(image as usize, row);
        }
        let epoch = self.config.epochs - 1;
        let chance = chance_loss(self.loss.as_ref(), &targets, classes, batch_size, epoch)?;
        if let Some(said) = health.end(loss, chance) {
            tracing::warn!("{}: {said}", self.label);
        }
        Ok(())
    }

    fn save(
        &self,
        run: &RunDir,
        which: Checkpoint,
        optimizer: Option<&Sgd>,
        position: &Position,
    ) -> Result<()> {
        let parameters = &self.model.parameters;
        checkpoint::save(&run.checkpoint(which), parameters, optimizer, position)
    }
}

fn diverged(position: &Position, learning_rate: f64, loss: f64, norm: f64) -> Error {
    Error::diverged(format_args!(
        "step {}, epoch {}: the training diverged: loss {loss}, gradient norm {norm}, learning rate {learning_rate}",
        position.step,
        position.epoch + 1,
    ))
    .hint(
        "lower `optimizer.learning_rate`, lengthen `schedule.warmup_iterations`, or tighten \
         `optimizer.max_gradient_norm`; the last checkpoint is from before",
    )
}

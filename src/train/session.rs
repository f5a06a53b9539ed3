//! A training in progress: its files, its progress, and what happens between the steps.

use std::time::Instant;

use super::checkpoint::{self, Contents, Position};
use super::health::Health;
use super::record::{EpochRecord, EpochTime, StepRecord};
use super::recorder::Recorder;
use super::step::State;
use super::tensorboard::EventWriter;
use super::training::{Outcome, Training};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::loss::{chance_loss, smooth};
use crate::progress::Progress;
use crate::run_dir::{Checkpoint, RunDir};

/// Number of images of an epoch whose labels are used to estimate the chance loss.
const CHANCE_IMAGES: usize = 1024;

/// The state of a running training beside the model.
pub struct Session<'a> {
    training: &'a Training<'a>,
    run: &'a RunDir,
    state: State,
    recorder: Recorder,
    progress: Progress,
    health: Health,
    steps_per_epoch: usize,
}

impl<'a> Session<'a> {
    /// Sets `position` to where the training begins or resumes, and prepares to continue from
    /// there.
    pub fn open(
        training: &'a Training<'a>,
        run: &'a RunDir,
        resume: bool,
        position: &mut Position,
    ) -> Result<Self> {
        let (model, config) = (training.model, training.config);
        let mut state = State::new(model, training.optimizer, config.ema_decay)?;
        *position = begin(training, run, resume, &mut state)?;
        let steps_per_epoch = training.steps_per_epoch()?;
        let (steps, epochs) = (position.step, position.epoch);
        let recorder = Recorder::open(run, steps, epochs)?;
        let events = match config.tensorboard {
            true => Some(EventWriter::open(run, steps, epochs, steps_per_epoch)?),
            false => None,
        };
        let total = steps_per_epoch * config.epochs;
        let mut progress = Progress::new(training.label.clone(), total as u64);
        progress.skip(position.step as u64);
        Ok(Session {
            training,
            run,
            state,
            recorder: recorder.with_events(events),
            progress,
            health: Health::default(),
            steps_per_epoch,
        })
    }

    /// Returns the number of steps in an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.steps_per_epoch
    }

    /// Returns the parts that a step changes.
    pub fn working(&mut self) -> (&mut State, &mut Health) {
        (&mut self.state, &mut self.health)
    }

    /// Records a finished step, where step `first` of the epoch was the first in this process and
    /// began at `start`. Saves if a checkpoint is due or a signal asked for it; if a signal asked
    /// the run to stop, that is returned as an error.
    pub fn step(
        &mut self,
        record: &StepRecord,
        position: &mut Position,
        first: usize,
        start: Instant,
    ) -> Result<()> {
        let config = self.training.config;
        self.recorder.step(record)?;
        position.step += 1;
        position.step_in_epoch += 1;
        position.loss_sum += record.loss;

        let done = (position.step_in_epoch - first) * config.step_images();
        let speed = done as f64 / start.elapsed().as_secs_f64();
        let mean = position.loss_sum / position.step_in_epoch as f64;
        self.progress.message(format!(
            "epoch {} of {} loss {mean:.4} {speed:.1} img/s",
            position.epoch + 1,
            config.epochs
        ));
        self.progress.advance(1);

        let stop = interrupt::requested();
        // Queried at every step: any checkpoint answers a request that came before it.
        let asked = interrupt::saving_requested();
        if stop || asked || position.step.is_multiple_of(config.checkpoint_steps) {
            // The rows first: a checkpoint must never refer to steps that they lack.
            self.recorder.sync()?;
            self.save(Checkpoint::Last, true, position)?;
        }
        if asked {
            tracing::info!("saved at step {}, as requested by SIGUSR1", position.step);
        }
        if stop {
            let total = self.steps_per_epoch * config.epochs;
            let saved = format!("saved at step {} of {total}", position.step);
            return Err(Error::Interrupted(saved));
        }
        Ok(())
    }

    /// Ends an epoch over the images `order`, of which this process did the steps from `first` on
    /// in `seconds`: scores, a row, checkpoints.
    pub fn end_epoch(
        &mut self,
        position: &mut Position,
        order: &[u32],
        first: usize,
        seconds: f64,
    ) -> Result<()> {
        let images = ((position.step_in_epoch - first) * self.training.config.step_images()) as f64;
        let (validation_map, ema_validation_map) = self.validate()?;
        let record = EpochRecord {
            epoch: position.epoch,
            loss: position.loss_sum / position.step_in_epoch as f64,
            validation_map,
            ema_validation_map,
        };
        let time = EpochTime {
            epoch: position.epoch,
            seconds,
            // If an epoch was resumed after its last step, this process saw none of its images.
            images_per_second: (images > 0.0).then(|| images / seconds),
        };
        self.recorder
            .epoch(&record, &time, position.step.saturating_sub(1))?;
        tracing::debug!("{}: {record:?}", self.training.label);
        position.epoch += 1;
        position.step_in_epoch = 0;
        position.loss_sum = 0.0;
        if let Some(score) = record.score() {
            position.epochs_without_gain += 1;
            if position.best.is_none_or(|best| score > best) {
                position.best = Some(score);
                position.epochs_without_gain = 0;
                if self.training.config.keep_best {
                    self.save(Checkpoint::Best, false, position)?;
                }
            }
        }
        let over = self.training.is_over(position);
        let every = self.training.config.keep_every;
        if every > 0 && position.epoch.is_multiple_of(every) {
            self.save(Checkpoint::Epoch(position.epoch), !over, position)?;
        }
        match over {
            true => self.hold_against_chance(record.loss, position, order),
            false => self.save(Checkpoint::Last, true, position),
        }
    }

    /// Ends the training.
    pub fn finish(self, position: &Position) -> Result<Outcome> {
        self.save(Checkpoint::Last, false, position)?;
        let early = position.epoch < self.training.config.epochs;
        if early {
            tracing::info!(
                "{}: ended after epoch {}: no gain on the validation part for {} epochs \
                 (`train.early_stopping`)",
                self.training.label,
                position.epoch,
                position.epochs_without_gain,
            );
        }
        Ok(Outcome {
            findings: self.health.findings().to_vec(),
            early,
        })
    }

    /// Computes mAP on the validation part for the weights, and for their average if one is kept.
    fn validate(&mut self) -> Result<(Option<f64>, Option<f64>)> {
        let (Some(validate), model) = (self.training.validate, self.training.model) else {
            return Ok((None, None));
        };
        let plain = validate(model)?;
        let Some(average) = &mut self.state.average else {
            return Ok((plain, None));
        };
        average.exchange(&model.parameters)?;
        let averaged = validate(model);
        average.exchange(&model.parameters)?;
        Ok((plain, averaged?))
    }

    /// Warns if the last epoch's mean `loss` is that of a network which ignores the pictures.
    /// `order` holds the images of that epoch.
    fn hold_against_chance(&self, loss: f64, position: &Position, order: &[u32]) -> Result<()> {
        let training = self.training;
        let classes = training.labels.num_classes();
        let batch_size = training.config.batch_size;
        let order = &order[..order.len().min(CHANCE_IMAGES.max(batch_size))];
        let images = order.iter().map(|&image| image as usize);
        let mut targets = training.labels.targets_of(images);
        smooth(&mut targets, training.config.label_smoothing);
        let epoch = position.epoch.saturating_sub(1);
        let last = training.losses.at(position.step.saturating_sub(1));
        let chance = chance_loss(last.as_ref(), &targets, classes, batch_size, epoch)?;
        if let Some(said) = Health::end(loss, chance) {
            tracing::warn!("{}: {said}", training.label);
        }
        Ok(())
    }

    /// Writes a checkpoint; with the optimiser's state if the training may resume from it.
    fn save(&self, which: Checkpoint, goes_on: bool, position: &Position) -> Result<()> {
        let contents = Contents {
            parameters: &self.training.model.parameters,
            optimizer: goes_on.then_some(&self.state.optimizer),
            average: self.state.average.as_ref(),
        };
        checkpoint::save(&self.run.checkpoint(which), &contents, position)?;
        match self.training.saved {
            Some(saved) if which == Checkpoint::Last => saved(position),
            _ => Ok(()),
        }
    }
}

/// Returns where the training begins: at its start, or at its last checkpoint.
fn begin(training: &Training, run: &RunDir, resume: bool, state: &mut State) -> Result<Position> {
    let fresh = Position {
        config_hash: training.config_hash.clone(),
        ..Position::default()
    };
    let path = run.checkpoint(Checkpoint::Last);
    if !resume || !path.is_file() {
        return Ok(fresh);
    }
    let model = training.model;
    let saved = checkpoint::Saved::read(&path, model.device())?;
    let position = saved.position.clone();
    if position.config_hash != training.config_hash {
        return Err(
            Error::file(&path, "was written under another configuration")
                .hint("resume with the run's own `config.toml`, or start again in another folder"),
        );
    }
    saved.plain(&model.parameters)?;
    if !training.is_over(&position) {
        saved.optimizer(&mut state.optimizer)?;
    }
    if let Some(average) = &mut state.average {
        saved.average(average, &model.parameters)?;
    }
    tracing::info!("resuming at step {}", position.step);
    Ok(position)
}

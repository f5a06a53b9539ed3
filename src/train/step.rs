//! One step of a training: forward, loss, backward, gradient norm, clipping, update. Does not touch
//! files.

use std::sync::Arc;

use candle_core::Tensor;

use super::health::{self, Health};
use super::record::StepRecord;
use crate::data::loader::Batch;
use crate::error::{Error, Result};
use crate::loss::{self, Loss};
use crate::model::{Gradients, Model};
use crate::optim::clip::clip_factor;
use crate::optim::{Average, Optimizer, OptimizerConfig, gradient_norm};
use crate::predict;
use crate::rng::Stream;

/// The losses of all steps.
#[derive(Clone)]
pub struct Losses {
    /// The loss.
    pub loss: Arc<dyn Loss>,
    /// The same loss without its class weights, used for the steps before the given one.
    pub before: Option<(Arc<dyn Loss>, usize)>,
}

impl Losses {
    /// Returns the loss of `step`, counted from 0.
    pub fn at(&self, step: usize) -> &Arc<dyn Loss> {
        match &self.before {
            Some((loss, from)) if step < *from => loss,
            _ => &self.loss,
        }
    }
}

/// What changes from step to step, beside the network.
#[derive(Debug)]
pub struct State {
    /// The optimiser and its state.
    pub optimizer: Optimizer,
    /// The moving average of the weights, if one is kept.
    pub average: Option<Average>,
}

impl State {
    /// Returns the state at the beginning of a training of `model`.
    pub fn new(model: &Model, optimizer: &OptimizerConfig, ema_decay: f64) -> Result<Self> {
        let average = || Average::new(ema_decay, &model.parameters);
        Ok(State {
            optimizer: Optimizer::new(optimizer, &model.parameters)?,
            average: (ema_decay > 0.0).then(average).transpose()?,
        })
    }
}

/// The position and learning rate of a step.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Step over the whole training, from 0.
    pub step: usize,
    /// Epoch, from 0.
    pub epoch: usize,
    /// The schedule's learning rate.
    pub learning_rate: f64,
}

/// What all steps of a training share.
pub struct Stepper<'a> {
    /// The network; its parameters are updated in place.
    pub model: &'a Model,
    /// The losses of all steps.
    pub losses: &'a Losses,
    /// Largest global norm of the gradients; 0 means no limit.
    pub max_gradient_norm: f64,
    /// See [`TrainConfig::label_smoothing`](super::config::TrainConfig::label_smoothing).
    pub label_smoothing: f64,
    /// Root of the random streams.
    pub seed: u64,
    /// Name of the training in the log.
    pub label: &'a str,
}

/// The summed gradients of a step's batches, with what else was computed.
struct Found {
    sum: Gradients,
    /// Mean loss.
    loss: f64,
    /// Pooled features of the last batch, at a step that is checked.
    features: Option<Tensor>,
}

impl Stepper<'_> {
    /// Takes one step over `batches`, at least one, whose gradients are averaged.
    ///
    /// # Errors
    /// Fails if the training diverged: the loss or the gradient is not finite.
    pub fn take(
        &self,
        state: &mut State,
        batches: Vec<Batch>,
        at: Moment,
        health: &mut Health,
    ) -> Result<StepRecord> {
        let count = batches.len() as f64;
        let found = self.gradients(batches, &at)?;
        let parameters = &self.model.parameters;
        // In the order of the parameters, so that the sum is the same in every run.
        let learning = |part: &'static str| {
            let optimizer = &state.optimizer;
            (parameters.iter())
                .filter(move |entry| optimizer.moves(entry) && entry.name.starts_with(part))
                .filter_map(|entry| found.sum.get(entry))
        };
        let norm = gradient_norm(learning(""))? / count;
        if !found.loss.is_finite() || !norm.is_finite() {
            return Err(diverged(&at, found.loss, norm));
        }
        if let Some(features) = &found.features {
            let backbone_norm = match learning("backbone.").next() {
                Some(_) => Some(gradient_norm(learning("backbone."))? / count),
                None => None,
            };
            if let Some(said) = health.look(at.step, features, backbone_norm, norm)? {
                tracing::warn!("{}: {said}", self.label);
            }
        }
        let factor = match self.max_gradient_norm {
            0.0 => 1.0,
            max_norm => clip_factor(norm, max_norm),
        };
        (state.optimizer).step(parameters, &found.sum, at.learning_rate, factor / count)?;
        if let Some(average) = &mut state.average {
            average.update(parameters)?;
        }
        Ok(StepRecord {
            step: at.step,
            epoch: at.epoch,
            learning_rate: at.learning_rate,
            loss: found.loss,
            gradient_norm: norm,
        })
    }

    /// Sums the gradients of all `batches`.
    fn gradients(&self, batches: Vec<Batch>, at: &Moment) -> Result<Found> {
        let count = batches.len();
        let mut total: Option<Found> = None;
        for (number, batch) in batches.into_iter().enumerate() {
            let draw = (at.step * count + number) as u64;
            let next = self.of_batch(batch, at, draw)?;
            total = Some(match total {
                None => next,
                Some(mut total) => {
                    for entry in self.model.parameters.trainable() {
                        if let Some(gradient) = next.sum.tensor(entry)? {
                            let sum = match total.sum.tensor(entry)? {
                                Some(before) => (before + gradient)?,
                                None => gradient,
                            };
                            total.sum.set(entry, sum);
                        }
                    }
                    total.loss += next.loss;
                    total.features = next.features;
                    total
                }
            });
        }
        let mut total = total.ok_or_else(|| Error::input("train", "a step without a batch"))?;
        total.loss /= count as f64;
        Ok(total)
    }

    /// Computes the gradients of one batch; `draw` counts batches over the whole training.
    fn of_batch(&self, mut batch: Batch, at: &Moment, draw: u64) -> Result<Found> {
        let model = self.model;
        let input = predict::input(&mut batch, model.device())?;
        loss::smooth(&mut batch.targets, self.label_smoothing);
        let mut dropout = Stream::new(self.seed, "dropout", 0, draw);
        let (logits, trace) = model.forward_train(&input, &mut dropout)?;
        model.observe(&trace, &batch.targets)?;
        let loss = loss::apply(self.losses.at(at.step), &logits, &batch.targets, at.epoch)?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        let looked_at = health::is_due(at.step);
        let features = looked_at.then(|| trace.features()).transpose()?;
        let gradients = model.gradients(trace, &loss.backward()?)?;
        Ok(Found {
            sum: gradients,
            loss: value,
            features,
        })
    }
}

fn diverged(at: &Moment, loss: f64, norm: f64) -> Error {
    Error::diverged(format_args!(
        "step {}, epoch {}: the training diverged: loss {loss}, gradient norm {norm}, learning rate {}",
        at.step,
        at.epoch + 1,
        at.learning_rate,
    ))
    .hint(
        "lower `optimizer.learning_rate`, lengthen `schedule.warmup_iterations`, or tighten \
         `optimizer.max_gradient_norm`; the last checkpoint is from before",
    )
}

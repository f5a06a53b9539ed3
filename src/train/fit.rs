//! The training loop.

use std::time::Instant;

use super::checkpoint::Position;
use super::session::Session;
use super::training::{Outcome, Training};
use crate::data::loader::Batch;
use crate::error::{Error, Result};
use crate::run_dir::RunDir;

impl Training<'_> {
    /// Trains to the end, from the last checkpoint if `resume` is set and there is one. The final
    /// checkpoint contains only the model, and the average of its weights if one is kept.
    /// `position` is updated as the training advances, also if it ends with an error.
    pub fn fit(&self, run: &RunDir, resume: bool, position: &mut Position) -> Result<Outcome> {
        let mut session = Session::open(self, run, resume, position)?;
        while !self.is_over(position) {
            self.epoch(&mut session, position)?;
        }
        session.finish(position)
    }

    /// Runs the rest of an epoch, including its end.
    fn epoch(&self, session: &mut Session, position: &mut Position) -> Result<()> {
        let (start, first) = (Instant::now(), position.step_in_epoch);
        let (steps, epoch) = (session.steps_per_epoch(), position.epoch as u64);
        let order = (self.sampler).epoch_indices(self.labels, self.seed, epoch)?;
        let count = self.config.accumulation_steps;
        let mut batches = (self.inputs).training(&order, (self.seed, epoch), first * count);
        let stepper = self.stepper();
        while position.step_in_epoch < steps {
            let taken: Vec<Batch> = batches.by_ref().take(count).collect::<Result<_>>()?;
            if taken.len() < count {
                return Err(self.ended(position, steps));
            }
            let moment = self.moment(position, steps);
            let (state, health) = session.working();
            // Runs on a pool thread, where an operation can start without waking another thread.
            let record = rayon::scope(|_| stepper.take(state, taken, moment, health))?;
            session.step(&record, position, first, start)?;
        }
        session.end_epoch(position, &order, first, start.elapsed().as_secs_f64())
    }

    /// Returns the error for an epoch that ended too early.
    fn ended(&self, position: &Position, steps: usize) -> Error {
        let found = format!(
            "epoch {} gave {} full batches, expected {}",
            position.epoch + 1,
            position.step_in_epoch * self.config.accumulation_steps,
            steps * self.config.accumulation_steps,
        );
        Error::key("train", found).hint("too many pictures were skipped as bad")
    }
}

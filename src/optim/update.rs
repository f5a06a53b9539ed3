//! What every optimiser can do.

use std::fmt::Debug;

use candle_core::Tensor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{KeyPath, Result};
use crate::ops::cuda::step::Rule;

/// One update of one parameter, beside its values.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Updates done, this one included: 1 in the first.
    pub count: u64,
    /// Learning rate of this parameter.
    pub rate: f64,
    /// Factor on the weight decay: 0 for a parameter that is spared it, else 1.
    pub decay: f64,
    /// Factor on the gradient, from clipping.
    pub factor: f64,
}

/// An optimiser: its settings, which are the keys of `[optimizer]` that are its own, and how it
/// moves one parameter.
///
/// The slots are the tensors that it keeps for each parameter, of the parameter's shape and 0 in
/// the beginning. They lie in checkpoints under their names.
pub trait Update:
    Debug + Clone + PartialEq + Default + Serialize + DeserializeOwned + Send + Sync
{
    /// Its `kind` in TOML.
    const NAME: &'static str;
    /// The full learning rate where none is given.
    const LEARNING_RATE: f64;
    /// Names of the slots.
    const SLOTS: &'static [&'static str];

    /// Checks the ranges; `at` is the key of the table.
    fn check(&self, at: &KeyPath) -> Result<()>;

    /// Moves scalars of a parameter and of its slots by their gradient, all of one length. Each
    /// scalar for itself: the values come in pieces of any length.
    fn scalars(
        &self,
        step: &Step,
        parameter: &mut [f32],
        slots: &mut [&mut [f32]],
        gradient: &[f32],
    );

    /// The kernel of the GPU that does the same, in update number `count`; without one, operations of
    /// candle do.
    fn rule(&self, count: u64) -> Option<Rule> {
        let _ = count;
        None
    }

    /// The same in operations of candle, for other devices than the CPU: the new slots and what is
    /// to be taken off the parameter.
    fn tensors(
        &self,
        step: &Step,
        parameter: &Tensor,
        slots: &[&Tensor],
        gradient: &Tensor,
    ) -> Result<(Vec<Tensor>, Tensor)>;
}

//! The interface of all optimisers.

use std::fmt::Debug;

use candle_core::Tensor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{KeyPath, Result};
use crate::ops::cuda::step::Rule;

/// The settings of one update of one parameter, apart from its values.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// The number of updates, including this one: 1 in the first.
    pub count: u64,
    /// The learning rate of this parameter.
    pub rate: f64,
    /// The factor on the weight decay: 0 for a parameter exempt from it, otherwise 1.
    pub decay: f64,
    /// The factor on the gradient, from clipping.
    pub factor: f64,
}

/// An optimiser: its settings, which are its own keys of `[optimizer]`, and the way it updates one
/// parameter.
///
/// The slots are the tensors that it keeps for each parameter, with the parameter's shape and
/// initially 0. They are stored in checkpoints under their names.
pub trait Update:
    Debug + Clone + PartialEq + Default + Serialize + DeserializeOwned + Send + Sync
{
    /// Its `kind` in TOML.
    const NAME: &'static str;
    /// The default learning rate.
    const LEARNING_RATE: f64;
    /// The names of the slots.
    const SLOTS: &'static [&'static str];

    /// Checks the ranges; `at` is the key of the table.
    fn check(&self, at: &KeyPath) -> Result<()>;

    /// Updates scalars of a parameter and of its slots from their gradient; all slices have the
    /// same length. Every scalar is independent of the others, since the values come in pieces of
    /// any length.
    fn scalars(
        &self,
        step: &Step,
        parameter: &mut [f32],
        slots: &mut [&mut [f32]],
        gradient: &[f32],
    );

    /// Returns the GPU kernel that does the same in update number `count`; if there is none,
    /// candle's operations are used.
    fn rule(&self, count: u64) -> Option<Rule> {
        let _ = count;
        None
    }

    /// The same in candle's operations, for devices other than the CPU: returns the new slots and
    /// the amount to subtract from the parameter.
    fn tensors(
        &self,
        step: &Step,
        parameter: &Tensor,
        slots: &[&Tensor],
        gradient: &Tensor,
    ) -> Result<(Vec<Tensor>, Tensor)>;
}

//! Stochastic gradient descent with momentum and weight decay, in PyTorch's convention.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::update::{Step, Update};
use crate::error::{KeyPath, Result};
use crate::ops::cuda::step::Rule;
use crate::range::Range;

/// SGD. The defaults are the published recipe.
///
/// With g = the gradient + weight_decay p the velocity v becomes momentum v + g, and the parameter
/// p falls by the learning rate times v, or times g + momentum v under Nesterov's form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sgd {
    /// Momentum, 0.9; in [0, 1).
    pub momentum: f64,
    /// Weight decay, 1e-4, added to the gradient.
    pub weight_decay: f64,
    /// Nesterov's form: the step looks ahead along the velocity.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub nesterov: bool,
}

impl Default for Sgd {
    fn default() -> Self {
        Sgd {
            momentum: 0.9,
            weight_decay: 1e-4,
            nesterov: false,
        }
    }
}

impl Update for Sgd {
    const NAME: &'static str = "sgd";
    const LEARNING_RATE: f64 = 0.02;
    // PyTorch starts the velocity with the first gradient, which is the same as starting from zero.
    const SLOTS: &'static [&'static str] = &["velocity"];

    fn check(&self, at: &KeyPath) -> Result<()> {
        Range::Below(0.0, 1.0).check(&at.join("momentum"), self.momentum)?;
        Range::NotNegative.check(&at.join("weight_decay"), self.weight_decay)
    }

    fn scalars(
        &self,
        step: &Step,
        parameter: &mut [f32],
        slots: &mut [&mut [f32]],
        gradient: &[f32],
    ) {
        let [velocity] = slots else { return };
        let (momentum, rate, factor) =
            (self.momentum as f32, step.rate as f32, step.factor as f32);
        let decay = (self.weight_decay * step.decay) as f32;
        let values = parameter.iter_mut().zip(velocity.iter_mut()).zip(gradient);
        if self.nesterov {
            for ((p, v), g) in values {
                let g = factor * g + decay * *p;
                *v = momentum * *v + g;
                *p -= rate * (g + momentum * *v);
            }
        } else {
            for ((p, v), g) in values {
                *v = momentum * *v + factor * g + decay * *p;
                *p -= rate * *v;
            }
        }
    }

    fn rule(&self, _: u64) -> Option<Rule> {
        Some(Rule::Sgd {
            momentum: self.momentum,
            weight_decay: self.weight_decay,
            nesterov: self.nesterov,
        })
    }

    fn tensors(
        &self,
        step: &Step,
        parameter: &Tensor,
        slots: &[&Tensor],
        gradient: &Tensor,
    ) -> Result<(Vec<Tensor>, Tensor)> {
        let decay = (parameter * (self.weight_decay * step.decay))?;
        let total = ((gradient * step.factor)? + decay)?;
        let velocity = ((slots[0] * self.momentum)? + &total)?;
        let fall = match self.nesterov {
            true => ((total + (&velocity * self.momentum)?)? * step.rate)?,
            false => (&velocity * step.rate)?,
        };
        Ok((vec![velocity], fall))
    }
}

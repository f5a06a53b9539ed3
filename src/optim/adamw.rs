//! Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019), in PyTorch's convention.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::update::{Step, Update};
use crate::error::{KeyPath, Result};
use crate::ops::cuda::step::Rule;
use crate::range::Range;

/// AdamW.
///
/// The first moment m becomes beta_1 m + (1 - beta_1) g, the second v becomes
/// beta_2 v + (1 - beta_2) g^2. After t updates the parameter p falls by the learning rate times
/// weight_decay p + m' / (sqrt(v') + epsilon), m' = m / (1 - beta_1^t), v' = v / (1 - beta_2^t).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamW {
    /// Decay rates of the first and the second moment, [0.9, 0.999]; in [0, 1).
    pub betas: [f64; 2],
    /// Added to the root of the second moment, 1e-8.
    pub epsilon: f64,
    /// Weight decay, 0.01, beside the gradient and not part of it.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        AdamW {
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            weight_decay: 0.01,
        }
    }
}

impl AdamW {
    /// Returns the learning rate divided by the bias correction of the first moment, and the square
    /// root of that of the second. The corrections compensate for moments that start at zero.
    fn corrections(&self, step: &Step) -> (f64, f64) {
        let correction = |beta: f64| 1.0 - beta.powf(step.count as f64);
        let [first, second] = self.betas.map(correction);
        (step.rate / first, second.sqrt())
    }
}

impl Update for AdamW {
    const NAME: &'static str = "adamw";
    const LEARNING_RATE: f64 = 1e-4;
    const SLOTS: &'static [&'static str] = &["first_moment", "second_moment"];

    fn check(&self, at: &KeyPath) -> Result<()> {
        for (i, beta) in self.betas.into_iter().enumerate() {
            Range::Below(0.0, 1.0).check(&at.join("betas").item(i), beta)?;
        }
        Range::Positive.check(&at.join("epsilon"), self.epsilon)?;
        Range::NotNegative.check(&at.join("weight_decay"), self.weight_decay)
    }

    fn scalars(
        &self,
        step: &Step,
        parameter: &mut [f32],
        slots: &mut [&mut [f32]],
        gradient: &[f32],
    ) {
        let [first, second] = slots else { return };
        let (rate, root) = self.corrections(step);
        let (rate, root, epsilon) = (rate as f32, root as f32, self.epsilon as f32);
        let decay = (step.rate * self.weight_decay * step.decay) as f32;
        let [_, beta] = self.betas.map(|beta| beta as f32);
        let [new_1, new_2] = self.betas.map(|beta| (1.0 - beta) as f32);
        let factor = step.factor as f32;
        let moments = first.iter_mut().zip(second.iter_mut());
        for ((p, (m, v)), g) in parameter.iter_mut().zip(moments).zip(gradient) {
            let g = factor * g;
            *m += new_1 * (g - *m);
            *v = beta * *v + new_2 * g * g;
            // Not (1 - decay) p, which PyTorch rounds to the same side at every step.
            *p -= decay * *p + rate * *m / (v.sqrt() / root + epsilon);
        }
    }

    fn rule(&self, count: u64) -> Option<Rule> {
        Some(Rule::AdamW {
            betas: self.betas,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
            count,
        })
    }

    fn tensors(
        &self,
        step: &Step,
        parameter: &Tensor,
        slots: &[&Tensor],
        gradient: &Tensor,
    ) -> Result<(Vec<Tensor>, Tensor)> {
        let (rate, root) = self.corrections(step);
        let [beta_1, beta_2] = self.betas;
        let gradient = (gradient * step.factor)?;
        let first = ((slots[0] * beta_1)? + (&gradient * (1.0 - beta_1))?)?;
        let second = ((slots[1] * beta_2)? + (gradient.sqr()? * (1.0 - beta_2))?)?;
        let denominator = ((second.sqrt()? / root)? + self.epsilon)?;
        let decayed = (parameter * (step.rate * self.weight_decay * step.decay))?;
        let fall = ((first.div(&denominator)? * rate)? + decayed)?;
        Ok((vec![first, second], fall))
    }
}

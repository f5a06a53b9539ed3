//! Learning rate by step: linear warm-up, then steps down at the end of given epochs.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How the learning rate follows the training. The defaults are the published recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// Times `gamma` after each epoch in `milestones`.
    Step {
        /// Epochs after which the rate falls, counted from 1: `[5, 7]`.
        #[serde(default = "default_milestones")]
        milestones: Vec<usize>,
        /// Factor at each milestone, 0.1.
        #[serde(default = "default_gamma")]
        gamma: f64,
        /// Iterations of linear warm-up, 500; 0 for none.
        #[serde(default = "default_warmup")]
        warmup_iterations: usize,
        /// First rate of the warm-up as a part of the full rate, 1/3.
        #[serde(default = "default_ratio")]
        warmup_ratio: f64,
    },
    /// Half a cosine from the full rate to 0 over the whole training.
    Cosine {
        /// Iterations of linear warm-up; 0 for none.
        #[serde(default = "default_warmup")]
        warmup_iterations: usize,
        /// First rate of the warm-up as a part of the full rate, 1/3.
        #[serde(default = "default_ratio")]
        warmup_ratio: f64,
    },
    /// The full rate at every step.
    Constant {},
}

fn default_milestones() -> Vec<usize> {
    vec![5, 7]
}
fn default_gamma() -> f64 {
    0.1
}
fn default_warmup() -> usize {
    500
}
fn default_ratio() -> f64 {
    1.0 / 3.0
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule::Step {
            milestones: default_milestones(),
            gamma: default_gamma(),
            warmup_iterations: default_warmup(),
            warmup_ratio: default_ratio(),
        }
    }
}

impl Schedule {
    /// The learning rate of `step` (0-based, over the whole training) for a full rate `base`.
    ///
    /// Warm-up as published: `lr_t = lr * (1 - (1 - t / T) * (1 - ratio))` for t < T, on top of
    /// whatever the schedule gives at that step.
    pub fn learning_rate(
        &self,
        base: f64,
        step: usize,
        steps_per_epoch: usize,
        epochs: usize,
    ) -> f64 {
        let regular = match self {
            Schedule::Step {
                milestones, gamma, ..
            } => {
                let epoch = step / steps_per_epoch.max(1);
                let falls = milestones.iter().filter(|&&m| epoch >= m).count();
                base * gamma.powi(falls as i32)
            }
            Schedule::Cosine { .. } => {
                let part = step as f64 / (steps_per_epoch * epochs).max(1) as f64;
                base * 0.5 * (1.0 + (std::f64::consts::PI * part.min(1.0)).cos())
            }
            Schedule::Constant {} => base,
        };
        match self.warmup() {
            Some((iterations, ratio)) if step < iterations => {
                regular * (1.0 - (1.0 - step as f64 / iterations as f64) * (1.0 - ratio))
            }
            _ => regular,
        }
    }

    fn warmup(&self) -> Option<(usize, f64)> {
        match *self {
            Schedule::Step {
                warmup_iterations,
                warmup_ratio,
                ..
            }
            | Schedule::Cosine {
                warmup_iterations,
                warmup_ratio,
            } => Some((warmup_iterations, warmup_ratio)),
            Schedule::Constant {} => None,
        }
    }

    /// Checks the ranges.
    pub fn check(&self) -> Result<()> {
        if let Schedule::Step {
            milestones, gamma, ..
        } = self
        {
            if !(*gamma > 0.0 && *gamma <= 1.0) {
                return Err(Error::input(
                    "schedule.gamma",
                    format_args!("`{gamma}` is not in (0, 1]"),
                ));
            }
            if milestones.contains(&0) || !milestones.is_sorted() {
                return Err(Error::input(
                    "schedule.milestones",
                    "expected ascending epochs, counted from 1",
                ));
            }
        }
        if let Some((_, ratio)) = self.warmup()
            && !(0.0..=1.0).contains(&ratio)
        {
            return Err(Error::input(
                "schedule.warmup_ratio",
                format_args!("`{ratio}` is not in [0, 1]"),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schedule() {
        let schedule = Schedule::default();
        let rate = |step| schedule.learning_rate(0.02, step, 121, 8);
        // lr_t = lr * (1 - (1 - t/500) * 2/3)
        assert!((rate(0) - 0.02 / 3.0).abs() < 1e-15);
        assert!((rate(250) - 0.02 * (1.0 - 0.5 * 2.0 / 3.0)).abs() < 1e-15);
        assert_eq!(rate(500), 0.02);
        assert_eq!(rate(5 * 121 - 1), 0.02);
        assert!((rate(5 * 121) - 0.002).abs() < 1e-15);
        assert!((rate(7 * 121) - 0.0002).abs() < 1e-15);
    }

    #[test]
    fn cosine_starts_full_and_ends_at_nothing() {
        let schedule = Schedule::Cosine {
            warmup_iterations: 0,
            warmup_ratio: 1.0,
        };
        assert_eq!(schedule.learning_rate(0.1, 0, 10, 3), 0.1);
        assert!((schedule.learning_rate(0.1, 15, 10, 3) - 0.05).abs() < 1e-12);
        assert!(schedule.learning_rate(0.1, 30, 10, 3).abs() < 1e-12);
    }

    #[test]
    fn nonsense_is_refused() {
        let bad = Schedule::Step {
            milestones: vec![7, 5],
            gamma: 0.1,
            warmup_iterations: 0,
            warmup_ratio: 0.3,
        };
        assert!(bad.check().is_err());
    }
}

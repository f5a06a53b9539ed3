//! Learning rate schedules: a warm-up, and a curve over the training.

use serde::{Deserialize, Serialize};

use super::extent::{Extent, Unit};
use crate::error::{Error, KeyPath, Result};
use crate::range::Range;
use crate::wording::counted;

/// How the learning rate follows the training. The defaults are the published recipe.
///
/// A warm-up is given in steps (500), as a part of the whole training (0.1), or with its unit
/// ("2 epochs"). Its first rate is a part of the full one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// Times `gamma` at each of the `milestones`.
    Step {
        /// Epochs after which the rate falls, counted from 1: `[5, 7]`; or fractions of the whole
        /// training: `[0.6, 0.85]`. Not both kinds in one list.
        #[serde(default = "default_milestones")]
        milestones: Vec<Extent>,
        /// Factor at each milestone, 0.1.
        #[serde(default = "default_gamma")]
        gamma: f64,
        /// Length of the linear warm-up, 500 steps; 0 for none.
        #[serde(default = "default_warmup")]
        warmup_iterations: Extent,
        /// First rate of the warm-up as a fraction of the full rate, 1/3.
        #[serde(default = "default_ratio")]
        warmup_ratio: f64,
    },
    /// Half a cosine from the full rate to `final_ratio` over the training.
    Cosine {
        /// Length of the linear warm-up, 500 steps; 0 for none.
        #[serde(default = "default_warmup")]
        warmup_iterations: Extent,
        /// First rate of the warm-up as a fraction of the full rate, 1/3.
        #[serde(default = "default_ratio")]
        warmup_ratio: f64,
        /// The rate at the end as a fraction of the full one, 0.
        #[serde(default, skip_serializing_if = "is_zero")]
        final_ratio: f64,
        /// False, the default: the curve starts with the training, and the warm-up is applied on
        /// top. True: it starts where the warm-up ends, as with PyTorch's SequentialLR.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        after_warmup: bool,
    },
    /// Half a cosine up to the full rate, and half a cosine down to nearly nothing (Smith and
    /// Topin 2017), as PyTorch's OneCycleLR has it. The momentum stays as it is.
    OneCycle {
        /// Length of the rise, 0.3 of the training; its last step has the full rate.
        #[serde(default = "default_rise")]
        warmup_iterations: Extent,
        /// The first rate as a fraction of the full one, 1/25.
        #[serde(default = "default_start")]
        warmup_ratio: f64,
        /// The last rate as a fraction of the full one, 4e-6.
        #[serde(default = "default_end")]
        final_ratio: f64,
    },
    /// The full rate at every step.
    Constant {
        /// Length of the linear warm-up; 0, none.
        #[serde(default = "no_warmup", skip_serializing_if = "Extent::is_nothing")]
        warmup_iterations: Extent,
        /// First rate of the warm-up as a fraction of the full rate, 1/3.
        #[serde(default = "default_ratio", skip_serializing_if = "is_default_ratio")]
        warmup_ratio: f64,
    },
}

fn default_milestones() -> Vec<Extent> {
    vec![Extent::Count(5), Extent::Count(7)]
}
fn default_gamma() -> f64 {
    0.1
}
fn default_warmup() -> Extent {
    Extent::Count(500)
}
fn no_warmup() -> Extent {
    Extent::Count(0)
}
fn default_ratio() -> f64 {
    1.0 / 3.0
}
fn is_default_ratio(ratio: &f64) -> bool {
    *ratio == default_ratio()
}
fn is_zero(ratio: &f64) -> bool {
    *ratio == 0.0
}
fn default_rise() -> Extent {
    Extent::Part(0.3)
}
fn default_start() -> f64 {
    0.04
}
fn default_end() -> f64 {
    4e-6
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

/// Returns half a cosine wave that goes from `from` at 0 to `to` at 1.
fn half_cosine(from: f64, to: f64, at: f64) -> f64 {
    to + (from - to) * 0.5 * (1.0 + (std::f64::consts::PI * at).cos())
}

impl Schedule {
    /// Returns the learning rate of `step` (0-based, over the whole training) for a full rate
    /// `base`.
    ///
    /// Linear warm-up as published: `lr_t = lr * (1 - (1 - t / T) * (1 - ratio))` for t < T, on top
    /// of the rate that the schedule gives at that step.
    pub fn learning_rate(
        &self,
        base: f64,
        step: usize,
        steps_per_epoch: usize,
        epochs: usize,
    ) -> f64 {
        let total = steps_per_epoch.saturating_mul(epochs);
        let regular = match self {
            Schedule::Step {
                milestones, gamma, ..
            } => {
                let passed = |m: &&Extent| step >= m.steps(Unit::Epoch, steps_per_epoch, epochs);
                let falls = milestones.iter().filter(passed).count();
                base * gamma.powi(falls as i32)
            }
            Schedule::Cosine {
                after_warmup: true,
                warmup_iterations,
                final_ratio,
                ..
            } => {
                let warmup = warmup_iterations.steps(Unit::Step, steps_per_epoch, epochs);
                let (passed, length) = (step.saturating_sub(warmup), total.saturating_sub(warmup));
                let part = passed as f64 / length.max(1) as f64;
                base * half_cosine(1.0, *final_ratio, part.min(1.0))
            }
            Schedule::Cosine {
                final_ratio: 0.0, ..
            } => {
                let part = step as f64 / total.max(1) as f64;
                base * 0.5 * (1.0 + (std::f64::consts::PI * part.min(1.0)).cos())
            }
            Schedule::Cosine { final_ratio, .. } => {
                let part = step as f64 / total.max(1) as f64;
                base * half_cosine(1.0, *final_ratio, part.min(1.0))
            }
            Schedule::OneCycle {
                warmup_iterations,
                warmup_ratio,
                final_ratio,
            } => {
                let rise = warmup_iterations.exact(Unit::Step, steps_per_epoch, epochs) - 1.0;
                let (step, end) = (step as f64, total as f64 - 1.0);
                return base
                    * match step <= rise {
                        true if rise > 0.0 => half_cosine(*warmup_ratio, 1.0, step / rise),
                        true => 1.0,
                        false if end <= rise => *final_ratio,
                        false => {
                            let part = (step - rise.max(0.0)) / (end - rise.max(0.0));
                            half_cosine(1.0, *final_ratio, part.min(1.0))
                        }
                    };
            }
            Schedule::Constant { .. } => base,
        };
        let (warmup, ratio) = self.warmup();
        let iterations = warmup.steps(Unit::Step, steps_per_epoch, epochs);
        match step < iterations {
            true => regular * (1.0 - (1.0 - step as f64 / iterations as f64) * (1.0 - ratio)),
            false => regular,
        }
    }

    /// Returns what in the schedule does not fit a training of this length: one sentence per
    /// problem, with the key and a value that would fit. Empty if there is no problem.
    ///
    /// The published recipe warms up for 500 of the 968 steps on VOC-MLT, so a warm-up is reported
    /// only if the end of the training or the first drop of the rate cuts it off.
    pub fn misfits(&self, base: f64, steps_per_epoch: usize, epochs: usize) -> Vec<String> {
        let total = steps_per_epoch.saturating_mul(epochs);
        let mut found = Vec::new();
        let milestones = match self {
            Schedule::Step { milestones, .. } => &milestones[..],
            _ => &[],
        };
        let at = |m: &Extent| m.steps(Unit::Epoch, steps_per_epoch, epochs);
        let fall = milestones.iter().map(at).min();
        let iterations = (self.warmup().0).steps(Unit::Step, steps_per_epoch, epochs);
        let last = total.saturating_sub(1);
        if iterations > 0 && iterations >= total {
            let rate = |step| self.learning_rate(base, step, steps_per_epoch, epochs);
            found.push(format!(
                "`schedule.warmup_iterations` = {} is not over before the training is, which has \
                 {} in all: the rate starts at {:.2e}, ends at {:.2e} and never reaches {base}; a \
                 part of the training fits any length, such as 0.1",
                self.warmup().0,
                counted(total, "step"),
                rate(0),
                rate(last),
            ));
        } else if fall.is_some_and(|fall| fall < iterations) {
            found.push(format!(
                "`schedule.warmup_iterations` = {} is longer than the time to the first of \
                 `schedule.milestones`, {}: the rate falls before it has reached {base}",
                self.warmup().0,
                counted(fall.unwrap_or(0), "step"),
            ));
        }
        let late = |m: &&Extent| at(m) >= total;
        let late: Vec<String> = (milestones.iter().filter(late).map(Extent::to_string)).collect();
        if !late.is_empty() {
            found.push(format!(
                "`schedule.milestones` names {}, but the training ends after {}: the rate \
                 does not fall there; parts of the training fit any length, such as [0.6, 0.85]",
                late.join(" and "),
                counted(epochs, "epoch"),
            ));
        }
        found
    }

    /// Returns the length of the warm-up and its first rate as a fraction of the full one.
    fn warmup(&self) -> (Extent, f64) {
        match *self {
            Schedule::Step {
                warmup_iterations,
                warmup_ratio,
                ..
            }
            | Schedule::Cosine {
                warmup_iterations,
                warmup_ratio,
                ..
            }
            | Schedule::OneCycle {
                warmup_iterations,
                warmup_ratio,
                ..
            }
            | Schedule::Constant {
                warmup_iterations,
                warmup_ratio,
            } => (warmup_iterations, warmup_ratio),
        }
    }

    /// Checks the ranges; `at` is the key of the table.
    pub fn check(&self, at: &KeyPath) -> Result<()> {
        match self {
            Schedule::Step {
                milestones, gamma, ..
            } => {
                Range::Above(0.0, 1.0).check(&at.join("gamma"), *gamma)?;
                if !Extent::ascend(milestones) {
                    let found: Vec<String> = milestones.iter().map(Extent::to_string).collect();
                    return Err(Error::key(
                        at.join("milestones"),
                        format_args!(
                            "is [{}], expected ascending epochs, counted from 1, or ascending \
                             fractions of the training between 0 and 1",
                            found.join(", ")
                        ),
                    ));
                }
            }
            Schedule::Cosine { final_ratio, .. } | Schedule::OneCycle { final_ratio, .. } => {
                Range::Within(0.0, 1.0).check(&at.join("final_ratio"), *final_ratio)?;
            }
            Schedule::Constant { .. } => {}
        }
        Range::Within(0.0, 1.0).check(&at.join("warmup_ratio"), self.warmup().1)
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;

//! The parts of an element-wise loss, as they are written in TOML.
//!
//! For every image i and class c:
//!
//! loss = scale * reduction over (i, c) of weight(i, c) * focal(u) * kernel(u) / tolerance,
//! u = the logit after adjustment, margin and tolerance.
//!
//! Each part may be left out; any combination is a loss.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// An element-wise loss, part by part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Composition {
    /// A factor on the whole loss.
    pub scale: f64,
    /// Mean or sum over images x classes.
    pub reduction: Reduction,
    /// Division of the weights by their largest value.
    pub normalisation: Normalisation,
    /// The loss of one logit.
    pub kernel: Kernel,
    /// How much each image and class counts.
    pub weight: Weight,
    /// Negative-tolerant regularisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Tolerance>,
    /// What is taken off the logits of positives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<Margin>,
    /// What is added to all logits of a class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adjustment: Option<Adjustment>,
    /// The focal factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub focal: Option<Focal>,
    /// Confident negatives that count as positives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relabel: Option<Relabel>,
}

impl Default for Composition {
    fn default() -> Self {
        Composition {
            scale: 1.0,
            reduction: Reduction::Mean,
            normalisation: Normalisation::None,
            kernel: Kernel::CrossEntropy {},
            weight: Weight::None {},
            tolerance: None,
            margin: None,
            adjustment: None,
            focal: None,
            relabel: None,
        }
    }
}

/// How the terms of images and classes become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// The mean over images x classes.
    Mean,
    /// The sum over images x classes.
    Sum,
    /// The sum over classes, the mean over images: does not grow with the batch.
    ImageMean,
}

/// Division of the weights by their largest value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalisation {
    /// Weights as they are.
    None,
    /// Each image's weights are divided by that image's largest.
    Instance,
    /// All weights are divided by the batch's largest.
    Batch,
}

/// The loss of one logit, before weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum Kernel {
    /// Binary cross-entropy with logits: softplus(z) - y z.
    CrossEntropy {},
    /// Asymmetric focusing with a probability margin on negatives, and a polynomial on positives.
    Asymmetric {
        /// Focusing exponent of negatives, >= 0.
        #[serde(default = "default_gamma_negative")]
        gamma_negative: f64,
        /// Focusing exponent of positives, >= 0.
        #[serde(default)]
        gamma_positive: f64,
        /// Probability margin m of negatives, in [0, 1).
        #[serde(default = "default_clip")]
        clip: f64,
        /// Coefficient e1 of 1 - p on positives.
        #[serde(default)]
        first_order: f64,
        /// Coefficient e2 of (1 - p)^2 / 2 on positives.
        #[serde(default)]
        second_order: f64,
        /// Smallest probability in a logarithm, in [0, 0.1]; 0 takes the exact logarithm.
        #[serde(default)]
        eps: f64,
        /// Whether the focusing weight is held constant in the gradient.
        #[serde(default)]
        detach_focusing: bool,
    },
    /// Focal positives; negatives (limit - p) p^2, whose gradient falls again for p near 1.
    Hill {
        /// The `limit`, >= 0; 1.5 in the paper.
        #[serde(default = "default_limit")]
        limit: f64,
        /// Focusing exponent of positives, >= 0.
        #[serde(default = "default_gamma")]
        gamma: f64,
    },
}

/// Weights of images and classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum Weight {
    /// 1 everywhere.
    None {},
    /// (N / n_c)^power.
    Inverse {
        /// 1 for the inverse class frequency, 0.5 for its square root; >= 0.
        #[serde(default = "default_one")]
        power: f64,
    },
    /// (1 - beta) / (1 - beta^n), the inverse effective number of images.
    ClassBalanced {
        /// beta in [0, 1).
        #[serde(default = "default_cb_beta")]
        beta: f64,
        /// Which n: the class's own, or one an image.
        #[serde(default = "default_cb_mode")]
        mode: ClassBalancedMode,
    },
    /// alpha + sigmoid(beta (r_c - mu)), r_c the re-balanced weight of the class in the image.
    Rebalanced {
        /// Overall lift, >= 0.
        #[serde(default = "default_alpha")]
        alpha: f64,
        /// Steepness.
        #[serde(default = "default_beta")]
        beta: f64,
        /// Position of the step on r.
        #[serde(default = "default_mu")]
        mu: f64,
    },
    /// (1 - log(n_c / n_max))^power, the multi-focal modifier's weight.
    Logarithmic {
        /// The exponent, 1/6 in the paper; >= 0.
        #[serde(default = "default_sixth")]
        power: f64,
    },
}

/// Which number of images the class-balanced weight takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassBalancedMode {
    /// Each class its own n_c.
    ByClass,
    /// One weight an image: from the average n_c of its positives.
    AverageN,
    /// One weight an image: the average of its positives' weights.
    AverageW,
    /// One weight an image: from the smallest n_c of its positives.
    MinN,
}

/// Negative-tolerant regularisation: a class-specific shift, and a scale on negatives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tolerance {
    /// kappa: scale of the class bias, >= 0.
    pub kappa: f64,
    /// lambda: scale of negative logits, > 0.
    pub lambda: f64,
    /// Whether the shift is nu_c / lambda (`code`) or nu_c (`paper`).
    pub bias: BiasForm,
}

impl Default for Tolerance {
    fn default() -> Self {
        Tolerance {
            kappa: 0.05,
            lambda: 5.0,
            bias: BiasForm::Code,
        }
    }
}

/// The two forms of the shift s of negative-tolerant regularisation, nu_c = kappa b_c.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BiasForm {
    /// s = nu_c / lambda: the public code, and so the published figures.
    Code,
    /// s = nu_c: as the paper writes it.
    Paper,
}

/// What is taken off the logits of positives, and the scale of the logits after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum Margin {
    /// The same for every class.
    Constant {
        /// The margin, in logits.
        margin: f64,
    },
    /// Proportional to n_c^(-power), the largest being `max_margin` (label-distribution-aware).
    ClassFrequency {
        /// Margin of the rarest class, in logits, >= 0.
        #[serde(default = "default_max_margin")]
        max_margin: f64,
        /// The exponent, 1/4 in the paper; >= 0.
        #[serde(default = "default_quarter")]
        power: f64,
        /// Factor on the logits after the margin, > 0; 30 where logits are cosines.
        #[serde(default = "default_one")]
        logit_scale: f64,
    },
}

/// Adds tau log(pi_c / (1 - pi_c)) to the logits, pi_c = n_c / N.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adjustment {
    /// tau, the strength; 0 is no adjustment.
    #[serde(default = "default_one")]
    pub tau: f64,
}

/// The factor balance * (1 - p_t)^gamma; p_t from the logit after shifts and scales.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Focal {
    /// gamma, >= 0.
    pub gamma: f64,
    /// A constant factor, > 0.
    pub balance: f64,
}

impl Default for Focal {
    fn default() -> Self {
        Focal {
            gamma: 2.0,
            balance: 2.0,
        }
    }
}

/// From an epoch on, negatives whose probability exceeds tau count as positives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Relabel {
    /// tau in [0, 1].
    pub tau: f64,
    /// The first epoch in which labels change, counted from 0.
    pub from_epoch: usize,
}

impl Default for Relabel {
    fn default() -> Self {
        Relabel {
            tau: 0.6,
            from_epoch: 1,
        }
    }
}

fn default_one() -> f64 {
    1.0
}
fn default_quarter() -> f64 {
    0.25
}
fn default_sixth() -> f64 {
    1.0 / 6.0
}
fn default_gamma() -> f64 {
    2.0
}
fn default_gamma_negative() -> f64 {
    4.0
}
fn default_clip() -> f64 {
    0.05
}
fn default_limit() -> f64 {
    1.5
}
fn default_cb_beta() -> f64 {
    0.9
}
fn default_cb_mode() -> ClassBalancedMode {
    ClassBalancedMode::AverageW
}
fn default_alpha() -> f64 {
    0.1
}
fn default_beta() -> f64 {
    10.0
}
fn default_mu() -> f64 {
    0.3
}
fn default_max_margin() -> f64 {
    0.5
}

impl Composition {
    /// Checks the range of every number; an error names the key, for example `loss.weight.beta`.
    pub fn check(&self) -> Result<()> {
        positive("scale", self.scale)?;
        match self.kernel {
            Kernel::CrossEntropy {} => {}
            Kernel::Asymmetric {
                gamma_negative,
                gamma_positive,
                clip,
                first_order,
                second_order,
                eps,
                detach_focusing: _,
            } => {
                not_negative("kernel.gamma_negative", gamma_negative)?;
                not_negative("kernel.gamma_positive", gamma_positive)?;
                within("kernel.clip", clip, 0.0, 0.999)?;
                finite("kernel.first_order", first_order)?;
                finite("kernel.second_order", second_order)?;
                within("kernel.eps", eps, 0.0, 0.1)?;
            }
            Kernel::Hill { limit, gamma } => {
                not_negative("kernel.limit", limit)?;
                not_negative("kernel.gamma", gamma)?;
            }
        }
        match self.weight {
            Weight::None {} => {}
            Weight::Inverse { power } | Weight::Logarithmic { power } => {
                not_negative("weight.power", power)?
            }
            Weight::ClassBalanced { beta, mode: _ } => {
                if !(0.0..1.0).contains(&beta) {
                    return Err(range_error("weight.beta", beta, "at least 0 and below 1"));
                }
            }
            Weight::Rebalanced { alpha, beta, mu } => {
                not_negative("weight.alpha", alpha)?;
                finite("weight.beta", beta)?;
                finite("weight.mu", mu)?;
            }
        }
        if let Some(Tolerance { kappa, lambda, .. }) = self.tolerance {
            not_negative("tolerance.kappa", kappa)?;
            positive("tolerance.lambda", lambda)?;
        }
        match self.margin {
            None => {}
            Some(Margin::Constant { margin }) => finite("margin.margin", margin)?,
            Some(Margin::ClassFrequency {
                max_margin,
                power,
                logit_scale,
            }) => {
                not_negative("margin.max_margin", max_margin)?;
                not_negative("margin.power", power)?;
                positive("margin.logit_scale", logit_scale)?;
            }
        }
        if let Some(Adjustment { tau }) = self.adjustment {
            finite("adjustment.tau", tau)?;
        }
        if let Some(Focal { gamma, balance }) = self.focal {
            not_negative("focal.gamma", gamma)?;
            positive("focal.balance", balance)?;
        }
        if let Some(Relabel { tau, .. }) = self.relabel {
            within("relabel.tau", tau, 0.0, 1.0)?;
        }
        Ok(())
    }
}

fn range_error(key: &str, value: f64, expected: &str) -> Error {
    Error::input(
        format_args!("loss.{key}"),
        format_args!("is {value}, expected a number {expected}"),
    )
}

fn finite(key: &str, value: f64) -> Result<()> {
    let ok = value.is_finite();
    ok.then_some(())
        .ok_or_else(|| range_error(key, value, "that is finite"))
}

fn positive(key: &str, value: f64) -> Result<()> {
    let ok = value.is_finite() && value > 0.0;
    ok.then_some(())
        .ok_or_else(|| range_error(key, value, "above 0"))
}

fn not_negative(key: &str, value: f64) -> Result<()> {
    let ok = value.is_finite() && value >= 0.0;
    ok.then_some(())
        .ok_or_else(|| range_error(key, value, "at or above 0"))
}

fn within(key: &str, value: f64, low: f64, high: f64) -> Result<()> {
    let ok = (low..=high).contains(&value);
    ok.then_some(())
        .ok_or_else(|| range_error(key, value, &format!("from {low} to {high}")))
}

//! Confidence intervals from the influence of each image on an estimate.
//!
//! Method, sources and coverage: `docs/intervals.md`.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// An estimate with its confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The value on the test set itself.
    pub estimate: f64,
    /// Lower end; never above the estimate.
    pub low: f64,
    /// Upper end; never below the estimate.
    pub high: f64,
    /// Standard error of the estimate over test sets of this size.
    pub standard_error: f64,
    /// Two-sided p-value of the hypothesis that a difference is 0; `None` for a score. It is below
    /// 1 - level exactly when the interval excludes 0.
    pub p_value: Option<f64>,
    /// Number of classes included.
    pub classes: usize,
    /// Number of those with fewer positives than [`FEW_POSITIVES`](super::FEW_POSITIVES).
    pub few_positives: usize,
}

impl Interval {
    /// Returns whether so many of the classes have few positives that the interval may contain the
    /// true value less often than its level says.
    pub fn is_doubtful(&self) -> bool {
        2 * self.few_positives >= self.classes
    }
}

/// Bias and spread of an estimate, from the jackknife over the images.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    bias: f64,
    standard_error: f64,
    unseen: f64,
    degrees_of_freedom: f64,
}

impl Spread {
    /// Computes the spread from the change of the estimate when each image is left out, plus the
    /// variance `unseen`, which these changes cannot show.
    pub(super) fn new(changes: &[f64], unseen: f64) -> Self {
        let images = changes.len().max(1) as f64;
        let mean = changes.iter().sum::<f64>() / images;
        let (mut squares, mut fourth) = (0.0, 0.0);
        for change in changes {
            let square = (change - mean).powi(2);
            squares += square;
            fourth += square * square;
        }
        let seen = squares * (images - 1.0) / images;
        let variance = seen + unseen;
        // The number of images that carry the variance, if they carried it evenly. Satterthwaite's
        // degrees of freedom are twice that, but with few images the fourth moment is
        // underestimated.
        let carriers = if fourth > 0.0 {
            squares * squares / fourth
        } else {
            0.0
        };
        Spread {
            bias: (images - 1.0) * mean,
            standard_error: variance.sqrt(),
            unseen,
            degrees_of_freedom: (1.5 * carriers).max(2.0) * (variance / seen).powi(2),
        }
    }

    /// Adds the variance of sampling what is averaged: `variance` of its mean, with
    /// `degrees_of_freedom` (combined by Satterthwaite's rule).
    pub(super) fn beside(&self, variance: f64, degrees_of_freedom: f64) -> Self {
        let images = self.standard_error.powi(2);
        let both = images + variance;
        let part = |variance: f64, freedom: f64| variance * variance / freedom;
        let parts = part(images, self.degrees_of_freedom) + part(variance, degrees_of_freedom);
        Spread {
            standard_error: both.sqrt(),
            degrees_of_freedom: match parts > 0.0 {
                true => both * both / parts,
                false => self.degrees_of_freedom,
            },
            ..*self
        }
    }

    /// Returns the interval of a score, computed on the log odds scale and so within [0, 1]. The
    /// bias is removed; since the remaining bias has the same sign, the interval is extended on
    /// that side by half of the bias.
    pub(super) fn score(&self, estimate: f64, level: f64) -> Interval {
        let reach = self.quantile(level) * self.standard_error;
        let corrected = estimate - self.bias;
        // Halfway to the corrected value, and kept away from 1, where the log odds diverge.
        let anchor = estimate - self.bias.clamp(0.0, estimate.max(0.0)) / 2.0;
        let centre = anchor.clamp(f64::MIN_POSITIVE, 1.0 - self.unseen.sqrt().max(1e-12));
        let slope = centre * (1.0 - centre);
        let at = |shift: f64| {
            let log_odds = (centre / (1.0 - centre)).ln() + shift / slope;
            1.0 / (1.0 + (-log_odds).exp())
        };
        let shift = corrected - anchor;
        let left = -self.bias / 2.0;
        self.interval(
            estimate,
            at(shift + left.min(0.0) - reach).min(estimate),
            at(shift + left.max(0.0) + reach).max(estimate),
        )
    }

    /// Returns the interval of a difference of scores, within [-1, 1], with its p-value.
    pub(super) fn difference(&self, estimate: f64, level: f64) -> Interval {
        let reach = self.quantile(level) * self.standard_error;
        let corrected = estimate - self.bias;
        let p_value = if estimate * corrected > 0.0 {
            2.0 * self.upper_tail(corrected.abs() / self.standard_error)
        } else {
            1.0
        };
        Interval {
            p_value: Some(p_value),
            ..self.interval(
                estimate,
                (corrected - reach).min(estimate).max(-1.0),
                (corrected + reach).max(estimate).min(1.0),
            )
        }
    }

    fn interval(&self, estimate: f64, low: f64, high: f64) -> Interval {
        Interval {
            estimate,
            low,
            high,
            standard_error: self.standard_error,
            p_value: None,
            classes: 0,
            few_positives: 0,
        }
    }

    /// Returns the quantile of Student's distribution for a two-sided interval.
    fn quantile(&self, level: f64) -> f64 {
        let share = (1.0 + level) / 2.0;
        match self.student() {
            Some(student) => student.inverse_cdf(share),
            None => Normal::standard().inverse_cdf(share),
        }
    }

    fn upper_tail(&self, statistic: f64) -> f64 {
        match self.student() {
            Some(student) => student.sf(statistic),
            None => Normal::standard().sf(statistic),
        }
    }

    /// Returns `None` if the distribution is practically normal.
    fn student(&self) -> Option<StudentsT> {
        let usable = self.degrees_of_freedom < 1e6;
        StudentsT::new(0.0, 1.0, self.degrees_of_freedom)
            .ok()
            .filter(|_| usable)
    }
}

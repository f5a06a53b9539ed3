//! Metrics of multi-label classification: slices in, numbers out.
//!
//! Scores and targets are images x classes, row by row, wrapped once in a [`ScoreTable`] that has
//! checked them. What is undefined is `None`, is counted, and is left out of means.

pub mod alike;
pub mod auc;
pub mod average_precision;
pub mod bootstrap;
pub mod groups;
mod order;
pub mod ranking;
pub mod significance;
pub mod table;
pub mod threshold;

pub use alike::alike_per_class;
pub use auc::{area_under_roc, area_under_roc_per_class};
pub use average_precision::{ApMethod, average_precision, average_precision_per_class};
pub use bootstrap::{Bootstrap, Interval, Ranked, Resamples, bootstrap_map, paired_bootstrap_map};
pub use groups::{GroupScores, PerGroup, Scope};
pub use ranking::{RankingScores, ranking_scores, top_k_scores};
pub use table::{Score, ScoreTable};
pub use threshold::{ThresholdScores, fit_thresholds, threshold_scores};

#[cfg(test)]
mod tests;

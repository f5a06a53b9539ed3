//! Metrics of multi-label classification: slices in, numbers out.
//!
//! Scores and targets are images x classes, in row-major order, wrapped once in a [`ScoreTable`]
//! that has checked them. Undefined values are `None`, are counted, and are left out of means.

pub mod alike;
pub mod auc;
pub mod average_precision;
pub mod calibration;
pub mod chance;
pub mod critical_difference;
pub mod error_pairs;
pub mod groups;
pub mod interval;
pub mod jackknife;
pub mod label_errors;
mod order;
pub mod ranked;
pub mod ranking;
pub mod score;
pub mod significance;
pub mod table;
pub mod threshold;

pub use alike::alike_per_class;
pub use auc::{area_under_roc, area_under_roc_per_class};
pub use average_precision::{ApMethod, average_precision, average_precision_per_class};
pub use calibration::Reliability;
pub use chance::expected_average_precision;
pub use critical_difference::{Friedman, Ranking, critical_difference};
pub use error_pairs::{ErrorPair, PairKind, error_pairs};
pub use groups::{GroupScores, PerGroup, Scope};
pub use interval::Interval;
pub use jackknife::{FEW_POSITIVES, Gain, Jackknife, class_intervals};
pub use label_errors::{Doubt, Suspect, label_errors};
pub use ranked::Ranked;
pub use ranking::{RankingScores, ranking_scores, top_k_scores};
pub use score::Score;
pub use table::ScoreTable;
pub use threshold::{F1, ThresholdScores, fit_thresholds, threshold_curve, threshold_scores};

#[cfg(test)]
mod interval_tests;
#[cfg(test)]
mod tests;

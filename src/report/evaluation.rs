//! Scores of a set of predictions by class, by group and overall, for people and as CSV.

mod partial;
mod trained_on;

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::class_scores::ClassScore;
use super::table::{Table, percent};
use crate::data::labels::LabelTable;
use crate::data::split::{Set, Split};
use crate::error::Result;
use crate::metrics::{
    ApMethod, FEW_POSITIVES, GroupScores, Interval, Jackknife, PerGroup, Ranked, RankingScores,
    Scope, ScoreTable, ThresholdScores, alike_per_class, area_under_roc_per_class,
    average_precision_per_class, class_intervals, fit_thresholds, ranking_scores, threshold_scores,
    top_k_scores,
};
use crate::predict::{Predictions, Scale};
use crate::rows::{self, Tables, number};

pub use trained_on::TrainedOn;

/// Confidence level of every interval.
pub(super) const LEVEL: f64 = 0.95;

/// How predictions are scored.
#[derive(Debug, Clone, Serialize)]
pub struct Options {
    /// A class counts as predicted if its score is above this threshold: 0 for logits, 0.5 for
    /// probabilities. Holds one value for all classes, or one per class.
    pub thresholds: Vec<f64>,
    /// How AP is computed from the precision-recall curve. Only the area under the curve has
    /// confidence intervals.
    pub average_precision: ApMethod,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            thresholds: vec![0.0],
            average_precision: ApMethod::default(),
        }
    }
}

/// The row of `scores.csv` with the share of classes for which all images have the same score.
const SCORED_ALIKE: &str = "classes_scored_alike";

/// The remark on an evaluation whose scores do not distinguish between images.
pub const ALIKE: &str =
    "all images score alike: the network does not tell them apart, and its mAP is that of chance";

/// Reads from the `scores.csv` of an evaluation whether all images have the same score; returns
/// false for older files without that row.
///
/// # Errors
/// Fails if the file is missing or is not such a table.
pub fn all_alike(scores: &Path) -> Result<bool> {
    let rows: Vec<MetricRow> = rows::read(scores)?;
    let row = rows.iter().find(|row| row.metric == SCORED_ALIKE);
    Ok(row.is_some_and(|row| row.value == Some(1.0)))
}

/// The scores of predictions on a labelled set.
#[derive(Debug, Clone)]
pub struct Evaluation {
    classes: Vec<ClassScore>,
    at_threshold: ThresholdScores,
    ranking: RankingScores,
    top_3: RankingScores,
    groups: GroupScores,
    intervals: PerGroup<Option<Interval>>,
    /// Share of the classes for which all images have the same score.
    alike: f64,
}

/// The scores of one scope, a row of `groups.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupRow {
    /// The scope: total, head, medium or tail.
    pub group: Scope,
    /// Number of classes in it.
    pub classes: usize,
    /// Number of those without an AP, because the evaluated set has no image of them.
    pub undefined: usize,
    /// mAP over the other classes, in [0, 1].
    #[serde(serialize_with = "number::full_or_empty")]
    pub map: Option<f64>,
    /// Lower end of the 95 % interval of mAP; empty if AP is not the area under the curve.
    #[serde(serialize_with = "number::full_or_empty")]
    pub map_low: Option<f64>,
    /// Upper end of the interval.
    #[serde(serialize_with = "number::full_or_empty")]
    pub map_high: Option<f64>,
    /// Standard error of mAP over test sets of this size.
    #[serde(serialize_with = "number::full_or_empty")]
    pub map_standard_error: Option<f64>,
    /// Number of classes with too few positives for the interval.
    pub few_positives: Option<usize>,
    /// Whether there are so many of them that the interval may be too narrow.
    pub doubtful: Option<bool>,
}

/// A metric over all classes together, a row of `scores.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricRow {
    /// The metric's name, as used in papers.
    pub metric: String,
    /// The metric's value in [0, 1]; empty where undefined.
    #[serde(serialize_with = "number::full_or_empty")]
    pub value: Option<f64>,
}

impl Evaluation {
    /// Returns mAP over all classes, in [0, 1]; `None` where undefined.
    pub fn total_map(&self) -> Option<f64> {
        self.groups.means.total
    }

    /// Scores `predictions`, whose rows and columns are those of `table`, with the class groups
    /// taken from a split or from whatever else is known about the training.
    pub fn new(
        predictions: &Predictions,
        table: &LabelTable,
        trained_on: impl Into<TrainedOn>,
        options: &Options,
    ) -> Result<Self> {
        let trained_on = trained_on.into();
        let targets = targets(table);
        let scores = ScoreTable::new(&predictions.scores, &targets, table.num_classes())?;
        let average_precision = average_precision_per_class(&scores, options.average_precision);
        let at_threshold = threshold_scores(&scores, &options.thresholds)?;
        let (intervals, of_class) = match options.average_precision {
            ApMethod::ElevenPoint => (PerGroup::default(), vec![None; table.num_classes()]),
            ApMethod::Area => {
                let ranked = Ranked::new(&scores)?;
                let groups = Jackknife::new(&ranked, &trained_on.groups);
                (groups.intervals(LEVEL), class_intervals(&ranked, LEVEL))
            }
        };
        let positives = table.class_counts();
        let area_under_roc = area_under_roc_per_class(&scores);
        let alike = match predictions.scale {
            // Near 0 and 1, probabilities of different images may differ only in their last digits.
            Some(Scale::Probabilities) => {
                let logit = |p: &f64| {
                    let p = p.clamp(f64::MIN_POSITIVE, 1.0 - f64::EPSILON / 2.0);
                    (p / (1.0 - p)).ln()
                };
                let logits: Vec<f64> = predictions.scores.iter().map(logit).collect();
                alike_per_class(&logits, table.num_classes())
            }
            _ => alike_per_class(&predictions.scores, table.num_classes()),
        };
        let alike = alike.iter().filter(|&&alike| alike).count() as f64 / alike.len() as f64;
        let names = table.classes().iter().enumerate();
        let classes = names.map(|(i, name)| ClassScore {
            name: name.clone(),
            group: trained_on.groups[i],
            train_count: trained_on.counts[i],
            positives: positives[i],
            average_precision: average_precision[i],
            area_under_roc: area_under_roc[i],
            precision: at_threshold.per_class[i].precision(),
            recall: at_threshold.per_class[i].recall(),
            f1: at_threshold.per_class[i].f1(),
            accuracy: at_threshold.per_class[i].accuracy(),
            low: of_class[i].map(|interval| interval.low),
            high: of_class[i].map(|interval| interval.high),
            doubtful: of_class[i].map(|interval| interval.is_doubtful()),
        });
        Ok(Evaluation {
            classes: classes.collect(),
            groups: GroupScores::new(&average_precision, &trained_on.groups),
            ranking: ranking_scores(&at_threshold),
            top_3: top_k_scores(&scores, 3, None),
            at_threshold,
            intervals,
            alike,
        })
    }

    /// Returns mAP over all classes and over each group.
    pub fn groups(&self) -> &GroupScores {
        &self.groups
    }

    /// Returns the scores of every class, in index order.
    pub fn classes(&self) -> &[ClassScore] {
        &self.classes
    }

    /// Formats the group scores in one line, in percent: `total 51.70 % / head - / tail 51.70 %`.
    pub fn one_line(&self) -> String {
        let parts = self.groups.means.iter().map(|(scope, map)| match map {
            Some(_) => format!("{scope} {} %", percent(*map)),
            None => format!("{scope} -"),
        });
        parts.collect::<Vec<_>>().join(" / ")
    }

    /// Writes `per_class.csv`, `groups.csv` and `scores.csv` in full precision.
    pub fn write(&self, folder: &Path) -> Result<()> {
        self.tables()?.write(folder)
    }

    /// Returns the tables `per_class`, `groups` and `scores`.
    ///
    /// # Errors
    /// Fails if a table cannot be written.
    pub fn tables(&self) -> Result<Tables> {
        let mut tables = Tables::default();
        tables.add("per_class", &self.classes)?;
        let groups = self.groups.means.iter().map(|(scope, map)| GroupRow {
            group: scope,
            classes: self.groups.counts[scope],
            undefined: self.groups.undefined[scope],
            map: *map,
            map_low: self.intervals[scope].map(|interval| interval.low),
            map_high: self.intervals[scope].map(|interval| interval.high),
            map_standard_error: self.intervals[scope].map(|interval| interval.standard_error),
            few_positives: self.intervals[scope].map(|interval| interval.few_positives),
            doubtful: self.intervals[scope].map(|interval| interval.is_doubtful()),
        });
        tables.add("groups", &groups.collect::<Vec<_>>())?;
        let scores = self.overall().into_iter().map(|(metric, value)| MetricRow {
            metric: metric.to_owned(),
            value,
        });
        tables.add("scores", &scores.collect::<Vec<_>>())?;
        Ok(tables)
    }

    /// Returns the metrics over all classes together, under the names used in papers.
    fn overall(&self) -> Vec<(&'static str, Option<f64>)> {
        let at = &self.at_threshold;
        vec![
            ("micro_precision", at.micro.precision),
            ("micro_recall", at.micro.recall),
            ("micro_f1", at.micro.f1),
            ("macro_precision", at.macro_average.precision),
            ("macro_recall", at.macro_average.recall),
            ("macro_f1", at.macro_average.f1),
            ("accuracy", at.accuracy),
            ("exact_match", at.exact_match),
            ("CP", self.ranking.class_precision),
            ("CR", self.ranking.class_recall),
            ("CF1", self.ranking.class_f1),
            ("OP", self.ranking.overall_precision),
            ("OR", self.ranking.overall_recall),
            ("OF1", self.ranking.overall_f1),
            ("CP_top3", self.top_3.class_precision),
            ("CR_top3", self.top_3.class_recall),
            ("CF1_top3", self.top_3.class_f1),
            ("OP_top3", self.top_3.overall_precision),
            ("OR_top3", self.top_3.overall_recall),
            ("OF1_top3", self.top_3.overall_f1),
            (SCORED_ALIKE, Some(self.alike)),
        ]
    }
}

impl Evaluation {
    /// Formats the tables of classes and groups. `set` is the heading of the image counts where the
    /// scored images belong to a split, whose training counts are shown beside them.
    pub fn to_terminal(&self, set: Option<Set>) -> String {
        let counts = match set {
            None | Some(Set::Train) => "positives",
            Some(other) => other.name(),
        };
        let header = ["class", "group", "train", counts, "AP, %", "F1, %"].map(str::to_owned);
        let mut table = Table::new(header.to_vec());
        for class in &self.classes {
            table.push(vec![
                class.name.clone(),
                class.group.to_string(),
                class.train_count.to_string(),
                class.positives.to_string(),
                percent(class.average_precision),
                percent(class.f1),
            ]);
        }
        let classes = table.to_terminal();
        let header = ["classes", "defined", "mAP, %", "95 % interval, %"].map(str::to_owned);
        let mut table = Table::new(header.to_vec());
        for (scope, map) in self.groups.means.iter() {
            let interval = self.intervals[scope].map_or(String::new(), |interval| {
                let (low, high) = (percent(Some(interval.low)), percent(Some(interval.high)));
                format!("{low} to {high}{}", mark(&interval))
            });
            table.push(vec![
                scope.to_string(),
                (self.groups.counts[scope] - self.groups.undefined[scope]).to_string(),
                percent(*map),
                interval,
            ]);
        }
        let remark = match self.alike {
            1.0 => format!("{ALIKE}\n"),
            _ => String::new(),
        };
        classes + &table.to_terminal() + &footnote(&self.intervals) + &remark
    }
}

/// Returns only mAP over all classes, in [0, 1]: what choosing a checkpoint needs of an
/// [`Evaluation`], without intervals and thresholds.
///
/// # Errors
/// As [`Evaluation::new`].
pub fn total_map(
    predictions: &Predictions,
    table: &LabelTable,
    split: &Split,
) -> Result<Option<f64>> {
    let targets = targets(table);
    let scores = ScoreTable::new(&predictions.scores, &targets, table.num_classes())?;
    let precisions = average_precision_per_class(&scores, ApMethod::default());
    Ok(GroupScores::new(&precisions, &split.groups).means.total)
}

/// Computes the difference in mAP between two sets of predictions for the images of `table`, second
/// minus first, with intervals that pair the images.
pub fn difference(
    first: &Predictions,
    second: &Predictions,
    table: &LabelTable,
    trained_on: impl Into<TrainedOn>,
) -> Result<Difference> {
    let TrainedOn { groups, .. } = trained_on.into();
    let targets = targets(table);
    let first = ScoreTable::new(&first.scores, &targets, table.num_classes())?;
    let second = ScoreTable::new(&second.scores, &targets, table.num_classes())?;
    let first = Jackknife::new(&Ranked::new(&first)?, &groups);
    let second = Jackknife::new(&Ranked::new(&second)?, &groups);
    Ok(Difference {
        intervals: second.gain_over(&first).intervals(LEVEL),
    })
}

/// The result of [`difference`].
#[derive(Debug, Clone)]
pub struct Difference {
    intervals: PerGroup<Option<Interval>>,
}

/// The gain over other predictions, a row of `gain`, in mAP; 0.01 is one point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GainRow {
    /// The scope: total, head, medium or tail.
    pub group: Scope,
    /// The gain; empty where undefined, as are all the following columns.
    #[serde(serialize_with = "number::full_or_empty")]
    pub gain: Option<f64>,
    /// Lower end of its 95 % interval.
    #[serde(serialize_with = "number::full_or_empty")]
    pub low: Option<f64>,
    /// Upper end of the interval.
    #[serde(serialize_with = "number::full_or_empty")]
    pub high: Option<f64>,
    /// The two-sided p-value of the test against no gain.
    #[serde(serialize_with = "number::full_or_empty")]
    pub p: Option<f64>,
    /// Whether so many classes have few positives that the interval may be too narrow.
    pub doubtful: Option<bool>,
}

impl Difference {
    /// Returns the gain over all classes and in each group.
    pub fn rows(&self) -> Vec<GainRow> {
        let rows = self.intervals.iter().map(|(scope, interval)| GainRow {
            group: scope,
            gain: interval.map(|interval| interval.estimate),
            low: interval.map(|interval| interval.low),
            high: interval.map(|interval| interval.high),
            p: interval.and_then(|interval| interval.p_value),
            doubtful: interval.map(|interval| interval.is_doubtful()),
        });
        rows.collect()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["gain in mAP", "points", "95 % interval", "p"].map(str::to_owned);
        let mut table = Table::new(header.to_vec());
        let signed = |value: f64| format!("{:+.2}", value * 100.0);
        for (scope, interval) in self.intervals.iter() {
            let mut row = vec![scope.to_string()];
            if let Some(interval) = interval {
                row.extend([
                    signed(interval.estimate),
                    format!(
                        "{} to {}{}",
                        signed(interval.low),
                        signed(interval.high),
                        mark(interval)
                    ),
                    (interval.p_value).map_or(String::new(), |p| format!("{p:.3}")),
                ]);
            }
            table.push(row);
        }
        f.write_str(&table.to_terminal())?;
        f.write_str(&footnote(&self.intervals))
    }
}

/// Returns the mark that follows a doubtful interval.
fn mark(interval: &Interval) -> &'static str {
    if interval.is_doubtful() { " *" } else { "" }
}

/// Explains the mark if it occurs.
fn footnote(intervals: &PerGroup<Option<Interval>>) -> String {
    let doubtful = |interval: &Option<Interval>| interval.is_some_and(|i| i.is_doubtful());
    match intervals.iter().any(|(_, interval)| doubtful(interval)) {
        true => what_the_mark_says(),
        false => String::new(),
    }
}

/// Returns the line below a table with a marked interval.
pub(super) fn what_the_mark_says() -> String {
    format!(
        "* at least half of the classes have fewer than {FEW_POSITIVES} positives: the interval \
         may be too narrow\n"
    )
}

/// Returns the per-class thresholds with the best F1 on `predictions` (of a validation set), for
/// use in [`Options::thresholds`]; a class without positives there gets `fallback`.
pub fn best_thresholds(
    predictions: &Predictions,
    table: &LabelTable,
    fallback: f64,
) -> Result<Vec<f64>> {
    let fitted = fitted_thresholds(predictions, table)?;
    Ok(fitted.into_iter().map(|t| t.unwrap_or(fallback)).collect())
}

/// Like [`best_thresholds`], with `None` for a class without positives.
pub fn fitted_thresholds(
    predictions: &Predictions,
    table: &LabelTable,
) -> Result<Vec<Option<f64>>> {
    let targets = targets(table);
    let scores = ScoreTable::new(&predictions.scores, &targets, table.num_classes())?;
    Ok(fit_thresholds(&scores))
}

/// Returns the labels as 0 and 1, images x classes.
pub(super) fn targets(table: &LabelTable) -> Vec<u8> {
    let classes = table.num_classes();
    let mut targets = vec![0u8; table.len() * classes];
    for (image, row) in targets.chunks_mut(classes).enumerate() {
        for &class in table.labels(image) {
            row[class as usize] = 1;
        }
    }
    targets
}

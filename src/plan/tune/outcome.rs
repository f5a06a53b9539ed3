//! The results of a tuning: tables and a page.

use serde::{Deserialize, Serialize};

use super::candidates::Candidates;
use super::trials::{self, Score};
use super::{Means, Search, SetRow, Tuning};
use crate::error::Result;
use crate::metrics::{PerGroup, Scope};
use crate::plan::grid::Point;
use crate::report::compare::ScoreRow;
use crate::report::study::{Options, RankRow, Study};
use crate::report::tuning::{F1Row, F1Runs, Method, Page};
use crate::rows::{self, number};

/// A setting of a method, a row of `settings.csv`; the best of each method comes first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettingRow {
    /// The method's name.
    pub method: String,
    /// The setting, as written in run names.
    pub setting: String,
    /// Number of folds it was tried on.
    pub folds: usize,
    /// Mean over the classes of each class's mean AP over the folds that have the class; empty if a
    /// training diverged.
    #[serde(serialize_with = "number::full_or_empty")]
    pub map: Option<f64>,
    /// The lowest mAP of a fold.
    #[serde(serialize_with = "number::full_or_empty")]
    pub lowest: Option<f64>,
    /// The highest mAP of a fold.
    #[serde(serialize_with = "number::full_or_empty")]
    pub highest: Option<f64>,
    /// Whether the final runs use it.
    pub chosen: bool,
}

/// The setting chosen for a method, a row of `chosen.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChosenRow {
    /// The method's name.
    pub method: String,
    /// The chosen setting.
    pub setting: String,
    /// Its mAP on the folds.
    #[serde(serialize_with = "number::full_or_empty")]
    pub map: Option<f64>,
    /// Number of settings tried.
    pub settings: usize,
    /// Number of trainings run for the choice.
    pub trainings: usize,
    /// Number of trainings that produced non-finite numbers.
    pub diverged: usize,
    /// Keys whose chosen value is the lowest or highest that was tried, separated by spaces: a
    /// better value may lie beyond.
    pub at_edge: String,
}

impl ChosenRow {
    /// Formats the setting for people: `learning_rate=0.01, mu=0.3`.
    pub fn setting_in_words(&self) -> String {
        self.setting.trim_start_matches('+').replace('+', ", ")
    }
}

/// Returns a value as a number, if it is one.
fn number_of(value: &toml::Value) -> Option<f64> {
    value.as_float().or(value.as_integer().map(|n| n as f64))
}

/// A final run, a row of `final.csv`: mAP on the test set in [0, 1].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FinalRow {
    /// The subset it was trained on.
    pub subset: String,
    /// The method's name.
    pub method: String,
    /// The run's seed.
    pub seed: u64,
    /// mAP over all classes.
    #[serde(serialize_with = "number::full_or_empty")]
    pub total: Option<f64>,
    /// mAP over the head classes.
    #[serde(serialize_with = "number::full_or_empty")]
    pub head: Option<f64>,
    /// mAP over the medium classes.
    #[serde(serialize_with = "number::full_or_empty")]
    pub medium: Option<f64>,
    /// mAP over the tail classes.
    #[serde(serialize_with = "number::full_or_empty")]
    pub tail: Option<f64>,
    /// Hash of the subset's split.
    pub split: String,
}

/// The final runs of a subset.
pub(super) struct SubsetScores {
    pub name: String,
    pub split: String,
    pub runs: Vec<ScoreRow>,
    pub f1: Vec<F1Row>,
}

/// The results of the final runs; empty before they have finished.
#[derive(Clone, Copy, Default)]
struct Finals<'a> {
    runs: &'a [FinalRow],
    f1: &'a [F1Row],
    study: Option<&'a Study>,
}

impl Tuning {
    /// Searches, fixes the choice, runs the final runs, and writes tables and page. After any
    /// interruption, the same call continues. With `only_search` the test set is not used.
    ///
    /// # Errors
    /// As [`Tuning::search`]; also fails if another choice was made here before and has been
    /// evaluated.
    pub fn run(&self, means: Means, only_search: bool) -> Result<Vec<ChosenRow>> {
        let mut search = self.search(means)?;
        let chosen = self.fix_choice(&search)?;
        let (settings, table) = (self.settings(&search, &chosen), self.chosen(&search)?);
        let home = self.home();
        rows::write(
            &home.join("trials.csv"),
            search.trials.iter().map(|trial| trial.row.clone()),
        )?;
        rows::write(&home.join("settings.csv"), settings.clone())?;
        rows::write(&home.join("chosen.csv"), table.clone())?;
        self.score_training(&search, &chosen, means)?;
        let thresholds = self.thresholds(&search, &chosen)?;
        rows::write(&home.join("thresholds.csv"), thresholds.clone())?;
        let mut sets = search.sets.clone();
        rows::write(&home.join("sets.csv"), sets.clone())?;
        self.page(&search, &table, &settings, Finals::default(), &sets)?;
        if only_search {
            return Ok(table);
        }
        let (scores, more) = self.finals((&chosen, &thresholds), means, &mut search.hashes)?;
        sets.extend(more);
        rows::write(&home.join("sets.csv"), sets.clone())?;
        let finals: Vec<FinalRow> = scores.iter().flat_map(final_rows).collect();
        rows::write(&home.join("final.csv"), finals.clone())?;
        let f1: Vec<F1Row> = scores.iter().flat_map(|s| s.f1.iter().cloned()).collect();
        rows::write(&home.join("f1.csv"), f1.clone())?;
        let options = Options {
            title: Some(self.sweep.name.clone()),
            ..Options::default()
        };
        let study = Study::read(&[home.join("final")], &options)?;
        study.write(&home.join("report"))?;
        let finals = Finals {
            runs: &finals,
            f1: &f1,
            study: Some(&study),
        };
        self.page(&search, &table, &settings, finals, &sets)?;
        Ok(table)
    }

    fn settings(&self, search: &Search, chosen: &[(String, Point)]) -> Vec<SettingRow> {
        let mut rows = Vec::new();
        for (candidates, (_, chosen)) in self.candidates.iter().zip(chosen) {
            for (point, score) in trials::ranked(candidates, &search.trials) {
                let tried = (search.trials.iter())
                    .filter(|t| t.row.method == candidates.method && t.row.setting == point.label);
                rows.push(SettingRow {
                    method: candidates.method.clone(),
                    setting: point.label.clone(),
                    folds: tried.count(),
                    map: score.map(|score| score.map),
                    lowest: score.map(|score| score.lowest),
                    highest: score.map(|score| score.highest),
                    chosen: point.label == chosen.label,
                });
            }
        }
        rows
    }

    fn chosen(&self, search: &Search) -> Result<Vec<ChosenRow>> {
        (self.candidates.iter())
            .map(|candidates| {
                let (point, Score { map, .. }) = trials::best(candidates, &search.trials)?;
                let own = || (search.trials.iter()).filter(|t| t.row.method == candidates.method);
                let edges: Vec<&str> = (point.assignments.iter())
                    .filter(|assignment| {
                        let at = |point: &Point| {
                            let mut all = point.assignments.iter();
                            all.find(|other| other.key == assignment.key)
                                .and_then(|other| number_of(&other.value))
                        };
                        let tried: Vec<f64> = candidates.points.iter().filter_map(at).collect();
                        let low = tried.iter().copied().fold(f64::INFINITY, f64::min);
                        let high = tried.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                        let value = number_of(&assignment.value);
                        low < high && value.is_some_and(|value| value == low || value == high)
                    })
                    .map(|assignment| assignment.key.last().unwrap_or_default())
                    .collect();
                Ok(ChosenRow {
                    method: candidates.method.clone(),
                    setting: point.label.clone(),
                    map: Some(map),
                    settings: candidates.points.len(),
                    trainings: own().count(),
                    diverged: own().filter(|trial| trial.row.diverged).count(),
                    at_edge: edges.join(" "),
                })
            })
            .collect()
    }

    fn page(
        &self,
        search: &Search,
        chosen: &[ChosenRow],
        settings: &[SettingRow],
        finals: Finals,
        sets: &[SetRow],
    ) -> Result<()> {
        let ranks = finals.study.map_or(Vec::new(), Study::rank_rows);
        let methods = (self.candidates.iter().zip(chosen))
            .map(|(candidates, row)| method(candidates, row, settings, finals, &ranks))
            .collect();
        let folds = search.folds.iter();
        let images: Vec<String> = folds.map(|fold| fold.test.len().to_string()).collect();
        let page = Page {
            title: self.sweep.name.clone(),
            facts: vec![
                ("search", self.summary()),
                (
                    "training subset",
                    format!("{} images", search.subset.train.len()),
                ),
                ("images of each fold", images.join(", ")),
                ("final runs", finals.runs.len().to_string()),
                ("test images", search.subset.test.len().to_string()),
                ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ],
            methods,
            chance: (finals.study)
                .and_then(Study::chance)
                .map(|chance| chance.means),
            ranks: (finals.study)
                .map(Study::rank_picture)
                .transpose()?
                .flatten(),
            sets: sets
                .iter()
                .map(|row| {
                    (
                        row.set.clone(),
                        row.images,
                        row.pictures.clone(),
                        row.split.clone(),
                    )
                })
                .collect(),
        };
        page.write(self.home())
    }
}

/// Builds a method's section of the page.
fn method(
    candidates: &Candidates,
    row: &ChosenRow,
    settings: &[SettingRow],
    Finals { runs, f1, .. }: Finals,
    ranks: &[RankRow],
) -> Method {
    let of = |setting: &str| {
        (settings.iter())
            .find(|s| s.method == row.method && s.setting == setting)
            .and_then(|s| s.map)
    };
    let rank =
        (ranks.iter()).find(|rank| rank.classes == Scope::Total && rank.method == row.method);
    let axis = candidates.points[0].assignments.first();
    let curve = (candidates.points.iter())
        .filter_map(|point| {
            let value = number_of(&point.assignments.first()?.value)?;
            Some((value, of(&point.label)?))
        })
        .collect();
    let best = settings.iter().find(|s| s.method == row.method && s.chosen);
    let mine = || runs.iter().filter(|run| run.method == row.method);
    let each = |of: fn(&FinalRow) -> Option<f64>| mine().filter_map(of).collect();
    Method {
        name: row.method.clone(),
        setting: row.setting_in_words(),
        key: axis.map_or(String::new(), |axis| axis.key.to_string()),
        curve,
        map: row.map,
        lowest: best.and_then(|best| best.lowest),
        highest: best.and_then(|best| best.highest),
        settings: row.settings,
        trainings: row.trainings,
        diverged: row.diverged,
        at_edge: row.at_edge.clone(),
        finals: PerGroup {
            total: each(|run| run.total),
            head: each(|run| run.head),
            medium: each(|run| run.medium),
            tail: each(|run| run.tail),
        },
        f1: PerGroup::from_fn(|scope| {
            let own = f1.iter();
            let own = own.filter(|f1| f1.method == row.method && f1.classes == scope);
            F1Runs {
                micro: own.clone().filter_map(|f1| f1.micro_f1).collect(),
                macro_average: own.filter_map(|f1| f1.macro_f1).collect(),
            }
        }),
        rank: rank.and_then(|rank| rank.mean_rank),
        groups: rank.map_or(String::new(), |rank| rank.groups.clone()),
    }
}

fn final_rows(subset: &SubsetScores) -> impl Iterator<Item = FinalRow> + '_ {
    subset.runs.iter().map(|run| FinalRow {
        subset: subset.name.clone(),
        method: run.method.clone(),
        seed: run.seed,
        total: run.total,
        head: run.head,
        medium: run.medium,
        tail: run.tail,
        split: subset.split.clone(),
    })
}

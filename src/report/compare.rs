//! Comparison of methods: mean and spread over seeds, as a table for people and for programs.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::class_scores::ClassScore;
use super::comparison_plot::{self, Series};
use super::table::{Table, spread};
use crate::error::Result;
use crate::io::write_text;
use crate::metrics::{GroupScores, PerGroup, Scope};
use crate::rows::{self, number};

/// The result of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The method's name.
    pub method: String,
    /// The run's seed.
    pub seed: u64,
    /// mAP over all classes and over each group, in [0, 1].
    pub groups: GroupScores,
    /// AP of every class, in index order; the same classes in every run.
    pub classes: Vec<ClassScore>,
    /// Training time, seconds.
    pub train_seconds: f64,
    /// Training images per second.
    pub images_per_second: Option<f64>,
    /// What is wrong with the run, one sentence each; the tables mark its method.
    pub remarks: Vec<String>,
}

/// A run, a row of `comparison.csv`: mAP in [0, 1], empty where undefined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreRow {
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
}

/// A run, a row of `timings.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimingRow {
    /// The method's name.
    pub method: String,
    /// The run's seed.
    pub seed: u64,
    /// Training time in seconds.
    #[serde(serialize_with = "number::one_decimal")]
    pub train_seconds: Option<f64>,
    /// Training images per second.
    #[serde(serialize_with = "number::two_decimals")]
    pub images_per_second: Option<f64>,
}

/// The runs of an experiment, grouped by method.
#[derive(Debug, Clone)]
pub struct Comparison {
    name: String,
    methods: Vec<(String, Vec<Entry>)>,
}

impl Comparison {
    /// Groups runs by method, in the order in which the methods appear.
    pub fn new(name: &str, entries: Vec<Entry>) -> Self {
        let mut methods: Vec<(String, Vec<Entry>)> = Vec::new();
        for entry in entries {
            match methods.iter_mut().find(|(name, _)| *name == entry.method) {
                Some((_, runs)) => runs.push(entry),
                None => methods.push((entry.method.clone(), vec![entry])),
            }
        }
        Comparison {
            name: name.to_owned(),
            methods,
        }
    }

    /// Returns one row for every run, ordered by method.
    pub fn rows(&self) -> Vec<ScoreRow> {
        let runs = || self.methods.iter().flat_map(|(_, runs)| runs);
        let score = |run: &Entry| {
            let PerGroup {
                total,
                head,
                medium,
                tail,
            } = run.groups.means;
            ScoreRow {
                method: run.method.clone(),
                seed: run.seed,
                total,
                head,
                medium,
                tail,
            }
        };
        runs().map(score).collect()
    }

    /// Writes `comparison.csv` (one row per run, full precision), `comparison.md` and
    /// `comparison.svg`, which do not depend on the clock, and `timings.csv`, which does.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let runs = || self.methods.iter().flat_map(|(_, runs)| runs);
        let timing = |run: &Entry| TimingRow {
            method: run.method.clone(),
            seed: run.seed,
            train_seconds: Some(run.train_seconds),
            images_per_second: run.images_per_second,
        };
        rows::write(&folder.join("comparison.csv"), self.rows())?;
        rows::write(&folder.join("timings.csv"), runs().map(timing))?;
        if let Some(picture) = self.picture()? {
            write_text(&folder.join("comparison.svg"), &picture)?;
        }
        let table = self.table(false).to_markdown();
        let markdown = format!("# {}\n\n{table}{}", self.name, self.remarks("\n\\*"));
        write_text(&folder.join("comparison.md"), &markdown)
    }

    /// Draws AP by class and method as SVG.
    fn picture(&self) -> Result<Option<String>> {
        let Some(first) = self.methods.first().and_then(|(_, runs)| runs.first()) else {
            return Ok(None);
        };
        let series: Vec<Series> = (self.methods.iter())
            .map(|(method, runs)| Series {
                method,
                average_precision: (0..first.classes.len())
                    .map(|class| {
                        let scores = runs
                            .iter()
                            .map(|run| run.classes.get(class)?.average_precision);
                        mean(&scores.collect::<Option<Vec<f64>>>()?)
                    })
                    .collect(),
            })
            .collect();
        let title = format!("{}: AP by class (training images in brackets)", self.name);
        comparison_plot::draw(&title, &first.classes, &series).map(Some)
    }

    /// Makes the table of mAP in percent: the mean over seeds, followed by the sample standard
    /// deviation, and the speed if `times` is set.
    fn table(&self, times: bool) -> Table {
        let mut header = vec!["method".to_owned(), "seeds".to_owned()];
        header.extend(Scope::ALL.map(|scope| format!("{scope} mAP, %")));
        if times {
            header.extend(["img/s".to_owned(), "train time".to_owned()]);
        }
        let mut table = Table::new(header);
        for (method, runs) in &self.methods {
            let mark = match runs.iter().all(|run| run.remarks.is_empty()) {
                true => "",
                false => MARK,
            };
            let mut row = vec![method.clone(), format!("{}{mark}", runs.len())];
            for scope in Scope::ALL {
                let scores: Vec<f64> = runs
                    .iter()
                    .filter_map(|run| run.groups.means[scope])
                    .collect();
                row.push(spread(&scores));
            }
            if times {
                let speeds = runs.iter().filter_map(|run| run.images_per_second);
                let speed = mean(&speeds.collect::<Vec<f64>>());
                row.push(speed.map_or(String::new(), |speed| format!("{speed:.1}")));
                let seconds: f64 = runs.iter().map(|run| run.train_seconds).sum();
                row.push(crate::progress::human_seconds(seconds / runs.len() as f64));
            }
            table.push(row);
        }
        table
    }
}

/// Appended to a method's number of runs if one of them has a remark.
const MARK: &str = " *";

impl Comparison {
    /// Lists the remarks on the runs, one line each, starting with `star`.
    fn remarks(&self, star: &str) -> String {
        let runs = self.methods.iter().flat_map(|(_, runs)| runs);
        let lines = runs.flat_map(|run| {
            let name = format!("{}-s{}", run.method, run.seed);
            let line = move |remark| format!("{star} {name}: {remark}\n");
            run.remarks.iter().map(line)
        });
        lines.collect()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.table(true).to_terminal(), self.remarks("*"))
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

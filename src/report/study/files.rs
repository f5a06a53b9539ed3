//! The files of a report.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Chance, LeftOut, Method, Run, Setting, Study, chance, latex, page, plots};
use crate::error::Result;
use crate::io::write_text;
use crate::metrics::PerGroup;
use crate::rows::{Cell, Tables, number};

impl Study {
    /// Writes the tables, the pictures and the page into `folder`, which must exist.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let pictures = plots::draw(self)?;
        for (name, svg) in &pictures {
            write_text(&folder.join(name), svg)?;
        }
        let texts = [
            ("table.md", self.markdown()),
            ("table.tex", latex::table(self)),
            ("per_class.tex", latex::per_class(self)),
            ("report.tex", latex::document(self)),
            ("index.html", page::render(self, &pictures)?),
        ];
        for (name, text) in texts {
            write_text(&folder.join(name), &text)?;
        }
        self.tables()?.write_report(folder)
    }

    /// Returns the tables of the report: `table`, `runs`, `tests`, `ranks`, `per_class`,
    /// `settings`.
    ///
    /// # Errors
    /// Fails if a table cannot be written.
    pub fn tables(&self) -> Result<Tables> {
        let mut tables = Tables::default();
        let methods: Vec<MethodRow> = (self.methods.iter().enumerate())
            .map(|(place, method)| MethodRow::new(method, self.rank(place)))
            .chain(self.chance.as_ref().map(MethodRow::chance))
            .collect();
        tables.add("table", &methods)?;
        let left_out = self.left_out.iter().map(RunRow::left_out);
        let runs: Vec<RunRow> = self.runs.iter().map(RunRow::new).chain(left_out).collect();
        tables.add("runs", &runs)?;
        tables.add("tests", &self.tests)?;
        let ranks: Vec<_> = self.rank_rows().into_iter().collect();
        tables.add("ranks", &ranks)?;
        classes(self, &mut tables)?;
        settings(self, &mut tables)?;
        Ok(tables)
    }
}

/// A method, a row of `table.csv`: mAP in [0, 1], with the mean over seeds and the sample standard
/// deviation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MethodRow {
    /// The method's name.
    pub method: String,
    /// Number of seeds; 0 for `chance`, the expectation of a random order.
    pub seeds: usize,
    /// mAP over all classes.
    #[serde(serialize_with = "number::full_or_empty")]
    pub total: Option<f64>,
    /// Standard deviation of `total`; empty for one seed.
    #[serde(serialize_with = "number::full_or_empty")]
    pub total_deviation: Option<f64>,
    /// mAP over the head classes.
    #[serde(serialize_with = "number::full_or_empty")]
    pub head: Option<f64>,
    /// Standard deviation of `head`.
    #[serde(serialize_with = "number::full_or_empty")]
    pub head_deviation: Option<f64>,
    /// mAP over the medium classes.
    #[serde(serialize_with = "number::full_or_empty")]
    pub medium: Option<f64>,
    /// Standard deviation of `medium`.
    #[serde(serialize_with = "number::full_or_empty")]
    pub medium_deviation: Option<f64>,
    /// mAP over the tail classes.
    #[serde(serialize_with = "number::full_or_empty")]
    pub tail: Option<f64>,
    /// Standard deviation of `tail`.
    #[serde(serialize_with = "number::full_or_empty")]
    pub tail_deviation: Option<f64>,
    /// Mean rank by total mAP over the seeds that all methods have; 1 is the best.
    #[serde(serialize_with = "number::full_or_empty")]
    pub mean_rank: Option<f64>,
    /// Training time of a run in seconds, averaged over seeds.
    #[serde(serialize_with = "number::one_decimal")]
    pub train_seconds: Option<f64>,
    /// The published mAP over all classes, if there is one.
    #[serde(serialize_with = "number::full_or_empty")]
    pub total_quoted: Option<f64>,
    /// The published mAP over the head classes.
    #[serde(serialize_with = "number::full_or_empty")]
    pub head_quoted: Option<f64>,
    /// The published mAP over the medium classes.
    #[serde(serialize_with = "number::full_or_empty")]
    pub medium_quoted: Option<f64>,
    /// The published mAP over the tail classes.
    #[serde(serialize_with = "number::full_or_empty")]
    pub tail_quoted: Option<f64>,
    /// What is wrong with the method's runs, `seed 0: all images score alike; ...`; empty if
    /// nothing is known.
    #[serde(default)]
    pub remarks: String,
}

impl MethodRow {
    pub(super) fn new(method: &Method, mean_rank: Option<f64>) -> Self {
        let score = PerGroup::from_fn(|scope| method.mean_and_deviation(scope));
        let quoted = PerGroup::from_fn(|scope| -> Option<f64> {
            let figure = method.published.as_ref()?.percent()[scope];
            // Without the decimal point it is a whole number of hundredths of a percent.
            figure.replace('.', "").parse::<f64>().ok().map(|v| v / 1e4)
        });
        MethodRow {
            method: method.name.clone(),
            seeds: method.seeds.len(),
            total: score.total.0,
            total_deviation: score.total.1,
            head: score.head.0,
            head_deviation: score.head.1,
            medium: score.medium.0,
            medium_deviation: score.medium.1,
            tail: score.tail.0,
            tail_deviation: score.tail.1,
            mean_rank,
            train_seconds: Some(method.train_seconds),
            total_quoted: quoted.total,
            head_quoted: quoted.head,
            medium_quoted: quoted.medium,
            tail_quoted: quoted.tail,
            remarks: (method.remarks.iter())
                .map(|(seed, remark)| format!("seed {seed}: {remark}"))
                .collect::<Vec<_>>()
                .join("; "),
        }
    }
}

impl MethodRow {
    /// The row of a random order.
    fn chance(chance: &Chance) -> Self {
        MethodRow {
            method: chance::NAME.to_owned(),
            seeds: 0,
            total: chance.means.total,
            total_deviation: None,
            head: chance.means.head,
            head_deviation: None,
            medium: chance.means.medium,
            medium_deviation: None,
            tail: chance.means.tail,
            tail_deviation: None,
            mean_rank: None,
            train_seconds: None,
            total_quoted: None,
            head_quoted: None,
            medium_quoted: None,
            tail_quoted: None,
            remarks: String::new(),
        }
    }
}

/// A run, a row of `runs.csv`; one that is left out only has name, seed, folder and reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// The method's name.
    pub method: String,
    /// The run's seed.
    pub seed: u64,
    /// mAP over all classes, in [0, 1].
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
    /// Training time in seconds.
    #[serde(serialize_with = "number::one_decimal")]
    pub train_seconds: Option<f64>,
    /// Training images per second.
    #[serde(serialize_with = "number::two_decimals")]
    pub images_per_second: Option<f64>,
    /// The split's hash.
    pub split: String,
    /// The run's folder.
    pub folder: String,
    /// Why the run is left out; empty for the others.
    pub left_out: String,
    /// What is wrong with the run, one sentence each; empty if nothing is known.
    #[serde(default)]
    pub remarks: String,
}

impl RunRow {
    fn new(run: &Run) -> Self {
        let means = &run.groups.means;
        RunRow {
            method: run.method.clone(),
            seed: run.manifest.seed,
            total: means.total,
            head: means.head,
            medium: means.medium,
            tail: means.tail,
            train_seconds: Some(run.manifest.train_seconds),
            images_per_second: run.manifest.images_per_second(),
            split: run.manifest.split_hash.clone(),
            folder: run.folder.display().to_string(),
            left_out: String::new(),
            remarks: run.remarks.join("; "),
        }
    }

    fn left_out(out: &LeftOut) -> Self {
        RunRow {
            method: out.method.clone(),
            seed: out.seed,
            total: None,
            head: None,
            medium: None,
            tail: None,
            train_seconds: None,
            images_per_second: None,
            split: String::new(),
            folder: out.folder.display().to_string(),
            left_out: out.reason.clone(),
            remarks: String::new(),
        }
    }
}

/// Adds the table of classes by descending training count: the expected AP of a random order, and
/// for each method the AP and its standard deviation.
fn classes(study: &Study, tables: &mut Tables) -> Result<()> {
    let mut header = ["class", "group", "train_count", "positives", "chance"]
        .map(str::to_owned)
        .to_vec();
    for method in &study.methods {
        header.extend([method.name.clone(), format!("{}_deviation", method.name)]);
    }
    let row = |place: usize| {
        let class = &study.classes()[place];
        let mut row = vec![
            Cell::Text(class.name.clone()),
            Cell::Text(class.group.to_string()),
            Cell::Whole(class.train_count),
            Cell::Whole(class.positives),
            Cell::Number(study.chance_of(place)),
        ];
        for method in &study.methods {
            row.push(Cell::Number(method.class_scores[place]));
            row.push(Cell::Number(method.class_deviations[place]));
        }
        row
    };
    let rows: Vec<Vec<Cell>> = study.class_order().into_iter().map(row).collect();
    tables.add_cells("per_class", &header, &rows)
}

/// Adds the table of the settings that differ, one column per method.
fn settings(study: &Study, tables: &mut Tables) -> Result<()> {
    let names = study.methods.iter().map(|method| method.name.clone());
    let header: Vec<String> = ["key".to_owned()].into_iter().chain(names).collect();
    let row = |setting: &Setting| {
        let cells = [&setting.key].into_iter().chain(&setting.values);
        cells.map(|cell| Cell::Text(cell.clone())).collect()
    };
    let rows: Vec<Vec<Cell>> = study.settings.iter().map(row).collect();
    tables.add_cells("settings", &header, &rows)
}

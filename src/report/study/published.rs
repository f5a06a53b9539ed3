//! The paper's table: its order, its method names, its scores.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::collect::Run;
use crate::metrics::PerGroup;

/// Methods in the order of the paper's table, with their names there.
const ORDER: [(&str, &str); 14] = [
    ("erm", "ERM"),
    ("rw", "RW"),
    ("focal", "Focal"),
    ("rs", "RS"),
    ("rs-focal", "RS-Focal"),
    ("ml-gcn", "ML-GCN"),
    ("oltr", "OLTR"),
    ("ldam", "LDAM"),
    ("cb-focal", "CB-Focal"),
    ("r-bce", "R-BCE"),
    ("r-bce-focal", "R-BCE-Focal"),
    ("ntr", "NTR"),
    ("db", "DB"),
    ("db-focal", "DB-Focal"),
];

/// Where the published scores come from, for people.
pub(super) const SOURCE: &str = "quoted from Wu et al., Distribution-Balanced Loss, ECCV 2020 \
    (ResNet-50), partly second-hand; not measured here";

/// How much of a published row was checked against a public source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Checked {
    /// All four scores.
    Row,
    /// Only the total.
    Total,
    /// None of them.
    None,
}

/// A published row.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Published {
    benchmark: String,
    method: String,
    total: String,
    head: String,
    medium: String,
    tail: String,
    /// How much of it was checked.
    pub checked: Checked,
}

impl Published {
    /// Returns mAP in percent, with the published digits.
    pub fn percent(&self) -> PerGroup<&str> {
        PerGroup {
            total: &self.total,
            head: &self.head,
            medium: &self.medium,
            tail: &self.tail,
        }
    }
}

fn table() -> &'static [Published] {
    static TABLE: OnceLock<Vec<Published>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut reader = csv::ReaderBuilder::new()
            .comment(Some(b'#'))
            .from_reader(include_str!("published.csv").as_bytes());
        // The file is embedded in the program, and a test reads every row of it.
        reader.deserialize().filter_map(Result::ok).collect()
    })
}

/// Returns the published row of a method on a benchmark.
pub(super) fn find(benchmark: &str, method: &str) -> Option<Published> {
    let method = method.rsplit('/').next().unwrap_or(method);
    (table().iter())
        .find(|row| row.benchmark == benchmark && row.method == method)
        .cloned()
}

/// Returns the benchmark of the runs, if scores were published for it. It is recognised by the name
/// of the experiment and the number of classes, so that other data under the same name do not count
/// as the benchmark.
pub(super) fn benchmark(runs: &[Run]) -> Option<&'static str> {
    [("voc-mlt", 20, "aeroplane"), ("coco-mlt", 80, "hair drier")]
        .into_iter()
        .find(|(name, classes, one)| {
            runs.iter().all(|run| {
                let named = run.manifest.experiment.strip_prefix(name);
                named.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
                    && run.classes.len() == *classes
                    && run.classes.iter().any(|class| class.name == *one)
            })
        })
        .filter(|_| !runs.is_empty())
        .map(|(name, ..)| name)
}

/// Returns the position of a method in the paper's table, or one after its end for other methods.
pub(super) fn place(method: &str) -> usize {
    let place = ORDER.iter().position(|(name, _)| *name == method);
    place.unwrap_or(ORDER.len())
}

/// Returns the method's name as written in the paper, or its own name.
pub(super) fn title(method: &str) -> String {
    let (experiment, own) = match method.rsplit_once('/') {
        Some((experiment, own)) => (format!("{experiment}/"), own),
        None => (String::new(), method),
    };
    let known = ORDER.iter().find(|(name, _)| *name == own);
    format!("{experiment}{}", known.map_or(own, |(_, title)| title))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_published_row_is_read_and_is_a_method_of_the_order() {
        let lines = include_str!("published.csv").lines();
        let rows = lines.filter(|line| !line.starts_with('#')).count() - 1;
        assert_eq!((table().len(), rows), (24, 24));
        for row in table() {
            assert!(place(&row.method) < ORDER.len(), "{}", row.method);
            for (_, figure) in row.percent().iter() {
                let value: f64 = figure.parse().unwrap();
                assert!((20.0..90.0).contains(&value), "{figure}");
            }
        }
        let row = find("voc-mlt", "db-focal").unwrap();
        let figures: Vec<&str> = row.percent().iter().map(|(_, f)| *f).collect();
        assert_eq!(figures, ["78.94", "73.22", "84.18", "79.30"]);
        assert_eq!(row.checked, Checked::Row);
        assert_eq!(find("voc-mlt", "r-bce"), None);
        assert_eq!(find("shapes", "erm"), None);
    }
}

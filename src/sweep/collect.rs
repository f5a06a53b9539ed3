//! The comparison of a sweep, from what its runs left in their folders.

use std::path::Path;

use super::plan::{Plan, PlannedRun};
use super::state::{is_finished, manifest_of};
use crate::data::split::Split;
use crate::error::{Error, Result};
use crate::metrics::GroupScores;
use crate::report::compare::{Comparison, Entry};
use crate::report::evaluation::ClassScore;
use crate::run_dir::Manifest;

/// What a sweep has come to.
#[derive(Debug)]
pub struct Collected {
    /// The runs that are finished, side by side.
    pub comparison: Comparison,
    /// Names of the others.
    pub missing: Vec<String>,
}

/// Compares the finished runs and writes the tables into the sweep's folder.
pub fn collect(plan: &Plan, split: &Split) -> Result<Collected> {
    let (mut entries, mut missing) = (Vec::new(), Vec::new());
    for run in &plan.runs {
        let folder = plan.run_dir(run);
        match manifest_of(&folder, run, split) {
            Some(manifest) if is_finished(&folder, &manifest) => {
                let table = folder.eval("test").join("per_class.csv");
                entries.push(entry(run, &manifest, &table, split)?);
            }
            _ => missing.push(run.name.clone()),
        }
    }
    let comparison = Comparison::new(&plan.name, entries);
    comparison.write(&plan.home)?;
    Ok(Collected {
        comparison,
        missing,
    })
}

fn entry(run: &PlannedRun, manifest: &Manifest, table: &Path, split: &Split) -> Result<Entry> {
    let precisions = average_precisions(table, split.classes())?;
    let counts = split.train.class_counts();
    let positives = split.test.class_counts();
    let classes = split
        .classes()
        .iter()
        .enumerate()
        .map(|(i, name)| ClassScore {
            name: name.clone(),
            group: split.groups[i],
            train_count: counts[i],
            positives: positives[i],
            average_precision: precisions[i],
        });
    Ok(Entry {
        method: run.experiment.method.clone(),
        seed: run.experiment.seed,
        groups: GroupScores::new(&precisions, &split.groups),
        classes: classes.collect(),
        train_seconds: manifest.train_seconds,
        images_per_second: manifest.images_per_second(),
    })
}

/// AP of every class from `per_class.csv`, which holds all digits of it.
fn average_precisions(path: &Path, classes: &[String]) -> Result<Vec<Option<f64>>> {
    let wrong = |problem: String| {
        Error::file(path, problem).hint("evaluate the run again: `dbloss eval RUN`")
    };
    let mut csv = csv::Reader::from_reader(fs_err::File::open(path)?);
    let header = csv.headers().map_err(|e| wrong(e.to_string()))?.clone();
    let column = |name: &str| {
        let found = header.iter().position(|column| column == name);
        found.ok_or_else(|| wrong(format!("has no column `{name}`")))
    };
    let (class, precision) = (column("class")?, column("average_precision")?);
    let mut found = Vec::new();
    for record in csv.records() {
        let record = record.map_err(|e| wrong(e.to_string()))?;
        let expected = classes.get(found.len());
        if record.get(class) != expected.map(String::as_str) {
            return Err(wrong("does not list the classes of the split".to_owned()));
        }
        found.push(match record.get(precision).unwrap_or_default() {
            "" => None,
            text => {
                let value = text.parse();
                Some(value.map_err(|_| wrong(format!("`{text}` is not a number")))?)
            }
        });
    }
    if found.len() != classes.len() {
        return Err(wrong(format!(
            "has {} classes of {}",
            found.len(),
            classes.len()
        )));
    }
    Ok(found)
}

//! The comparison of a sweep, from what its runs left in their folders.

use std::path::Path;

use super::plan::{Plan, PlannedRun};
use super::state::{is_finished, manifest_of};
use crate::data::split::Split;
use crate::error::{Error, Result};
use crate::metrics::GroupScores;
use crate::report::class_scores;
use crate::report::compare::{Comparison, Entry};
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
    let classes = class_scores::read(table)?;
    if !classes.iter().map(|class| &class.name).eq(split.classes()) {
        let problem = "does not list the classes of the split";
        return Err(Error::file(table, problem).hint(class_scores::AGAIN));
    }
    let precisions: Vec<Option<f64>> = classes.iter().map(|c| c.average_precision).collect();
    Ok(Entry {
        method: run.experiment.method.clone(),
        seed: run.experiment.seed,
        groups: GroupScores::new(&precisions, &split.groups),
        classes,
        train_seconds: manifest.train_seconds,
        images_per_second: manifest.images_per_second(),
    })
}

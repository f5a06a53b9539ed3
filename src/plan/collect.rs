//! The comparison of a plan's runs, from the files in their folders.

use std::path::Path;

use super::folder::{Plan, PlannedRun};
use super::state::{is_finished, manifest_of};
use crate::data::split::{Set, Split};
use crate::error::{Error, Result};
use crate::metrics::GroupScores;
use crate::report::class_scores;
use crate::report::compare::{Comparison, Entry};
use crate::report::evaluation;
use crate::run_dir::Manifest;

/// The results of a plan so far.
#[derive(Debug)]
pub struct Collected {
    /// The comparison of the finished runs; `None` if there are none.
    pub comparison: Option<Comparison>,
    /// Names of the runs that are not finished.
    pub missing: Vec<String>,
}

/// Compares the finished runs and writes the tables into the plan's folder.
pub fn collect(plan: &Plan, split: &Split) -> Result<Collected> {
    let (mut entries, mut missing) = (Vec::new(), Vec::new());
    for (run, asked) in
        (plan.runs.iter().map(|run| (run, true))).chain(plan.earlier.iter().map(|run| (run, false)))
    {
        let folder = plan.run_dir(run);
        match manifest_of(&folder, run, split) {
            Some(manifest) if is_finished(&folder, &manifest, &plan.sets) => {
                let scored = folder.eval(Set::Test);
                entries.push(entry(run, &manifest, &scored, split)?);
            }
            _ if asked => missing.push(run.name.clone()),
            _ => {}
        }
    }
    let comparison = match entries.is_empty() {
        true => None,
        false => {
            let comparison = Comparison::new(&plan.name, entries);
            comparison.write(&plan.home)?;
            Some(comparison)
        }
    };
    Ok(Collected {
        comparison,
        missing,
    })
}

fn entry(run: &PlannedRun, manifest: &Manifest, scored: &Path, split: &Split) -> Result<Entry> {
    let table = &scored.join("per_class.csv");
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
        remarks: manifest.remarks(evaluation::all_alike(&scored.join("scores.csv"))?),
    })
}

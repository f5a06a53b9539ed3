//! Finds run folders and reads their contents.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::curve::{self, Curve};
use crate::config::leaves;
use crate::data::labels::Group;
use crate::data::split::Set;
use crate::error::{Error, Result};
use crate::metrics::GroupScores;
use crate::report::class_scores::{self, ClassScore};
use crate::report::evaluation::all_alike;
use crate::run_dir::{Manifest, RunDir, Status};

/// A finished run with an evaluation.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its folder.
    pub folder: PathBuf,
    /// The method: the row of the tables that the run belongs to.
    pub method: String,
    /// The run's manifest.
    pub manifest: Manifest,
    /// The run's configuration as dotted keys and values, without name, method and seed.
    pub settings: BTreeMap<String, String>,
    /// The scores of every class, in index order.
    pub classes: Vec<ClassScore>,
    /// mAP over all classes and over each group.
    pub groups: GroupScores,
    /// Training loss by step.
    pub loss: Curve,
    /// mAP on the validation part by epoch, where x = 1 is the end of the first epoch; empty
    /// without a validation part.
    pub validation: Curve,
    /// What is wrong with the run, one sentence each ([`Manifest::remarks`]); the tables mark its
    /// method.
    pub remarks: Vec<String>,
}

/// A run that is left out of the report.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LeftOut {
    /// Its folder.
    pub folder: PathBuf,
    /// The method's name.
    pub method: String,
    /// The seed.
    pub seed: u64,
    /// Why it is left out.
    pub reason: String,
}

/// A folder with a manifest.
pub(super) struct Found {
    folder: PathBuf,
    manifest: Manifest,
}

/// Returns every run in `paths` and the folders below them, each once, ordered by path.
pub(super) fn find(paths: &[PathBuf]) -> Result<Vec<Found>> {
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    for path in paths {
        if !path.is_dir() {
            return Err(Error::file(path, "is not a folder")
                .hint("give the folders of runs, or a folder that contains them"));
        }
        let before = found.len();
        let mut folders = vec![path.clone()];
        while let Some(folder) = folders.pop() {
            let file = RunDir::new(&folder).manifest();
            if file.is_file() {
                match Manifest::read(&file) {
                    Ok(manifest) => {
                        if seen.insert(fs_err::canonicalize(&folder)?) {
                            found.push(Found { folder, manifest });
                        }
                        continue;
                    }
                    Err(error) if folder == *path => return Err(error),
                    // Other programs write files of that name too.
                    Err(error) => tracing::warn!("left out: {error}"),
                }
            }
            for entry in fs_err::read_dir(&folder)? {
                let entry = entry?;
                // Links are not followed, because they could form a cycle.
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        if found.len() == before && !seen.contains(&fs_err::canonicalize(path)?) {
            tracing::warn!(
                "{}: contains no run that is not counted yet",
                path.display()
            );
        }
    }
    found.sort_by(|a, b| a.folder.cmp(&b.folder));
    Ok(found)
}

/// Returns the first characters of a hash.
pub(super) fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}

/// Reads every run. Those that are unfinished or not evaluated on `set` are returned as the second
/// part.
pub(super) fn read(found: Vec<Found>, set: Set) -> Result<(Vec<Run>, Vec<LeftOut>)> {
    // The same method name in two experiments makes two rows.
    let mut experiments: BTreeMap<String, HashSet<String>> = BTreeMap::new();
    for Found { manifest, .. } in &found {
        let names = experiments.entry(manifest.method.clone()).or_default();
        names.insert(manifest.experiment.clone());
    }
    let read: Vec<Result<Result<Run, LeftOut>>> = (found.into_par_iter())
        .map(|found| {
            let method = match experiments[&found.manifest.method].len() {
                1 => found.manifest.method.clone(),
                _ => format!("{}/{}", found.manifest.experiment, found.manifest.method),
            };
            read_run(found, method, set)
        })
        .collect();
    let (mut runs, mut left_out) = (Vec::new(), Vec::new());
    for run in read {
        match run? {
            Ok(run) => runs.push(run),
            Err(out) => left_out.push(out),
        }
    }
    Ok((runs, left_out))
}

fn read_run(found: Found, method: String, set: Set) -> Result<Result<Run, LeftOut>> {
    let Found { folder, manifest } = found;
    let run = RunDir::new(&folder);
    let left_out = |reason: String| LeftOut {
        folder: folder.clone(),
        method: method.clone(),
        seed: manifest.seed,
        reason,
    };
    match manifest.status {
        Status::Finished => {}
        Status::Running => {
            return Ok(Err(left_out(
                "not finished: it is still running, or was killed".into(),
            )));
        }
        Status::Interrupted => return Ok(Err(left_out("interrupted".into()))),
        Status::Failed => {
            let error = manifest.error.as_deref().unwrap_or("for an unknown reason");
            return Ok(Err(left_out(format!("failed: {error}"))));
        }
    }
    let Some(scores) = evaluation(&run, set) else {
        let reason = format!("not evaluated on {set}: `dbloss eval {}`", folder.display());
        return Ok(Err(left_out(reason)));
    };
    let classes = class_scores::read(&scores)?;
    // Scores produced by other programs may lack the overall metrics.
    let overall = scores.with_file_name("scores.csv");
    let alike = overall.is_file() && all_alike(&overall)?;
    let values: Vec<Option<f64>> = classes.iter().map(|c| c.average_precision).collect();
    let groups: Vec<Group> = classes.iter().map(|c| c.group).collect();
    Ok(Ok(Run {
        settings: read_settings(&run.config())?,
        groups: GroupScores::new(&values, &groups),
        classes,
        loss: curve::loss(&run),
        validation: curve::validation(&run),
        remarks: manifest.remarks(alike),
        method,
        manifest,
        folder,
    }))
}

/// Returns the path of the class table: in the run's folder, or beside the manifest if only the
/// small files were kept.
fn evaluation(run: &RunDir, set: Set) -> Option<PathBuf> {
    let beside = (set == Set::Test).then(|| run.path().join("per_class.csv"));
    [Some(run.eval(set).join("per_class.csv")), beside]
        .into_iter()
        .flatten()
        .find(|path| path.is_file())
}

/// Reads the configuration as dotted keys.
fn read_settings(path: &Path) -> Result<BTreeMap<String, String>> {
    let mut settings = BTreeMap::new();
    if !path.is_file() {
        return Ok(settings);
    }
    let text = fs_err::read_to_string(path)?;
    let table: toml::Table = text
        .parse()
        .map_err(|e| Error::file(path, format_args!("is not TOML: {e}")))?;
    for (key, value) in leaves(&table) {
        let text = match value {
            toml::Value::String(text) => text,
            other => other.to_string(),
        };
        settings.insert(key, text);
    }
    // A split is identified by its hash: subsets of one test set have their own folders and seeds.
    for key in ["name", "method", "seed", "split_folder", "split.seed"] {
        settings.remove(key);
    }
    Ok(settings)
}

/// Rejects two runs of one method with the same seed on the same split, and runs with different
/// classes.
pub(super) fn check_pairs(runs: &[Run]) -> Result<()> {
    let mut seen: BTreeMap<(&str, &str, u64), &Path> = BTreeMap::new();
    for run in runs {
        let manifest = &run.manifest;
        let key = (
            run.method.as_str(),
            manifest.split_hash.as_str(),
            manifest.seed,
        );
        if let Some(other) = seen.insert(key, &run.folder) {
            let problem = format!(
                "is `{}` with seed {}, as is {}",
                run.method,
                run.manifest.seed,
                other.display()
            );
            return Err(Error::file(&run.folder, problem)
                .hint("there can be one run per method and seed: leave out one of the folders"));
        }
        let names = |run: &Run| -> Vec<String> {
            run.classes.iter().map(|class| class.name.clone()).collect()
        };
        if names(run) != names(&runs[0]) {
            let problem = format!("has other classes than {}", runs[0].folder.display());
            return Err(Error::file(&run.folder, problem).hint("report them separately"));
        }
    }
    Ok(())
}

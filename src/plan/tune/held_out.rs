//! Finds the scores in a tuning of images that a training did not see.

use std::path::{Path, PathBuf};

use super::ChosenRow;
use crate::data::split::Set;
use crate::error::{Error, Result};
use crate::rows;
use crate::run_dir::RunDir;

/// Returns the files of scores in the tuning at `tuned`, one per fold: from the training with the
/// setting chosen for `method`, for the training images that the fold held out.
///
/// # Errors
/// Fails if the folder is not that of a tuning, if the tuning lacks the method, or if its trials
/// have been removed.
pub fn held_out(tuned: &Path, method: &str) -> Result<Vec<PathBuf>> {
    let beginning = format!("{method}{}-s", setting(tuned, method)?);
    let mut files = Vec::new();
    for number in 1.. {
        let trials = tuned.join("trials").join(format!("fold-{number}"));
        if number > 1 && !trials.is_dir() {
            break;
        }
        let run = RunDir::new(trials.join(trial(&trials, &beginning)?));
        files.push(run.eval(Set::Test).join("predictions.csv"));
    }
    Ok(files)
}

/// Returns the setting that the tuning chose for `method`.
fn setting(tuned: &Path, method: &str) -> Result<String> {
    let path = tuned.join("chosen.csv");
    if !path.is_file() {
        return Err(
            Error::file(tuned, "contains no tuning: there is no `chosen.csv`")
                .hint("name the folder that `dbloss tune` wrote, `<out>/<name>`"),
        );
    }
    let chosen: Vec<ChosenRow> = rows::read(&path)?;
    let names = chosen.iter().map(|row| row.method.as_str());
    match chosen.iter().find(|row| row.method == method) {
        Some(row) => Ok(row.setting.clone()),
        None => {
            let problem = format!("has no method `{method}`");
            Err(Error::file(&path, problem).did_you_mean(method, names))
        }
    }
}

/// Returns the name of the run in `trials` that consists of `beginning` and a seed.
fn trial(trials: &Path, beginning: &str) -> Result<String> {
    let is_it = |name: &String| {
        let seed = name.strip_prefix(beginning);
        seed.is_some_and(|seed| !seed.is_empty() && seed.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let folders = fs_err::read_dir(trials).into_iter().flatten().flatten();
    let names = folders.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(is_it).min().ok_or_else(|| {
        let problem = format!("contains no training called `{beginning}...`");
        Error::file(trials, problem).hint("the folder of a tuning is needed with its trials")
    })
}

//! What runs of several splits have in common.

use std::collections::BTreeMap;

use super::collect::{Run, short};
use super::images;
use crate::data::split::{Set, Split};
use crate::error::{Error, Result};

/// What the runs of a study share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splits {
    /// One split.
    One,
    /// The test set; they were trained on several subsets.
    Subsets,
    /// Neither, which was allowed.
    Different,
}

/// What the splits share. Different test sets are refused unless that is `allowed`: figures of
/// different classes and images are no comparison.
pub(super) fn check(runs: &[Run], set: Set, allowed: bool) -> Result<Splits> {
    let mut others = runs.iter();
    let Some(first) = others.next() else {
        return Ok(Splits::One);
    };
    let Some(other) = others.find(|run| run.manifest.split_hash != first.manifest.split_hash)
    else {
        return Ok(Splits::One);
    };
    if set == Set::Test && share_test_set(runs) {
        return Ok(Splits::Subsets);
    }
    if allowed {
        tracing::warn!("the runs have different splits: no test over images, and gains mix both");
        return Ok(Splits::Different);
    }
    let problem = format!(
        "has another split than {} ({} and {})",
        first.folder.display(),
        short(&other.manifest.split_hash),
        short(&first.manifest.split_hash),
    );
    Err(Error::file(&other.folder, problem).hint(
        "report them apart, or pass `--allow-different-splits` if their classes are the same",
    ))
}

/// Whether all runs were scored on one test set: the same images with the same labels. Not known
/// where a split is not there.
fn share_test_set(runs: &[Run]) -> bool {
    let mut splits: BTreeMap<&str, &Run> = BTreeMap::new();
    for run in runs {
        splits.entry(&run.manifest.split_hash).or_insert(run);
    }
    let mut tables = splits.values().map(|run| {
        let folder = images::split_folders(run)
            .into_iter()
            .find(|folder| Split::is_in(folder))?;
        let split = Split::read(&folder).ok()?;
        (split.hash == run.manifest.split_hash).then_some(split.test)
    });
    match tables.next() {
        Some(Some(first)) => tables.all(|table| table.is_some_and(|table| table == first)),
        _ => false,
    }
}

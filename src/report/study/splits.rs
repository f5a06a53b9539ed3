//! What runs with several splits have in common.

use std::collections::{BTreeMap, BTreeSet};

use super::collect::{Run, short};
use super::images;
use super::method::Method;
use crate::data::split::{Set, Split};
use crate::error::{Error, Result};

/// What the runs of a study share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splits {
    /// One split.
    One,
    /// The test set; they were trained on several subsets.
    Subsets,
    /// Neither, which was explicitly allowed.
    Different,
}

/// What the runs share, and what is known about their training sets.
pub(super) struct Shared {
    /// What they share.
    pub splits: Splits,
    /// Hashes of the splits whose training sets are as balanced as their pools allow.
    balanced: BTreeSet<String>,
}

impl Shared {
    /// Returns a remark on a method that shares no training set with the baseline; `None` if it
    /// shares one, and if the whole report is on different splits.
    pub(super) fn apart(&self, method: &Method, baseline: &Method) -> Option<String> {
        let shares = |subset| baseline.subsets.contains(subset);
        if self.splits != Splits::Subsets || method.subsets.iter().any(shares) {
            return None;
        }
        let is_balanced = |subset| self.balanced.contains(subset);
        Some(match method.subsets.iter().all(is_balanced) {
            true => "trained on another training set of the same size, as balanced as the pool \
                     allows"
                .to_owned(),
            false => format!("trained on another training set than {}", baseline.title),
        })
    }
}

/// Determines what the splits share. Splits whose test sets differ, or cannot be compared, are
/// rejected unless that is `allowed`: scores on different classes and images are not comparable.
pub(super) fn check(runs: &[Run], set: Set, allowed: bool) -> Result<Shared> {
    let all = |splits| Shared {
        splits,
        balanced: BTreeSet::new(),
    };
    let mut others = runs.iter();
    let Some(first) = others.next() else {
        return Ok(all(Splits::One));
    };
    let Some(other) = others.find(|run| run.manifest.split_hash != first.manifest.split_hash)
    else {
        return Ok(all(Splits::One));
    };
    if set == Set::Test
        && let Some(splits) = read(runs)
        && splits.windows(2).all(|pair| pair[0].test == pair[1].test)
    {
        let balanced = splits.iter().filter(|split| split.manifest.config.balanced);
        return Ok(Shared {
            splits: Splits::Subsets,
            balanced: balanced.map(|split| split.hash.clone()).collect(),
        });
    }
    if allowed {
        tracing::warn!("the runs have different splits: no test over images, and gains mix both");
        return Ok(all(Splits::Different));
    }
    let problem = format!(
        "has another split than {} ({} and {})",
        first.folder.display(),
        short(&other.manifest.split_hash),
        short(&first.manifest.split_hash),
    );
    Err(Error::file(&other.folder, problem).hint(
        "report them separately, or pass `--allow-different-splits` if their classes are the same",
    ))
}

/// Reads the distinct splits of the runs; `None` if one of them cannot be found.
fn read(runs: &[Run]) -> Option<Vec<Split>> {
    let mut splits: BTreeMap<&str, &Run> = BTreeMap::new();
    for run in runs {
        splits.entry(&run.manifest.split_hash).or_insert(run);
    }
    let one = |run: &&Run| {
        let folder = images::split_folders(run)
            .into_iter()
            .find(|folder| Split::is_in(folder))?;
        let split = Split::read(&folder).ok()?;
        (split.hash == run.manifest.split_hash).then_some(split)
    };
    splits.values().map(one).collect()
}

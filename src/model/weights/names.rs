//! Finds the tensors of a file that belong to the network: those under one prefix.
//!
//! A checkpoint nests its weights (`state_dict`, `model`, `teacher.backbone`), and wrappers put a
//! word before every name (`module.`). Both are prefixes of the joined names, and the one under
//! which most of the network's tensors are found is used.

use std::collections::{BTreeMap, HashMap};

use super::weight::Weight;
use crate::model::names::OWN;

/// The tensors under one prefix, keyed by the rest of their names.
pub(super) struct Chosen {
    /// The prefix: empty, or ending in a dot.
    pub prefix: String,
    pub tensors: BTreeMap<String, Weight>,
    /// The number of tensors elsewhere in the file.
    pub elsewhere: usize,
    /// Another prefix under which as many tensors fit, for example that of an average of the
    /// weights.
    pub rival: Option<String>,
}

/// Chooses the prefix under which most names of `wanted` are found with their shapes.
pub(super) fn choose(tensors: Vec<(String, Weight)>, wanted: &HashMap<&str, &[usize]>) -> Chosen {
    // Per prefix: tensors that fit, names that fit, position in the file (earlier is better).
    let mut votes: HashMap<&str, (usize, usize, usize)> = HashMap::new();
    for (place, (name, stored)) in tensors.iter().enumerate() {
        let starts = std::iter::once(0).chain(name.match_indices('.').map(|(at, _)| at + 1));
        for (prefix, bare) in starts.map(|at| name.split_at(at)) {
            if let Some(shape) = wanted.get(bare) {
                let vote = votes.entry(prefix).or_insert((0, 0, usize::MAX - place));
                vote.0 += usize::from(*shape == stored.shape);
                vote.1 += 1;
            }
        }
    }
    let mut ranking: Vec<_> = votes.into_iter().collect();
    ranking.sort_by_key(|(_, vote)| std::cmp::Reverse(*vote));
    let prefix = ranking.first().map_or("", |(prefix, _)| *prefix).to_owned();
    let rival = match ranking.as_slice() {
        [(_, first), (rival, second), ..] if first.0 == second.0 && first.0 > 0 => {
            Some((*rival).to_owned())
        }
        _ => None,
    };
    let total = tensors.len();
    let mut under = BTreeMap::new();
    for (name, stored) in tensors {
        if let Some(bare) = name.strip_prefix(&prefix) {
            under.entry(bare.to_owned()).or_insert(stored);
        }
    }
    Chosen {
        elsewhere: total - under.len(),
        prefix,
        tensors: under,
        rival,
    }
}

/// Returns the block that a tensor belongs to, which is its name up to the first component that is
/// a number: `layer3.5` for `layer3.5.conv1.weight`. Returns `None` for stems and classifiers.
pub(super) fn block(name: &str) -> Option<&str> {
    let mut end = 0;
    for part in name.split('.') {
        end += part.len();
        if part.bytes().all(|b| b.is_ascii_digit()) && !part.is_empty() {
            return name.get(..end);
        }
        end += 1;
    }
    None
}

/// Returns the name with every number replaced, so that it is equal for the same tensor of another
/// block.
pub(super) fn pattern(name: &str) -> String {
    let parts = name.split('.').map(|part| {
        let base = part.trim_end_matches(|c: char| c.is_ascii_digit());
        if base.len() < part.len() {
            format!("{base}#")
        } else {
            part.to_owned()
        }
    });
    parts.collect::<Vec<_>>().join(".")
}

/// Returns whether a name belongs to a classifier, including the neck and head of an exported
/// model. Every file has its own, and none is used here.
pub(super) fn is_classifier(name: &str) -> bool {
    let first = name.split('.').next().unwrap_or_default();
    [
        "fc",
        "classifier",
        "head",
        "heads",
        "last_linear",
        "output",
        "linear",
        OWN,
    ]
    .contains(&first)
}

/// Returns whether a name is that of a batch counter in a batch norm, which is not used.
pub(super) fn is_counter(name: &str) -> bool {
    name.ends_with("num_batches_tracked")
}

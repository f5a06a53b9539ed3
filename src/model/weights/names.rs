//! Which of a file's tensors belong to the network: names under one prefix.
//!
//! A checkpoint nests its weights (`state_dict`, `model`, `teacher.backbone`), and wrappers put a
//! word before every name (`module.`). Both are prefixes of the joined names, and the one under
//! which most of the network's tensors lie is taken.

use std::collections::{BTreeMap, HashMap};

use super::weight::Weight;
use crate::model::names::OWN;

/// The tensors under one prefix, by the rest of their names.
pub(super) struct Chosen {
    /// Empty, or ending with a dot.
    pub prefix: String,
    pub tensors: BTreeMap<String, Weight>,
    /// Tensors elsewhere in the file.
    pub elsewhere: usize,
    /// Another prefix under which as many fit: an average of the weights, say.
    pub rival: Option<String>,
}

/// Chooses the prefix under which most names of `wanted` lie with their shapes.
pub(super) fn choose(tensors: Vec<(String, Weight)>, wanted: &HashMap<&str, &[usize]>) -> Chosen {
    // By prefix: tensors that fit, names that fit, place in the file (earlier is better).
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

/// The block that a tensor lies in: its name up to the first number, `layer3.5` of
/// `layer3.5.conv1.weight`. `None` for stems and classifiers.
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

/// The name with every number replaced: equal for the same tensor of another block.
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

/// Names of classifiers, neck and head of an exported model among them: every file has its own, and
/// none is wanted here.
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

/// Counters of batch norms, which nobody needs.
pub(super) fn is_counter(name: &str) -> bool {
    name.ends_with("num_batches_tracked")
}

//! The bytes of a folder.

use std::collections::BTreeMap;
use std::path::Path;

/// All that a run, a plan or a tuning knows of the clock, by the end of the path. Every other file
/// has to be the same, byte by byte, whatever happened on the way.
pub(crate) const CLOCKS: [&str; 8] = [
    // When and how long: `started_unix`, `train_seconds`.
    "manifest.json",
    "epoch_times.csv",
    // Of a plan: how long each run took; of a tuning: each trial.
    "timings.csv",
    "trials.csv",
    // Of a report: what training took.
    "report/index.html",
    "report/table.csv",
    "report/runs.csv",
    // What processes said, beginning with the time it took.
    ".log",
];

/// Every file below these names of `folder`, by its path from there, with its bytes.
pub(crate) type Tree = BTreeMap<String, Vec<u8>>;

/// The files below `names` in `folder`.
pub(crate) fn tree(folder: &Path, names: &[&str]) -> Tree {
    let mut found = Tree::new();
    for name in names {
        add(folder, &folder.join(name), &mut found);
    }
    found
}

fn add(root: &Path, path: &Path, found: &mut Tree) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            add(root, &entry.unwrap().path(), found);
        }
    } else if path.is_file() {
        let name = path.strip_prefix(root).unwrap().display().to_string();
        found.insert(name, std::fs::read(path).unwrap());
    }
}

/// Fails unless both hold the same files with the same bytes, clocks aside.
pub(crate) fn assert_same(found: &Tree, expected: &Tree, what: &str) {
    let (names, wanted): (Vec<_>, Vec<_>) = (found.keys().collect(), expected.keys().collect());
    assert_eq!(names, wanted, "{what}: other files");
    for (name, bytes) in expected {
        let is_clock = CLOCKS.iter().any(|clock| name.ends_with(clock));
        assert!(is_clock || &found[name] == bytes, "{what}: {name} differs");
    }
}

/// Fails if a file that is written once is there and is not what it ends up as.
pub(crate) fn assert_no_halves(found: &Tree, expected: &Tree, what: &str) {
    // Files that grow, or are written anew as the work goes on.
    let moves = |name: &str| {
        let growing = [
            "steps.csv",
            "epochs.csv",
            ".lock",
            ".replacing",
            "plan.json",
            // Of a tuning: written after the search, and again after the final runs.
            "tune/index.html",
            "tune/sets.csv",
        ];
        let grows = growing.iter().chain(&CLOCKS).any(|end| name.ends_with(end));
        grows || name.contains("/checkpoints/") || name.contains(".writing-")
    };
    for (name, bytes) in found.iter().filter(|(name, _)| !moves(name)) {
        // What is there for a while only, such as a trial's own files, is no result.
        let Some(whole) = expected.get(name) else {
            continue;
        };
        assert!(bytes == whole, "{what}: half of {name}");
    }
    for (name, bytes) in found
        .iter()
        .filter(|(name, _)| name.contains("/checkpoints/"))
    {
        if name.ends_with(".safetensors") && !name.contains(".writing-") {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("c.safetensors");
            std::fs::write(&path, bytes).unwrap();
            let read = dbloss::train::checkpoint::Saved::read(&path, &candle_core::Device::Cpu);
            assert!(
                read.is_ok() || name.ends_with("backbone.safetensors"),
                "{what}: {name}"
            );
        }
    }
}

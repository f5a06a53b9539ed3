//! Comparison of folders byte by byte.

use std::collections::BTreeMap;
use std::path::Path;

/// The endings of the paths that contain times of a run, a plan or a tuning. Every other file must
/// be the same byte by byte, whatever happened.
pub(crate) const CLOCKS: [&str; 8] = [
    // When and how long: `started_unix`, `train_seconds`.
    "manifest.json",
    "epoch_times.csv",
    // How long each run of a plan, or each trial of a tuning, took.
    "timings.csv",
    "trials.csv",
    // The training times in a report.
    "report/index.html",
    "report/table.csv",
    "report/runs.csv",
    // The output of processes, which begins with the elapsed time.
    ".log",
];

/// The files of a folder, each with its relative path and bytes.
pub(crate) type Tree = BTreeMap<String, Vec<u8>>;

/// Returns all files below `names` in `folder`.
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

/// Asserts that both contain the same files with the same bytes, except those with times.
pub(crate) fn assert_same(found: &Tree, expected: &Tree, what: &str) {
    let (names, wanted): (Vec<_>, Vec<_>) = (found.keys().collect(), expected.keys().collect());
    assert_eq!(names, wanted, "{what}: other files");
    for (name, bytes) in expected {
        let is_clock = CLOCKS.iter().any(|clock| name.ends_with(clock));
        assert!(is_clock || &found[name] == bytes, "{what}: {name} differs");
    }
}

/// Asserts that every existing file that is written only once has its final contents.
pub(crate) fn assert_no_halves(found: &Tree, expected: &Tree, what: &str) {
    // Files that grow, or are rewritten as the work proceeds.
    let moves = |name: &str| {
        let growing = [
            "steps.csv",
            "epochs.csv",
            ".lock",
            ".replacing",
            "plan.json",
            // Written by a tuning after the search, and again after the final runs.
            "tune/index.html",
            "tune/sets.csv",
        ];
        let grows = growing.iter().chain(&CLOCKS).any(|end| name.ends_with(end));
        grows || name.contains("/checkpoints/") || name.contains(".writing-")
    };
    for (name, bytes) in found.iter().filter(|(name, _)| !moves(name)) {
        // Temporary files, such as those of a trial, are not results.
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

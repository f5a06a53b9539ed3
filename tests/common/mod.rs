//! Helpers shared by the integration tests.

// Each test program compiles this module for itself and uses a part of it.
#![allow(dead_code)]

pub mod formula;
pub mod small;

use std::path::PathBuf;

/// A file of the golden vectors, or `None` (and a word about it) where it is not.
pub fn golden_file(name: &str) -> Option<PathBuf> {
    shared("DBLOSS_GOLDEN", "../shared/golden", name)
}

/// A file or folder of real pictures and labels, or `None` (and a word about it) where it is not.
pub fn real_data(name: &str) -> Option<PathBuf> {
    shared("DBLOSS_DATA", "../shared/data", name)
}

fn shared(variable: &str, default: &str, name: &str) -> Option<PathBuf> {
    let folder = std::env::var(variable).unwrap_or_else(|_| default.into());
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(folder)
        .join(name);
    if path.exists() {
        Some(path)
    } else {
        eprintln!(
            "SKIPPED: {} is not there (set {variable} to its folder)",
            path.display()
        );
        None
    }
}

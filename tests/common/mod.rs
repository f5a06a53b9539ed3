//! Helpers shared by the integration tests.

// Each test program compiles this module for itself and uses a part of it.
#![allow(dead_code)]

pub mod formula;
pub mod small;

use std::path::PathBuf;

/// The folder of the golden vectors, or `None` (and a word about it) where there is none.
pub fn golden_file(name: &str) -> Option<PathBuf> {
    let folder = std::env::var("DBLOSS_GOLDEN").unwrap_or_else(|_| "../shared/golden".into());
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(folder)
        .join(name);
    if path.is_file() {
        Some(path)
    } else {
        eprintln!(
            "skipped: no golden vectors at {} (set DBLOSS_GOLDEN to their folder)",
            path.display()
        );
        None
    }
}

/// A file or folder of real pictures and labels, or `None` (and a word about it) where it is not.
pub fn real_data(name: &str) -> Option<PathBuf> {
    let folder = std::env::var("DBLOSS_DATA").unwrap_or_else(|_| "../shared/data".into());
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(folder)
        .join(name);
    if path.exists() {
        Some(path)
    } else {
        eprintln!("skipped: no {} (set DBLOSS_DATA)", path.display());
        None
    }
}

//! Helpers shared by the integration tests.

// Each test program compiles this module separately and uses only a part of it.
#![allow(dead_code)]

pub(crate) mod formula;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
#[allow(unsafe_code, reason = "calls of compiled C++")]
pub(crate) mod host_kernels;
pub(crate) mod parquet;
pub(crate) mod small;
pub(crate) mod tables;
pub(crate) mod torch;
pub(crate) mod tree;

use std::path::PathBuf;

/// Returns the path of a file of the golden vectors: in the folder named by `DBLOSS_GOLDEN`, or by
/// default in the project's own (see tests/golden/README.md).
pub(crate) fn golden_file(name: &str) -> PathBuf {
    below("DBLOSS_GOLDEN", "tests/golden", name)
}

/// Reads a file of the golden vectors.
pub(crate) fn golden(name: &str) -> serde_json::Value {
    let path = golden_file(name);
    let text = std::fs::read(&path).unwrap();
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the path of a file or folder of real pictures and labels, which are not part of the
/// project. A test that uses it has `real_data` in its name and is marked
/// `#[ignore = "needs DBLOSS_DATA"]`, so that its absence is not mistaken for success.
pub(crate) fn real_data(name: &str) -> PathBuf {
    below("DBLOSS_DATA", "../shared/data", name)
}

fn below(variable: &str, default: &str, name: &str) -> PathBuf {
    let folder = std::env::var(variable).unwrap_or_else(|_| default.into());
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(folder)
        .join(name);
    assert!(
        path.exists(),
        "{} is not there: {variable} names its folder",
        path.display()
    );
    path
}

//! Module dependencies: each module of the library uses only the modules listed here.

#[path = "architecture/dependencies.rs"]
mod dependencies;
#[path = "architecture/imports.rs"]
mod imports;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Returns, for each module, the other modules that it may use. See the map in CONTRIBUTING.md.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    let ground = [
        "error",
        "io",
        "layers",
        "memory",
        "progress",
        "range",
        "rng",
        "rows",
        "text",
        "device",
        "interrupt",
        "wording",
    ];
    let plus = |more: &[&'static str]| [&ground[..], more].concat();
    BTreeMap::from([
        ("error", vec![]),
        ("io", vec!["error"]),
        ("layers", vec!["error", "io", "text"]),
        ("memory", vec![]),
        ("progress", vec!["error"]),
        ("range", vec!["error"]),
        ("rng", vec![]),
        ("rows", vec!["error", "io"]),
        ("device", vec!["error", "wording"]),
        ("text", vec!["error"]),
        ("wording", vec![]),
        ("interrupt", vec!["error"]),
        ("metrics", vec!["error", "rng", "data"]),
        ("data", plus(&["ops"])),
        ("ops", plus(&[])),
        ("onnx", vec!["error", "io"]),
        ("loss", plus(&["data", "ops"])),
        ("model", plus(&["data", "onnx", "ops"])),
        ("optim", plus(&["data", "model", "ops"])),
        ("predict", plus(&["data", "model", "ops"])),
        ("features", plus(&["data", "model", "ops", "predict"])),
        ("feeding", plus(&["data", "metrics", "model", "predict"])),
        ("run_dir", plus(&["data"])),
        (
            "train",
            plus(&[
                "data", "ops", "loss", "model", "optim", "predict", "metrics", "run_dir",
            ]),
        ),
        (
            "report",
            plus(&[
                "config", "data", "loss", "metrics", "predict", "run_dir", "train",
            ]),
        ),
        ("config", plus(&["data", "loss", "model", "optim", "train"])),
        (
            "export",
            plus(&["config", "data", "model", "onnx", "report", "run_dir"]),
        ),
        (
            "job",
            plus(&[
                "config", "data", "export", "features", "loss", "metrics", "model", "ops", "optim",
                "predict", "report", "run_dir", "train",
            ]),
        ),
        ("init", plus(&["data", "model"])),
        ("watch", plus(&["config", "run_dir", "train"])),
        (
            "plan",
            plus(&[
                "config", "data", "job", "metrics", "model", "report", "run_dir", "train",
            ]),
        ),
    ])
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Returns the top-level module or program, below `src`, that a file belongs to.
fn room(file: &Path) -> &str {
    let first = file.iter().next().and_then(|name| name.to_str()).unwrap();
    first.trim_end_matches(".rs")
}

#[test]
fn modules_know_only_what_stands_below_them() {
    let (mut read, mut seen, mut wrong) = (0, 0, Vec::new());
    let allowed = allowed();
    for (file, uses) in &imports::uses(&source()) {
        let module = room(file);
        if ["main", "lib", "cli"].contains(&module) {
            continue;
        }
        let Some(allowed) = allowed.get(module) else {
            panic!("`{module}` has no place in the map: add it here and in CONTRIBUTING.md");
        };
        read += 1;
        for (target, names) in uses {
            seen += names.len();
            let known = room(target);
            if known != module && !allowed.contains(&known) {
                wrong.push(format!(
                    "{} uses {} {names:?}",
                    file.display(),
                    target.display()
                ));
            }
        }
    }
    assert!(read > 150, "only {read} files read");
    assert!(seen > 500, "only {seen} uses found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Files can be understood one after the other: no file depends on one that depends on it.
#[test]
fn no_file_uses_what_uses_it() {
    let uses = imports::uses(&source());
    let mut found = String::new();
    for circle in imports::circles(&uses) {
        found += &format!("a circle of {} files:\n", circle.len());
        for file in &circle {
            for (target, names) in &uses[*file] {
                if circle.contains(target.as_path()) {
                    let (file, target) = (file.display(), target.display());
                    found += &format!("  {file} -> {target}: {names:?}\n");
                }
            }
        }
    }
    assert!(found.is_empty(), "{found}");
}

/// Tests the reading of imports itself, on a tree with every kind of path.
#[test]
fn imports_are_followed_to_their_file() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("lib.rs", "pub mod a; mod b; pub use b::Thing;"),
        (
            "a/mod.rs",
            "mod inner; mod quiet; pub use inner::{Deep as Renamed, helper}; pub struct Top;\n\
             #[cfg(test)] mod tests { use crate::b::Secret; }\n\
             #[cfg(test)] mod other_tests;",
        ),
        (
            "a/inner.rs",
            "//! [`crate::b`]\npub struct Deep(super::Top); pub fn helper() -> &'static str { \"crate::b::Thing\" }",
        ),
        (
            "a/quiet.rs",
            "// crate::b::Thing\npub const fn nothing() {}",
        ),
        ("a/other_tests.rs", "use crate::b::Secret;"),
        (
            "b.rs",
            "use crate::a::{self, Renamed}; pub struct Thing; pub struct Secret;\n\
             fn f() { let x = vec![a::helper()]; super::c::g!(dbloss::a::Top) }",
        ),
        ("c.rs", "use super::Thing as T; pub use crate::a::Top;"),
    ] {
        let path = folder.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    let uses = imports::uses(folder.path());
    let of = |file: &str| -> Vec<String> {
        let targets = uses[Path::new(file)].iter();
        targets
            .map(|(target, names)| format!("{} {names:?}", target.display()))
            .collect()
    };
    assert!(of("lib.rs").is_empty(), "{:?}", of("lib.rs"));
    assert!(of("a/mod.rs").is_empty(), "{:?}", of("a/mod.rs"));
    assert_eq!(of("a/inner.rs"), [r#"a/mod.rs {"Top"}"#]);
    assert!(of("a/quiet.rs").is_empty());
    assert!(!uses.contains_key(Path::new("a/other_tests.rs")));
    assert_eq!(
        of("b.rs"),
        [r#"a/inner.rs {"Renamed", "helper"}"#, r#"a/mod.rs {"Top"}"#]
    );
    assert_eq!(of("c.rs"), [r#"b.rs {"Thing"}"#]);
    assert!(imports::circles(&uses).is_empty());
    // Now a lower module uses a higher one.
    fs_err::write(folder.path().join("a/quiet.rs"), "use crate::b::*;").unwrap();
    fs_err::write(
        folder.path().join("a/inner.rs"),
        "pub fn helper() { super::quiet::f() }",
    )
    .unwrap();
    fs_err::write(
        folder.path().join("a/quiet.rs"),
        "use crate::b::*; pub fn f() {}",
    )
    .unwrap();
    let uses = imports::uses(folder.path());
    let circles = imports::circles(&uses);
    let names: Vec<Vec<&str>> = (circles.iter())
        .map(|circle| circle.iter().map(|file| file.to_str().unwrap()).collect())
        .collect();
    assert_eq!(names, [["a/inner.rs", "a/quiet.rs", "b.rs"]]);
}

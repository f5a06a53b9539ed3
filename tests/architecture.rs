//! Who may know whom: each module of the library uses only those named here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// For each module, the modules it may use beside itself. See the map in CONTRIBUTING.md.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    let ground = [
        "error",
        "io",
        "memory",
        "progress",
        "range",
        "rng",
        "device",
        "interrupt",
        "wording",
    ];
    let plus = |more: &[&'static str]| [&ground[..], more].concat();
    BTreeMap::from([
        ("error", vec![]),
        ("io", vec!["error"]),
        ("memory", vec![]),
        ("progress", vec!["error"]),
        ("range", vec!["error"]),
        ("rng", vec![]),
        ("device", vec!["error", "wording"]),
        ("wording", vec![]),
        ("interrupt", vec!["error"]),
        ("metrics", vec!["error", "rng", "data"]),
        ("data", plus(&["ops"])),
        ("ops", plus(&[])),
        ("loss", plus(&["data", "ops"])),
        ("model", plus(&["data", "ops"])),
        ("optim", plus(&["data", "ops"])),
        ("predict", plus(&["data", "model"])),
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
            plus(&["config", "data", "loss", "metrics", "predict", "run_dir"]),
        ),
        ("config", plus(&["data", "loss", "model", "optim", "train"])),
        (
            "job",
            plus(&[
                "config", "data", "loss", "metrics", "model", "ops", "predict", "report",
                "run_dir", "train",
            ]),
        ),
        ("watch", plus(&["config", "run_dir", "train"])),
        (
            "plan",
            plus(&[
                "config", "data", "job", "metrics", "model", "report", "run_dir", "train",
            ]),
        ),
    ])
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// The first path segments after `crate::` in the text, comments left out.
fn used(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let name = |rest: &str| -> String {
        rest.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let names = code
        .split("crate::")
        .skip(1)
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(group) => {
                let group = group.split("};").next().unwrap_or_default();
                group
                    .split(',')
                    .map(|part| name(part.trim_start()))
                    .collect()
            }
            None => vec![name(rest)],
        });
    names.filter(|n| !n.is_empty()).collect()
}

#[test]
fn modules_know_only_what_stands_below_them() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let (mut read, mut uses, mut wrong) = (0, 0, Vec::new());
    let allowed = allowed();
    for file in &files {
        let relative = file.strip_prefix(&source).unwrap();
        let first = relative.components().next().unwrap().as_os_str();
        let module = first.to_str().unwrap().trim_end_matches(".rs");
        if ["main", "lib", "cli"].contains(&module) {
            continue;
        }
        let Some(allowed) = allowed.get(module) else {
            panic!("`{module}` has no place in the map: add it here and in CONTRIBUTING.md");
        };
        read += 1;
        for name in used(&std::fs::read_to_string(file).unwrap()) {
            // `crate::Result` and the like are re-exports of `error`.
            let name = if ["Result", "Error"].contains(&name.as_str()) {
                "error"
            } else {
                &name
            };
            uses += 1;
            if name != module && !allowed.contains(&name) {
                wrong.push(format!("{} uses crate::{name}", relative.display()));
            }
        }
    }
    assert!(read > 20, "only {read} files read");
    assert!(uses > 50, "only {uses} uses found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_lies_in_ops_alone_and_printing_in_cli() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let mut unsafe_blocks = 0;
    for file in &files {
        let relative = file.strip_prefix(&source).unwrap();
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains("unsafe ") || code.contains("unsafe{") {
                unsafe_blocks += 1;
                assert!(
                    relative.starts_with("ops"),
                    "{}: {line}",
                    relative.display()
                );
            }
            if ["println!(", "print!(", "dbg!("]
                .iter()
                .any(|print| code.contains(print))
            {
                assert!(
                    relative.starts_with("cli"),
                    "{}: {line}",
                    relative.display()
                );
            }
        }
    }
    assert!(unsafe_blocks > 0, "the kernels were not read");
}

//! The list of dependencies in CONTRIBUTING.md against `Cargo.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use toml::{Table, Value};

fn text(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Those of a table of the manifest, each with whether its default features are off.
fn of(table: Option<&Value>) -> BTreeMap<String, bool> {
    let table = table.and_then(Value::as_table).into_iter().flatten();
    let is_off = |value: &Value| value.get("default-features") == Some(&Value::Boolean(false));
    table
        .map(|(name, value)| (name.clone(), is_off(value)))
        .collect()
}

/// The names between backticks.
fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest: Table = text("Cargo.toml").parse().unwrap();
    let mut expected = of(manifest.get("dependencies"));
    for of_target in manifest["target"].as_table().unwrap().values() {
        expected.extend(of(of_target.get("dependencies")));
    }
    let guide = text("CONTRIBUTING.md");
    let (_, section) = guide.split_once("## Dependencies").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let mut listed = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert!(!cells[1].is_empty(), "{row}");
        listed.extend(quoted(cells[0]).map(|name| (name, !cells[2].is_empty())));
    }
    assert_eq!(
        listed.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    // What is off is explained; of what stands together in a row, one at least is off.
    for (name, is_off) in expected {
        assert!(
            !is_off || listed[&name],
            "`{name}`: why are its features off?"
        );
    }
    let (_, tests) = section.split_once("For tests").unwrap();
    let for_tests: BTreeSet<String> = quoted(tests).collect();
    assert_eq!(
        for_tests,
        of(manifest.get("dev-dependencies")).into_keys().collect()
    );
}

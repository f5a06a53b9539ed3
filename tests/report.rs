//! `dbloss report` as a user runs it, on the runs that are kept under `results/`.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::prelude::*;

fn dbloss() -> Command {
    let mut command = Command::cargo_bin("dbloss").unwrap();
    command.env_remove("DBLOSS_LOG");
    command
}

fn results() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results")
}

#[test]
fn kept_results_become_a_report_with_the_same_figures() {
    let out = tempfile::tempdir().unwrap();
    let report = out.path().join("report");
    dbloss()
        .arg("report")
        .arg(results().join("voc07"))
        .arg("--out")
        .arg(&report)
        .assert()
        .success()
        .stdout(predicate::str::contains("DB-Focal").and(predicate::str::contains("against ERM")));
    // `dbloss run` wrote comparison.csv, by another way.
    let rows = |path: &Path, columns: &[&str]| -> Vec<Vec<String>> {
        let mut reader = csv::Reader::from_path(path).unwrap();
        let header = reader.headers().unwrap().clone();
        let place = |name: &&str| header.iter().position(|h| h == *name).unwrap();
        let places: Vec<usize> = columns.iter().map(place).collect();
        (reader.records())
            .map(|row| {
                let row = row.unwrap();
                places.iter().map(|&at| row[at].to_owned()).collect()
            })
            .collect()
    };
    let columns = ["method", "total", "head", "medium", "tail"];
    let own = rows(&report.join("table.csv"), &columns);
    let theirs = rows(&results().join("voc07/comparison.csv"), &columns);
    assert_eq!(own.len(), 2);
    assert_eq!(own, theirs);

    // What is there is not written over.
    let again = |force: bool| {
        let mut command = dbloss();
        command.arg("report").arg(results().join("voc07"));
        command.arg("--out").arg(&report);
        command.args(force.then_some("--force")).assert()
    };
    again(false)
        .code(2)
        .stderr(predicate::str::contains("not empty").and(predicate::str::contains("--force")));
    again(true).success();
}

#[test]
fn different_splits_and_missing_folders_are_refused() {
    let out = tempfile::tempdir().unwrap();
    let report = out.path().join("report");
    dbloss()
        .arg("report")
        .args([results().join("voc07"), results().join("voc07-table")])
        .arg("--out")
        .arg(&report)
        .assert()
        .code(2)
        .stderr(
            predicate::str::contains("has another split than")
                .and(predicate::str::contains("--allow-different-splits")),
        );
    assert!(!report.exists(), "an error leaves nothing behind");
    dbloss()
        .args(["report", "no-such-folder", "--out"])
        .arg(&report)
        .assert()
        .code(2)
        .stderr(predicate::str::contains("no-such-folder"));
    dbloss()
        .arg("report")
        .arg(out.path())
        .arg("--out")
        .arg(&report)
        .assert()
        .code(2)
        .stderr(predicate::str::contains("no finished run"));
}

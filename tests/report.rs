//! Tests `dbloss report` as a user runs it, on the runs kept under `results/`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::prelude::*;

use dbloss::report::class_scores::ClassScore;
use dbloss::report::compare::{ScoreRow, TimingRow};
use dbloss::report::evaluation::{GroupRow, MetricRow};
use dbloss::report::study::{MethodRow, RankRow, RunRow, Test};
use dbloss::rows;
use dbloss::train::record::{EpochRecord, EpochTime};

fn dbloss() -> Command {
    let mut command = Command::cargo_bin("dbloss").unwrap();
    command.env_remove("DBLOSS_LOG");
    command
}

fn results() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results")
}

/// Reads a file by its row type, writes it back, and compares the bytes. Columns added since then
/// come last and are empty, and the jackknife was formerly a bootstrap.
fn same<T: serde::Serialize + serde::de::DeserializeOwned>(path: &Path, scratch: &Path) -> usize {
    let read: Vec<T> = rows::read(path).unwrap();
    let count = read.len();
    let copy = scratch.join("copy.csv");
    rows::write(&copy, read).unwrap();
    let [old, new] = [path, &copy].map(|file| std::fs::read_to_string(file).unwrap());
    let old = old.replace("bootstrap-images", "jackknife-images");
    let (old_header, new_header) = (old.lines().next().unwrap(), new.lines().next().unwrap());
    assert!(new_header.starts_with(old_header), "{}", path.display());
    let columns = |header: &str| header.split(',').count();
    let empty = ",".repeat(columns(new_header) - columns(old_header));
    let expected: Vec<String> = old
        .lines()
        .skip(1)
        .map(|line| format!("{line}{empty}"))
        .collect();
    let written: Vec<&str> = new.lines().skip(1).collect();
    assert!(
        written == expected,
        "{} is not written as it was",
        path.display()
    );
    count
}

#[test]
fn kept_files_are_read_and_written_back_byte_for_byte() {
    let scratch = tempfile::tempdir().unwrap();
    let mut folders = vec![results()];
    let (mut files, mut lines) = (BTreeMap::<String, usize>::new(), 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let scratch = scratch.path();
            // In a report, `per_class.csv` has a column for each method.
            let in_report = path.parent().unwrap().ends_with("report");
            lines += match (name.as_str(), in_report) {
                ("per_class.csv", false) => same::<ClassScore>(&path, scratch),
                ("groups.csv", false) => same::<GroupRow>(&path, scratch),
                ("scores.csv", false) => same::<MetricRow>(&path, scratch),
                ("epochs.csv", false) => same::<EpochRecord>(&path, scratch),
                ("epoch_times.csv", false) => same::<EpochTime>(&path, scratch),
                ("timings.csv", false) => same::<TimingRow>(&path, scratch),
                ("table.csv", true) => same::<MethodRow>(&path, scratch),
                ("runs.csv", true) => same::<RunRow>(&path, scratch),
                ("tests.csv", true) => same::<Test>(&path, scratch),
                ("ranks.csv", true) => same::<RankRow>(&path, scratch),
                ("comparison.csv", false) if has_scores_alone(&path) => {
                    same::<ScoreRow>(&path, scratch)
                }
                _ => continue,
            };
            *files.entry(name).or_default() += 1;
        }
    }
    assert_eq!(files.len(), 11, "{files:?}");
    assert!(files["per_class.csv"] > 50 && lines > 1000, "{files:?}");
}

/// Returns whether a file contains only scores: early files also contained the times, which are now
/// in `timings.csv`.
fn has_scores_alone(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap();
    text.starts_with("method,seed,total,head,medium,tail\n")
}

/// Returns the named columns of a CSV file.
fn columns_of(path: &Path, columns: &[&str]) -> Vec<Vec<String>> {
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
    // The sweep wrote comparison.csv, with one row per run; the report has the means over its
    // seeds.
    let columns = ["method", "total", "head", "medium", "tail"];
    let runs = columns_of(&results().join("voc07/comparison.csv"), &columns);
    let mut by_method: Vec<(String, Vec<Vec<f64>>)> = Vec::new();
    for run in runs {
        let scores = run[1..].iter().map(|score| score.parse().unwrap());
        let scores = scores.collect();
        match by_method.iter_mut().find(|(method, _)| *method == run[0]) {
            Some((_, seeds)) => seeds.push(scores),
            None => by_method.push((run[0].clone(), vec![scores])),
        }
    }
    let table = columns_of(
        &report.join("table.csv"),
        &[&columns[..], &["seeds", "total_deviation"]].concat(),
    );
    assert!(table.len() > 1, "there are methods to compare");
    assert_eq!(table.len(), by_method.len());
    for (method, seeds) in &by_method {
        let row = table.iter().find(|row| row[0] == *method);
        let row = row.expect("every method has a row");
        let count = seeds.len() as f64;
        let mean = |at: usize| seeds.iter().map(|scores| scores[at]).sum::<f64>() / count;
        for at in 0..4 {
            approx::assert_abs_diff_eq!(
                row[1 + at].parse::<f64>().unwrap(),
                mean(at),
                epsilon = 1e-12
            );
        }
        assert_eq!(row[5], seeds.len().to_string());
        let squares = seeds.iter().map(|scores| (scores[0] - mean(0)).powi(2));
        let deviation = (squares.sum::<f64>() / (count - 1.0)).sqrt();
        approx::assert_abs_diff_eq!(row[6].parse::<f64>().unwrap(), deviation, epsilon = 1e-12);
    }

    // Existing files are not overwritten.
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

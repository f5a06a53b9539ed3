//! Tests `dbloss view` and `dbloss bench` from the command line.

use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

fn dbloss() -> Command {
    Command::cargo_bin("dbloss").unwrap()
}

fn make_split(folder: &Path, pool_size: &str, max: &str) {
    dbloss()
        .args(["split", "--shapes", "--pool-size", pool_size, "--max", max])
        .args(["--test-size", "30", "--out"])
        .arg(folder.join("split"))
        .assert()
        .success();
}

#[test]
fn view_writes_a_sheet_and_replaces_none_unasked() {
    let folder = tempfile::tempdir().unwrap();
    make_split(folder.path(), "600", "100");
    let view = || {
        let mut command = dbloss();
        command.current_dir(folder.path());
        command.args(["view", "--split", "split", "--size", "64"]);
        command
    };
    (view()
        .args(["--count", "4", "--augment", "2"])
        .assert()
        .success())
    .stdout(contains("4 pictures"));
    let page = std::fs::read_to_string(folder.path().join("sheet.html")).unwrap();
    assert_eq!(page.matches("data:image/jpeg").count(), 4 * 3);
    assert!(page.contains("augmented copies"));
    view()
        .args(["--count", "4", "--augment", "2", "--out", "sheet.png"])
        .assert()
        .success();
    let sheet = dbloss::data::image::read(&folder.path().join("sheet.png")).unwrap();
    // Six tiles of 64 pixels.
    assert!(sheet.width() > 6 * 64, "{}", sheet.width());
    let wrong = ["--out", "sheet.gif"];
    (view().args(wrong).assert().code(2)).stderr(contains("`.html`").and(contains("`.png`")));
    let whites = sheet.pixels().iter().filter(|v| **v == 255).count();
    assert!(whites < sheet.pixels().len() * 3 / 4, "the sheet is empty");
    (view().assert().code(2)).stderr(contains("sheet.html").and(contains("--force")));
    view().arg("--force").assert().success();
    (view()
        .args(["--class", "perso", "--out", "b.png"])
        .assert()
        .code(2))
    .stderr(contains("did you mean `person`"));
    assert!(!folder.path().join("b.png").exists());
    let rare = ["--class", "taxi", "--set", "test", "--out", "c.png"];
    view().args(rare).assert().success();
    // The same with the current syntax, which distinguishes the two kinds of `--set`.
    let now = |arguments: &[&str]| {
        let mut command = dbloss();
        command.current_dir(folder.path());
        command.args(["view", "split", "--class", "taxi"]);
        command.args(arguments).assert()
    };
    let sixty_four = ["--set", "input.size=64", "--on", "test", "--out", "d.png"];
    now(&sixty_four).success();
    let [old, new] = ["c.png", "d.png"].map(|name| std::fs::read(folder.path().join(name)));
    assert!(old.unwrap() == new.unwrap(), "the sheets differ");
    now(&["--set", "test", "--on", "train", "--out", "e.png"])
        .code(2)
        .stderr(contains("more than one set"));
    now(&["--set", "tset", "--out", "e.png"])
        .code(2)
        .stderr(contains("--on train|validation|test"));
    now(&["--set", "input.sise=64", "--out", "e.png"])
        .code(2)
        .stderr(contains("did you mean `size`"));
}

#[test]
fn bench_input_names_the_slowest_stage() {
    let folder = tempfile::tempdir().unwrap();
    make_split(folder.path(), "600", "100");
    let bench = || {
        let mut command = dbloss();
        command.current_dir(folder.path());
        command.args([
            "bench", "input", "--split", "split", "--size", "64", "--count", "20",
        ]);
        command
    };
    (bench().assert().success()).stdout(contains("slowest stage").and(contains("pictures/s")));
    let csv = bench().arg("--csv").assert().success();
    let text = String::from_utf8(csv.get_output().stdout.clone()).unwrap();
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let mut names = Vec::new();
    for row in rows.records() {
        let row = row.unwrap();
        let seconds: f64 = row[1].parse().unwrap();
        let rate: f64 = row[2].parse().unwrap();
        assert!(seconds > 0.0 && (seconds * rate - 1.0).abs() < 1e-9);
        names.push(row[0].to_string());
    }
    assert_eq!(names[..3], ["draw", "augment and resize", "test transform"]);
    let mut too_small = dbloss();
    too_small.current_dir(folder.path());
    too_small.args(["bench", "input", "--split", "split", "--size", "2"]);
    (too_small.assert().code(2)).stderr(contains("input.size"));
}

/// Returns the peak memory in bytes of each of ten epochs of the loader over `count` pictures.
fn memory_of_epochs(folder: &Path, count: &str, cache_memory: &str) -> Vec<u64> {
    let mut command = dbloss();
    command.current_dir(folder);
    command.args(["bench", "input", "--split", "split", "--size", "64"]);
    command.args(["--epochs", "10", "--count", count, "--csv"]);
    command.args(["--cache-memory", cache_memory]);
    let output = command.assert().success();
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let rows = rows.records().map(Result::unwrap);
    let epochs = rows.filter(|row| row[0].starts_with("loader epoch"));
    epochs.map(|row| row[3].parse().unwrap()).collect()
}

#[test]
fn memory_stays_flat_over_epochs_and_within_the_caches_limit() {
    if !cfg!(target_os = "linux") {
        eprintln!("skipped: only Linux tells how much memory a process holds");
        return;
    }
    const MIB: u64 = 1 << 20;
    let folder = tempfile::tempdir().unwrap();
    make_split(folder.path(), "4000", "400");
    let largest = |epochs: &[u64]| *epochs.iter().max().unwrap();
    let few = memory_of_epochs(folder.path(), "100", "0");
    let many = memory_of_epochs(folder.path(), "400", "0");
    // A batch takes 1.5 MiB, and 400 pictures of the embedded set 7 MiB.
    for epochs in [&few, &many] {
        assert_eq!(epochs.len(), 10);
        assert!(
            largest(&epochs[5..]) < largest(&epochs[..5]) + 3 * MIB,
            "{epochs:?}"
        );
    }
    assert!(largest(&many) < largest(&few) + 3 * MIB, "{few:?} {many:?}");
    let limited = memory_of_epochs(folder.path(), "400", "1");
    assert!(
        largest(&limited) < largest(&many) + 4 * MIB,
        "{many:?} {limited:?}"
    );
    let kept = memory_of_epochs(folder.path(), "400", "100");
    assert!(
        largest(&kept) > largest(&many) + 4 * MIB,
        "the cache is not seen: {kept:?}"
    );
}

#[test]
fn steps_on_the_loaders_pictures_are_held_against_a_fixed_batch() {
    let folder = tempfile::tempdir().unwrap();
    make_split(folder.path(), "600", "100");
    let bench = |batch: &str| {
        let mut command = dbloss();
        command.current_dir(folder.path());
        command.args(["bench", "step", "--backbone", "resnet18", "--size", "32"]);
        command.args(["--rounds", "1", "--steps", "2", "--split", "split"]);
        command.args(["--batch", batch]);
        command
    };
    let output = bench("4").assert().success();
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    let line = text.lines().last().unwrap();
    let numbers: Vec<f64> = line
        .split([' ', ':', ')'])
        .filter_map(|word| word.parse().ok())
        .collect();
    // The speeds, their ratio, the number of rounds, and the quartiles of the ratio.
    let [fed, fixed, ratio, 1.0, low, high] = numbers[..] else {
        panic!("{line}")
    };
    assert!(low == ratio && ratio == high, "{line}");
    // Three and one decimals are printed.
    assert!((fed / fixed - ratio).abs() < 0.01 + 0.1 / fixed, "{line}");
    (bench("100000").assert().code(2)).stderr(contains("a batch needs 100000"));
}

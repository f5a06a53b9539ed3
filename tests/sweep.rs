//! Tests sweeps end to end: whichever process ends and whenever, the same command continues to the
//! same tables.

mod common;

use std::path::Path;

use common::small::{dbloss, folder, read, signal, start, wait_for};
use dbloss::config::experiment_files;
use dbloss::plan::SweepFile;
use predicates::prelude::*;

const SWEEP: &str = "experiment = 'small.toml'\nseeds = [0, 1]\njobs = 2\n";

/// Returns what must be the same whatever happened: tables, steps, predictions.
fn results(home: &Path) -> Vec<(String, String)> {
    let mut names: Vec<String> = ["csv", "md", "svg"]
        .map(|e| format!("comparison.{e}"))
        .to_vec();
    for run in ["erm-s0", "erm-s1", "db-focal-s0", "db-focal-s1"] {
        for file in ["steps.csv", "eval/test/predictions.csv"] {
            names.push(format!("{run}/{file}"));
        }
    }
    let read = |name: String| {
        let text = read(&home.join(&name));
        (name, text)
    };
    names.into_iter().map(read).collect()
}

fn assert_same(a: &[(String, String)], b: &[(String, String)]) {
    for (a, b) in a.iter().zip(b) {
        assert!(a == b, "{} differs", a.0);
    }
}

fn checkpoints(home: &Path) -> usize {
    let runs = ["erm-s0", "erm-s1", "db-focal-s0", "db-focal-s1"];
    let there = |run: &&str| {
        home.join(run)
            .join("checkpoints/last.safetensors")
            .is_file()
    };
    runs.iter().filter(|run| there(run)).count()
}

#[test]
#[cfg(target_os = "linux")]
fn a_sweep_that_is_killed_goes_on_to_the_same_tables() {
    let folder = folder();
    std::fs::write(folder.path().join("s.toml"), SWEEP).unwrap();
    dbloss(folder.path())
        .args(["sweep", "s.toml", "--out", "whole"])
        .assert()
        .success()
        .stdout(predicate::str::contains("erm").and(predicate::str::contains("db-focal")));
    let whole = results(&folder.path().join("whole/s"));
    assert_eq!(whole[0].1.lines().count(), 5, "{}", whole[0].1);

    // SIGKILL as soon as two runs have a checkpoint: the sweep cannot clean up, and the runs are
    // orphaned. The next call finds them still running, or what they saved.
    let home = folder.path().join("broken/s");
    let arguments = ["sweep", "s.toml", "--out", "broken"];
    let mut sweep = start(folder.path(), &arguments);
    assert!(wait_for(&mut sweep, || checkpoints(&home) >= 2));
    sweep.kill().unwrap();
    sweep.wait().unwrap();
    assert!(!home.join("comparison.csv").exists());

    // SIGTERM the next time: the runs save and exit before the sweep does.
    let mut sweep = start(folder.path(), &arguments);
    assert!(wait_for(&mut sweep, || checkpoints(&home) >= 3));
    signal(sweep.id(), "TERM");
    assert_eq!(sweep.wait().unwrap().code(), Some(130));
    let manifests = ["db-focal-s0", "db-focal-s1"].map(|run| home.join(run).join("manifest.json"));
    let there: Vec<String> = manifests
        .iter()
        .filter(|m| m.is_file())
        .map(|m| read(m))
        .collect();
    assert!(
        there.iter().any(|m| m.contains("\"interrupted\"")),
        "{there:?}"
    );
    dbloss(folder.path())
        .args(["sweep", "status", "s.toml", "--out", "broken"])
        .assert()
        .success()
        .stdout(predicate::str::contains("stopped"));

    dbloss(folder.path()).args(arguments).assert().success();
    assert_same(&results(&home), &whole);

    // Nothing is left to do, and the tables stay.
    let before = read(&home.join("erm-s0/manifest.json"));
    dbloss(folder.path())
        .args(arguments)
        .assert()
        .success()
        .stderr(predicate::str::contains("4 finished already"));
    assert_same(&results(&home), &whole);
    assert_eq!(read(&home.join("erm-s0/manifest.json")), before);
}

#[test]
fn a_run_that_fails_stops_no_other_and_is_told_at_the_end() {
    let folder = folder();
    let grid = "experiment = 'small.toml'\nmethods = ['erm']\n[set]\ntrain.epochs = 1\n\
                optimizer.max_gradient_norm = 0\nschedule = { kind = 'constant' }\n\
                [grid]\noptimizer.learning_rate = [1e38, 0.01]\n";
    std::fs::write(folder.path().join("g.toml"), grid).unwrap();
    let good = "erm+learning_rate=0.01";
    let output = dbloss(folder.path())
        .args(["sweep", "g.toml"])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{error}");
    let failed = error
        .lines()
        .find(|line| line.contains(" failed: "))
        .unwrap();
    assert!(
        failed.contains("diverged") && failed.contains(".log"),
        "{error}"
    );
    assert!(error.contains("1 of 2 runs are not finished"), "{error}");
    let table = read(&folder.path().join("runs/g/comparison.csv"));
    assert_eq!(table.lines().count(), 2);
    assert!(table.lines().nth(1).unwrap().starts_with(good), "{table}");

    // Other settings under the same name are refused, and nothing is lost.
    let manifest = folder
        .path()
        .join("runs/g")
        .join(format!("{good}-s0/manifest.json"));
    let before = read(&manifest);
    dbloss(folder.path())
        .args(["sweep", "g.toml", "--set", "optimizer.momentum=0.5"])
        .assert()
        .code(2)
        .stderr(
            predicate::str::contains("another configuration")
                .and(predicate::str::contains("--force")),
        );
    assert_eq!(read(&manifest), before);
}

#[test]
fn every_sweep_file_resolves() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/sweeps");
    let mut counted = Vec::new();
    for path in experiment_files(&folder).unwrap() {
        let sweep = SweepFile::read(&path).unwrap_or_else(|e| panic!("{e}"));
        let runs = sweep.experiments(&[]).unwrap_or_else(|e| panic!("{e}"));
        assert!(runs.iter().all(|run| run.name == sweep.name));
        assert!(read(&path).contains("# command"), "{}", path.display());
        counted.push((
            path.file_stem().unwrap().to_string_lossy().into_owned(),
            runs.len(),
        ));
    }
    let expected = [
        ("coco18", 4 * 3),
        ("shapes", 2 * 2 * 2),
        ("voc07-losses", 16),
        ("voc07", 11 * 3),
    ];
    let expected = expected.map(|(name, runs)| (name.to_owned(), runs));
    assert_eq!(counted, expected);
}

/// A pipe can be read only once: the file is read once, both to detect its kind and to check it.
#[test]
#[cfg(unix)]
fn a_check_reads_a_file_once() {
    let folder = folder();
    let experiment = folder.path().join("small.toml");
    let sweep = format!(
        "experiment = '{}'\nseeds = [0, 1, 2]\n",
        experiment.display()
    );
    for (text, expected) in [
        (sweep, "good, a sweep of 6 runs"),
        (read(&experiment), "good, 2 runs"),
    ] {
        dbloss(folder.path())
            .args(["config", "check", "/dev/stdin"])
            .write_stdin(text)
            .assert()
            .success()
            .stdout(predicate::str::contains(expected));
    }
}

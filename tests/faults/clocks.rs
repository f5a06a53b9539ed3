//! Clocks that are set back or ahead, between two processes of a run and within one.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dbloss::run_dir::RunDir;
use serde_json::Value;

use crate::commands::{command, folder};
use crate::common::small::{ok, read, start, wait_for};
use crate::common::tree::{Tree, assert_same, tree};
use crate::pictures;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The files below `names`, without TensorBoard's, which are named by the time.
fn without_events(folder: &Path, names: &[&str]) -> Tree {
    let mut found = tree(folder, names);
    let events = |name: &str| name.contains("/tensorboard/");
    assert!(found.keys().any(|name| events(name)));
    found.retain(|name, _| !events(name));
    found
}

/// Says of every file and folder below `path` that it was changed at `time`.
fn set_times(path: &Path, time: SystemTime) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            set_times(&entry.unwrap().path(), time);
        }
    }
    let file = std::fs::File::open(path).unwrap();
    file.set_modified(time).unwrap();
}

fn manifest(folder: &Path) -> Value {
    serde_json::from_str(&read(&folder.join("run/manifest.json"))).unwrap()
}

/// Every duration in the manifests and tables below `folder`, with where it stands.
fn durations(folder: &Path, names: &[&str]) -> Vec<(String, f64)> {
    let mut found = Vec::new();
    for (name, bytes) in tree(folder, names) {
        if name.ends_with("manifest.json") {
            let manifest: Value = serde_json::from_slice(&bytes).unwrap();
            found.push((name, manifest["train_seconds"].as_f64().unwrap()));
        } else if name.ends_with(".csv") {
            let mut reader = csv::Reader::from_reader(bytes.as_slice());
            let headers = reader.headers().unwrap().clone();
            for row in reader.records().map(Result::unwrap) {
                let cells = headers.iter().zip(row.iter());
                let timed =
                    cells.filter(|(header, cell)| header.ends_with("seconds") && !cell.is_empty());
                found.extend(timed.map(|(_, cell)| (name.clone(), cell.parse().unwrap())));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

fn assert_within(durations: &[(String, f64)], most: Duration) {
    for (name, seconds) in durations {
        let fits = (0.0..=most.as_secs_f64()).contains(seconds);
        assert!(fits, "{name}: {seconds} s of at most {most:?}");
    }
}

/// The clock of the first process was a day ahead, or had never been set: what it left has such
/// times, in the manifest, and of files, folders, pictures, what it was writing when it was killed.
#[test]
fn a_clock_that_jumps_between_two_processes_changes_nothing() {
    let folder = pictures::folder();
    let folder = folder.path();
    let train = "train own.toml --out run --workers 1 --cache-memory 0 --cache-folder cache \
                 --set train.tensorboard=true";
    let begun = Instant::now();
    ok(folder, train);
    let whole = without_events(folder, &["run"]);
    let watched = || ok(folder, "watch run --once").0;
    for (what, time, started) in [
        ("a day ahead", SystemTime::now() + DAY, u64::MAX),
        ("never set", UNIX_EPOCH - DAY, 0),
    ] {
        std::fs::remove_dir_all(folder.join("run")).unwrap();
        let mut child = start(folder, &train.split_whitespace().collect::<Vec<_>>());
        let times = folder.join("run/epoch_times.csv");
        let an_epoch = || std::fs::read_to_string(&times).is_ok_and(|t| t.lines().count() > 1);
        assert!(wait_for(&mut child, an_epoch));
        child.kill().unwrap();
        child.wait().unwrap();

        // As if it were at work: then there is a time that is left, too.
        let at_work = RunDir::new(folder.join("run"))
            .lock(Duration::ZERO)
            .unwrap();
        let before = watched();
        let mut changed = manifest(folder);
        let seconds = changed["train_seconds"].as_f64().unwrap();
        changed["started_unix"] = started.into();
        std::fs::write(folder.join("run/manifest.json"), changed.to_string()).unwrap();
        std::fs::write(folder.join("run/.writing-something"), "half").unwrap();
        set_times(folder, time);
        assert_eq!(watched(), before, "{what}");
        assert!(before.contains("eta: "), "{before}");
        drop(at_work);

        let start = Instant::now();
        ok(folder, &format!("{train} --resume"));
        let more = manifest(folder)["train_seconds"].as_f64().unwrap() - seconds;
        assert!(
            (0.0..=start.elapsed().as_secs_f64()).contains(&more),
            "{what}: {more} s"
        );
        assert_within(&durations(folder, &["run"]), begun.elapsed());
        assert_same(&without_events(folder, &["run"]), &whole, what);
    }
}

/// Whenever the program asks for the time, the clock has been set anew.
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
#[test]
#[cfg_attr(not(has_cxx), ignore = "needs a C++ compiler")]
fn a_clock_that_jumps_within_a_process_changes_nothing() {
    let mut command = *command("run");
    command.arguments = "run small.toml --out runs --workers 1 --set train.tensorboard=true";
    let folder = folder(&command);
    let folder = folder.path();
    let library = folder.join("clock.so");
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let compiled = std::process::Command::new(compiler)
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/faults/clock.cpp"
        ))
        .status();
    assert!(compiled.unwrap().success());

    command.finish(folder);
    let whole = without_events(folder, command.leaves);
    command.clear(folder);
    let (start, now) = (Instant::now(), SystemTime::now());
    let output = command
        .process(folder)
        .env("LD_PRELOAD", &library)
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert_within(&durations(folder, command.leaves), start.elapsed());
    assert_same(
        &without_events(folder, command.leaves),
        &whole,
        "a clock that jumps",
    );
    // The clock did jump.
    let now = now.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let jumped = tree(folder, command.leaves)
        .iter()
        .filter(|(name, _)| name.ends_with("manifest.json"))
        .any(|(_, bytes)| {
            let manifest: Value = serde_json::from_slice(bytes).unwrap();
            manifest["started_unix"].as_u64().unwrap().abs_diff(now) > DAY.as_secs() / 2
        });
    assert!(jumped);
}

//! Tests `dbloss run` as a plan of runs: what it reports in advance, how runs are executed and how
//! it is resumed.

mod common;

use std::path::Path;

use common::small::{EXPERIMENT, dbloss, folder, folder_with, read, signal, start, wait_for};
use predicates::prelude::*;

/// Returns the last error line on stderr, and how many lines contain `text`.
fn cause(output: &std::process::Output, text: &str) -> (String, usize) {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = stderr.lines().rfind(|line| line.starts_with("error: "));
    let times = stderr.lines().filter(|line| line.contains(text)).count();
    (last.unwrap_or_default().to_owned(), times)
}

/// Returns the number of run folders under `home`.
fn runs(home: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(home) else {
        return 0;
    };
    let manifests = entries.map(|entry| entry.unwrap().path().join("manifest.json"));
    manifests.filter(|manifest| manifest.is_file()).count()
}

#[test]
fn a_dry_run_tells_and_writes_nothing() {
    let folder = folder();
    dbloss(folder.path())
        .args(["run", "small.toml", "--seeds", "0,1", "--dry-run"])
        .assert()
        .success()
        .stdout(predicate::str::contains("db-focal-s1").and(predicate::str::contains("waiting")))
        .stderr(predicate::str::contains("4 runs"));
    let entries = std::fs::read_dir(folder.path()).unwrap();
    assert_eq!(entries.count(), 1, "only the experiment is there");
}

#[test]
fn processes_and_this_process_come_to_the_same_tables_and_know_each_other() {
    let folder = folder();
    let short = ["--set", "train.epochs=1"];
    for (out, jobs) in [("one", "1"), ("two", "2")] {
        dbloss(folder.path())
            .args(["run", "small.toml", "--out", out, "--jobs", jobs])
            .args(short)
            .assert()
            .success();
    }
    for file in [
        "comparison.csv",
        "comparison.svg",
        "erm-s0/steps.csv",
        "erm-s0/eval/test/predictions.csv",
        "db-focal-s0/eval/test/per_class.csv",
    ] {
        let [one, two] = ["one", "two"].map(|out| {
            let path = folder.path().join(out).join("small").join(file);
            read(&path)
        });
        assert!(one == two, "{file} differs");
    }
    // Folders of version 0.1 did not contain a plan: their runs count all the same.
    let home = folder.path().join("one/small");
    std::fs::remove_file(home.join("plan.json")).unwrap();
    std::fs::remove_dir_all(home.join("configs")).unwrap();
    let before = read(&home.join("erm-s0/manifest.json"));
    let table = read(&home.join("comparison.csv"));
    dbloss(folder.path())
        .args(["run", "small.toml", "--out", "one", "--dry-run"])
        .args(short)
        .assert()
        .success()
        .stderr(predicate::str::contains("2 runs").and(predicate::str::contains("2 finished")));
    // Events that are requested after the training are written from its tables.
    dbloss(folder.path())
        .args(["run", "small.toml", "--out", "one", "--tensorboard"])
        .args(short)
        .assert()
        .success();
    let events = std::fs::read_dir(home.join("erm-s0/tensorboard")).unwrap();
    assert_eq!(events.count(), 1);
    assert_eq!(read(&home.join("erm-s0/manifest.json")), before);
    // Only some of the runs are given, but the others stay in the table.
    dbloss(folder.path())
        .args(["run", "small.toml", "--out", "one", "--method", "erm"])
        .args(short)
        .assert()
        .success()
        .stderr(predicate::str::contains("finished already"));
    assert_eq!(read(&home.join("erm-s0/manifest.json")), before);
    let lines = |text: &str| -> Vec<String> {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(&read(&home.join("comparison.csv"))), lines(&table));
    // The plan of a sweep is also found under its name in version 0.1.
    std::fs::rename(home.join("plan.json"), home.join("sweep.json")).unwrap();
    dbloss(folder.path())
        .args(["sweep", "status", "one/small"])
        .assert()
        .success()
        .stdout(predicate::str::contains("erm-s0").and(predicate::str::contains("finished")));
    // Other settings under the same names are refused, with an explanation, before anything is
    // trained.
    dbloss(folder.path())
        .args(["run", "small.toml", "--out", "one"])
        .assert()
        .code(2)
        .stderr(
            predicate::str::contains("another configuration")
                .and(predicate::str::contains("so does 1 more"))
                .and(predicate::str::contains("--force")),
        );
    assert_eq!(read(&home.join("erm-s0/manifest.json")), before);
}

#[test]
fn one_cause_for_all_runs_is_the_last_line_and_stands_there_once() {
    let folder = folder();
    let weights = "model.weights=nowhere.safetensors";
    for jobs in ["1", "2"] {
        let output = dbloss(folder.path())
            .args(["run", "small.toml", "--set", weights, "--jobs", jobs])
            .output()
            .unwrap();
        let (last, times) = cause(&output, "nowhere.safetensors");
        assert!(last.contains("nowhere.safetensors"), "{last}");
        assert_eq!((output.status.code(), times), (Some(2), 1), "{last}");
    }
    let batch = "train.batch_size=5000";
    let output = dbloss(folder.path())
        .args(["run", "small.toml", "--set", batch])
        .output()
        .unwrap();
    let (last, times) = cause(&output, "5000");
    assert!(last.contains("train.batch_size") && last.contains("100 images"));
    assert_eq!((output.status.code(), times), (Some(2), 1), "{last}");
    assert_eq!(runs(&folder.path().join("runs/small")), 0);
}

#[test]
fn a_test_set_or_picture_that_is_missing_is_told_before_any_training() {
    let experiment = EXPERIMENT
        .replace(
            "kind = \"shapes\"\npool_size = 400\ntest_size = 40\nside = 32",
            "kind = \"table\"\ntrain = \"train.csv\"",
        )
        .replace("kind = \"pareto\"\nmax = 60\nmin = 1", "kind = \"as-is\"");
    let folder = folder_with(&experiment);
    let mut table = String::from("image,labels\n");
    for i in 0..16u8 {
        let picture = image::RgbImage::from_pixel(20, 16, image::Rgb([i * 10, 90, 128]));
        picture
            .save(folder.path().join(format!("{i}.png")))
            .unwrap();
        table.push_str(&format!(
            "{i}.png,{}\n",
            ["red", "blue"][usize::from(i % 2)]
        ));
    }
    std::fs::write(folder.path().join("train.csv"), table).unwrap();
    std::fs::write(
        folder.path().join("test.csv"),
        "image,labels\ngone.png,red\nlost.png,blue\n",
    )
    .unwrap();
    dbloss(folder.path())
        .args(["run", "small.toml"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("no test images"));
    assert_eq!(runs(&folder.path().join("runs/small")), 0);
    let test = ["--set", "split.source.test=test.csv", "--out", "tested"];
    dbloss(folder.path())
        .args(["run", "small.toml"])
        .args(test)
        .assert()
        .code(2)
        .stderr(
            predicate::str::contains("2 of 18 pictures")
                .and(predicate::str::contains("gone.png"))
                .and(predicate::str::contains("lost.png")),
        );
    assert_eq!(runs(&folder.path().join("tested/small")), 0);
}

#[test]
#[cfg(unix)]
fn an_interrupted_run_goes_on_with_the_same_command() {
    let folder = folder();
    let arguments = ["run", "small.toml", "--method", "erm"];
    let home = folder.path().join("runs/small");
    let checkpoint = home.join("erm-s0/checkpoints/last.safetensors");
    let errors = std::fs::File::create(folder.path().join("errors")).unwrap();
    let mut child = std::process::Command::new(common::small::program())
        .current_dir(folder.path())
        .env_remove("DBLOSS_LOG")
        .args(arguments)
        .stdout(std::process::Stdio::null())
        .stderr(errors)
        .spawn()
        .unwrap();
    assert!(wait_for(&mut child, || checkpoint.is_file()));
    signal(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let said = read(&folder.path().join("errors"));
    assert!(said.contains("the same command continues"), "{said}");
    assert!(!said.contains("--resume"), "{said}");
    dbloss(folder.path())
        .args(["run", "status", "small.toml"])
        .assert()
        .success()
        .stdout(predicate::str::contains("stopped").and(predicate::str::contains("waiting")));
    dbloss(folder.path())
        .args(arguments)
        .assert()
        .success()
        .stderr(predicate::str::contains("resuming at step"));
    let mut whole = start(
        folder.path(),
        &["run", "small.toml", "--method", "erm", "--out", "w"],
    );
    assert!(whole.wait().unwrap().success());
    let steps = "erm-s0/steps.csv";
    let uninterrupted = read(&folder.path().join("w/small").join(steps));
    assert!(read(&home.join(steps)) == uninterrupted, "steps differ");
}

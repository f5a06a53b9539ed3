//! Tests the program end to end, as a user runs it, on the embedded pictures.

mod common;

use common::small::{dbloss, folder_with, read};
use predicates::prelude::*;

/// A network and a data set small enough for a test, with all the features of large ones.
const EXPERIMENT: &str = r#"
name = "small"

[split.source]
kind = "shapes"
pool_size = 400
test_size = 60
side = 32

[split.distribution]
kind = "pareto"
max = 60
min = 1

[model]
backbone = "resnet18"
frozen_stages = -1
norm_eval = false
neck = { out_channels = 16 }

[input]
size = 32

[train]
batch_size = 8
epochs = 2
checkpoint_steps = 2

[methods.erm]
loss = { name = "bce" }
sampler = { kind = "uniform" }

[methods.db-focal]
loss = { name = "db-focal" }
sampler = { kind = "class-aware" }
"#;

fn folder() -> tempfile::TempDir {
    folder_with(EXPERIMENT)
}

#[test]
fn one_command_splits_trains_evaluates_and_compares() {
    let folder = folder();
    let runs = folder.path().join("runs/small");
    dbloss(folder.path())
        .args(["run", "small.toml"])
        .assert()
        .success()
        .stdout(predicate::str::contains("erm").and(predicate::str::contains("db-focal")));

    let comparison = read(&runs.join("comparison.csv"));
    assert_eq!(comparison.lines().count(), 3, "{comparison}");
    assert!(read(&runs.join("comparison.md")).contains("| db-focal |"));
    for run in ["erm-s0", "db-focal-s0"] {
        let run = runs.join(run);
        assert!(read(&run.join("manifest.json")).contains("\"finished\""));
        let steps = read(&run.join("steps.csv"));
        let epochs = read(&run.join("epochs.csv"));
        assert!(steps.lines().count() > 4 && epochs.lines().count() == 3);
        let predictions = read(&run.join("eval/test/predictions.csv"));
        assert_eq!(predictions.lines().count(), 61);
        let per_class = read(&run.join("eval/test/per_class.csv"));
        assert_eq!(per_class.lines().count(), 21);
        let groups = read(&run.join("eval/test/groups.csv"));
        assert_eq!(groups.lines().count(), 5, "{groups}");
    }

    // Running the command again trains nothing and prints the same table.
    dbloss(folder.path())
        .args(["run", "small.toml"])
        .assert()
        .success()
        .stderr(predicate::str::contains("finished already"));
    assert_eq!(read(&runs.join("comparison.csv")), comparison);

    // Predictions can be scored without the model, with the same result.
    let eval = |arguments: &[&str]| {
        let output = dbloss(folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let own = eval(&["eval", "runs/small/erm-s0"]);
    let scored = eval(&[
        "eval",
        "--predictions",
        "runs/small/erm-s0/eval/test/predictions.csv",
        "--split",
        "runs/small/split",
        "--threshold",
        "0",
    ]);
    assert_eq!(own, scored);
}

#[test]
#[cfg(unix)]
fn a_killed_run_resumes_to_the_same_end() {
    let folder = folder();
    let train = |out: &str| -> Vec<String> {
        let fixed = [
            "train",
            "--config",
            "small.toml",
            "--method",
            "db-focal",
            "--out",
        ];
        fixed
            .iter()
            .map(|s| s.to_string())
            .chain([out.to_owned()])
            .collect()
    };
    dbloss(folder.path())
        .args(train("whole"))
        .assert()
        .success();

    // Kill it with SIGKILL as soon as there is a checkpoint in the middle of an epoch.
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("dbloss"))
        .current_dir(folder.path())
        .args(train("killed"))
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let checkpoint = folder.path().join("killed/checkpoints/last.safetensors");
    while !checkpoint.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let manifest = read(&folder.path().join("killed/manifest.json"));
    assert!(
        manifest.contains("\"running\""),
        "the run ended before it could be killed"
    );

    dbloss(folder.path())
        .args(train("killed"))
        .assert()
        .code(2)
        .stderr(predicate::str::contains("--resume"));
    dbloss(folder.path())
        .args(train("killed"))
        .arg("--resume")
        .assert()
        .success();
    for out in ["whole", "killed"] {
        dbloss(folder.path()).args(["eval", out]).assert().success();
    }
    for file in ["steps.csv", "eval/test/predictions.csv"] {
        let [whole, killed] =
            ["whole", "killed"].map(|out| read(&folder.path().join(out).join(file)));
        assert!(whole == killed, "{file} differs");
    }
}

#[test]
fn a_broken_picture_stops_the_run_or_is_left_out() {
    let folder = folder();
    let mut table = String::from("image,labels\n");
    for i in 0..24u8 {
        let colour = image::Rgb([i * 10, 255 - i * 10, 128]);
        let name = format!("{i}.png");
        image::RgbImage::from_pixel(20, 16, colour)
            .save(folder.path().join(&name))
            .unwrap();
        table.push_str(&format!(
            "{name},{}\n",
            if i % 3 == 0 { "red|blue" } else { "blue" }
        ));
    }
    std::fs::write(folder.path().join("train.csv"), &table).unwrap();
    let test = table
        .replacen("0.png", "test.png", 1)
        .lines()
        .take(3)
        .collect::<Vec<_>>()
        .join("\n");
    std::fs::write(
        folder.path().join("test.csv"),
        test.replace("\n1.png", "\ntest2.png"),
    )
    .unwrap();
    for name in ["test.png", "test2.png"] {
        std::fs::copy(folder.path().join("0.png"), folder.path().join(name)).unwrap();
    }
    // One picture is truncated, one of the test set is not a picture at all.
    let whole = std::fs::read(folder.path().join("5.png")).unwrap();
    std::fs::write(folder.path().join("5.png"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(folder.path().join("test2.png"), "not a picture").unwrap();
    dbloss(folder.path())
        .args([
            "split",
            "--table",
            "train.csv",
            "--test",
            "test.csv",
            "--distribution",
            "as-is",
        ])
        .args(["--out", "split"])
        .assert()
        .success();
    let train = [
        "train",
        "--config",
        "small.toml",
        "--method",
        "erm",
        "--out",
        "run",
    ];
    let settings = ["--set", "split_folder=split", "--set", "train.epochs=1"];
    dbloss(folder.path())
        .args(train)
        .args(settings)
        .assert()
        .code(2)
        .stderr(predicate::str::contains("5.png"));
    dbloss(folder.path())
        .args(train)
        .args(settings)
        .args(["--force", "--on-bad-image", "skip"])
        .assert()
        .success()
        // The check before the training reports it, and the loader does not report it again.
        .stderr(predicate::str::contains("5.png").count(1));
    dbloss(folder.path())
        .args(["eval", "run"])
        .assert()
        .success()
        .stderr(predicate::str::contains("test2.png"));
    let predictions = read(&folder.path().join("run/eval/test/predictions.csv"));
    assert_eq!(predictions.lines().count(), 2, "{predictions}");
}

#[test]
fn a_training_that_diverges_says_where_and_what_to_try() {
    let folder = folder();
    dbloss(folder.path())
        .args(["train", "--config", "small.toml", "--method", "erm"])
        .args([
            "--set",
            "optimizer.learning_rate=1e38",
            "--set",
            "optimizer.max_gradient_norm=0",
        ])
        .args(["--set", "schedule.kind=constant"])
        .assert()
        .code(3)
        .stderr(
            predicate::str::contains("diverged")
                .and(predicate::str::contains("step "))
                .and(predicate::str::contains(
                    "hint: lower `optimizer.learning_rate`",
                )),
        );
    let manifest = read(&folder.path().join("runs/small/erm-s0/manifest.json"));
    assert!(manifest.contains("\"failed\""), "{manifest}");
}

#[test]
fn wrong_input_gets_one_clear_error_and_code_2() {
    let folder = folder();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("typo.toml", &EXPERIMENT.replace("epochs = 2", "epoch = 2"));
    write(
        "range.toml",
        &EXPERIMENT.replace("batch_size = 8", "batch_size = 1"),
    );
    write(
        "loss.toml",
        &EXPERIMENT.replace("\"db-focal\" }", "\"db-fokal\" }"),
    );
    write("broken.toml", "name = \n");
    write("empty.csv", "");
    write("header.csv", "image,labels\n");
    write("table.csv", "image,labels\na.jpg,cat\nb.jpg,dgo\n");
    write("classes.txt", "cat\ndog\n");
    write("pictures/a.jpg", "this is text, not a picture");
    write(
        "pictures/table.csv",
        "image,labels\na.jpg,cat\nb.jpg,dog|cat\nc.jpg,dog\n",
    );
    let cases: &[(&[&str], &[&str])] = &[
        (&["run", "nowhere.toml"], &["nowhere.toml"]),
        (
            &["run", "typo.toml"],
            &["typo.toml:", "train.epoch", "did you mean `epochs`"],
        ),
        (
            &["run", "range.toml"],
            &["range.toml:", "batch_size", "from 2 to"],
        ),
        (
            &["run", "loss.toml"],
            &["db-fokal", "did you mean `db-focal`"],
        ),
        (&["run", "broken.toml"], &["broken.toml:1"]),
        (
            &["run", "small.toml", "--method", "erm2"],
            &["no method `erm2`", "erm, db-focal"],
        ),
        (
            &["train", "small.toml", "--seed", "-1"],
            &["--seed", "whole number from 0 to 9223372036854775807"],
        ),
        (
            &["run", "small.toml", "--set", "learning_rate=1"],
            &[
                "--set learning_rate=1:",
                "did you mean `optimizer.learning_rate`?",
            ],
        ),
        (
            &["run", "small.toml", "--set", "loss.gamma"],
            &["--set", "key.path=value"],
        ),
        (
            &["run", "small.toml", "--device", "tpu"],
            &["--device", "`tpu`"],
        ),
        (
            &["train", "--config", "small.toml"],
            &["several methods", "--method"],
        ),
        (&["eval", "nowhere"], &["nowhere", "not a run's folder"]),
        (&["split", "--voc", "nowhere", "--out", "s"], &["nowhere"]),
        (
            &["split", "--table", "empty.csv", "--out", "s"],
            &["empty.csv"],
        ),
        (
            &["split", "--table", "header.csv", "--out", "s"],
            &["header.csv"],
        ),
        (
            &[
                "split",
                "--table",
                "table.csv",
                "--classes",
                "classes.txt",
                "--out",
                "s",
            ],
            &["table.csv:3", "`dgo`"],
        ),
    ];
    for (arguments, expected) in cases {
        let output = dbloss(folder.path()).args(*arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert_eq!(
            error.matches("error: ").count(),
            1,
            "{arguments:?}: {error}"
        );
        for part in *expected {
            assert!(
                error.contains(part),
                "{arguments:?}: `{part}` not in: {error}"
            );
        }
        assert!(!folder.path().join("s/split.toml").exists());
    }
}

//! Tests that stopped runs continue where they were, and which settings may change in between.

mod common;

use std::path::Path;

use common::small::{dbloss, folder, read, signal, start, wait_for};
use predicates::prelude::*;

fn train(out: &str) -> [&str; 7] {
    [
        "train",
        "--config",
        "small.toml",
        "--method",
        "db-focal",
        "--out",
        out,
    ]
}

/// Starts a training, sends it the signal `name` once it has a checkpoint, and returns its exit
/// code.
#[cfg(unix)]
fn stop(folder: &Path, out: &str, name: &str) -> Option<i32> {
    let checkpoint = folder.join(out).join("checkpoints/last.safetensors");
    let mut child = start(folder, &train(out));
    assert!(wait_for(&mut child, || checkpoint.is_file()));
    signal(child.id(), name);
    child.wait().unwrap().code()
}

#[test]
#[cfg(unix)]
fn signals_save_and_a_resumed_run_ends_like_an_uninterrupted_one() {
    let folder = folder();
    dbloss(folder.path())
        .args(train("whole"))
        .assert()
        .success();
    let result = |out: &str| {
        let out = folder.path().join(out);
        let model = std::fs::read(out.join("checkpoints/last.safetensors")).unwrap();
        (read(&out.join("steps.csv")), model)
    };
    let whole = result("whole");
    for (name, code) in [("TERM", Some(130)), ("INT", Some(130)), ("KILL", None)] {
        assert_eq!(stop(folder.path(), name, name), code, "{name}");
        let manifest = read(&folder.path().join(name).join("manifest.json"));
        let status = if name == "KILL" {
            "running"
        } else {
            "interrupted"
        };
        assert!(manifest.contains(&format!("\"{status}\"")), "{manifest}");
        let steps = read(&folder.path().join(name).join("steps.csv"));
        assert!(steps.lines().count() < whole.0.lines().count());
        dbloss(folder.path())
            .args(train(name))
            .arg("--resume")
            .assert()
            .success();
        assert!(result(name) == whole, "{name}: steps or weights differ");
    }
}

#[test]
#[cfg(unix)]
fn what_changes_no_weight_may_change_before_resuming() {
    let folder = folder();
    assert_eq!(stop(folder.path(), "run", "TERM"), Some(130));
    // The learning rate may not change.
    dbloss(folder.path())
        .args(train("run"))
        .args(["--resume", "--set", "optimizer.learning_rate=0.3"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("another configuration"));
    let threads = std::thread::available_parallelism().map_or(1, usize::from) + 1;
    dbloss(folder.path())
        .args(train("run"))
        .args(["--resume", "--threads", &threads.to_string()])
        .args(["--set", "train.checkpoint_steps=7", "--set", "name=other"])
        .args(["--on-bad-image", "skip", "--set", "train.tensorboard=true"])
        .args([
            "--set",
            "train.keep_every=1",
            "--set",
            "train.keep_best=false",
        ])
        .assert()
        .success()
        .stderr(
            predicate::str::contains(format!("resumed on threads {threads}, was "))
                .and(predicate::str::contains("speed and time")),
        );
    let config = read(&folder.path().join("run/config.toml"));
    assert!(config.contains("checkpoint_steps = 7"), "{config}");
    let kept = folder.path().join("run/checkpoints/epoch-2.safetensors");
    assert!(kept.is_file());
}

#[test]
fn a_folder_in_use_is_not_entered_a_second_time() {
    let folder = folder();
    let run = dbloss::run_dir::RunDir::new(folder.path().join("run"));
    let lock = run.lock(std::time::Duration::ZERO).unwrap();
    assert!(run.is_locked());
    dbloss(folder.path())
        .args(train("run"))
        .assert()
        .code(2)
        .stderr(predicate::str::contains("another process is training"));
    drop(lock);
    assert!(!run.is_locked());
    // Neither the files of the refused process nor a partly written file of a killed one is an
    // obstacle.
    std::fs::write(run.path().join(".writing-x"), "half").unwrap();
    dbloss(folder.path())
        .args(train("run"))
        .args(["--set", "train.epochs=1"])
        .assert()
        .success();
}

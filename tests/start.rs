//! Tests what is available after `cargo install`, without the repository: experiments, completions,
//! manual pages.

mod common;

use std::path::Path;

use common::small::{ok, read, refused};

/// Reads a file of the repository.
fn clone(file: &str) -> String {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(file))
}

#[test]
fn an_embedded_experiment_is_what_its_file_is() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (_, _) = ok(root, "config write voc-mlt/db-focal");
    let written = read(&root.join("experiments/voc-mlt/db-focal.toml"));
    assert_eq!(written, clone("experiments/voc-mlt/db-focal.toml"));
    assert!(root.join("experiments/base/recipe.toml").is_file());
    let (from_file, said) = ok(root, "config show experiments/voc-mlt/db-focal.toml");
    assert!(!said.contains("embedded"), "{said}");
    let refused_again = refused(root, "config write voc-mlt/db-focal");
    assert!(refused_again.contains("--force"), "{refused_again}");

    std::fs::remove_dir_all(root.join("experiments")).unwrap();
    for name in ["voc-mlt/db-focal", "experiments/voc-mlt/db-focal.toml"] {
        let (embedded, said) = ok(root, &format!("config show {name}"));
        // Paths of data are relative to the working directory, as they were in the repository.
        assert_eq!(embedded, from_file, "{name}");
        assert!(
            said.contains("embedded experiment `voc-mlt/db-focal`"),
            "{said}"
        );
    }
    let here = root.canonicalize().unwrap();
    let devkit = here.join("data/VOCdevkit");
    assert!(from_file.contains(devkit.to_str().unwrap()), "{from_file}");

    // A sweep finds its experiment and the files of its methods.
    let (checked, _) = ok(root, "config check sweeps/voc07 own-data/garden");
    assert!(checked.contains("a sweep of 33 runs"), "{checked}");

    // A file takes precedence.
    std::fs::write(root.join("coco18"), "extends = 'x'").unwrap();
    let error = refused(root, "config show coco18");
    assert!(error.contains("coco18:1"), "{error}");
    let error = refused(root, "train shapes/emr");
    assert!(error.contains("did you mean `shapes/erm`?"), "{error}");
    let error = refused(
        root,
        "config show voc-mlt --method erm --set split.source.rot=x",
    );
    assert!(error.contains("did you mean `root`?"), "{error}");
}

#[test]
fn the_list_names_every_experiment_with_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let (text, _) = ok(folder.path(), "config list");
    assert!(
        text.contains("voc-mlt/db-focal") && text.contains("db-focal"),
        "{text}"
    );
    let (json, _) = ok(folder.path(), "config list --format json");
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    let row = rows.iter().find(|row| row["name"] == "shapes").unwrap();
    assert_eq!(row["kind"], "experiment");
    assert_eq!(row["methods"], "erm db-focal");
    let title = row["title"].as_str().unwrap();
    assert!(title.starts_with("ERM against DB-Focal on the embedded pictures"));
    ok(folder.path(), "config write --to all");
    let (listed, _) = ok(folder.path(), "config list --folder all --format json");
    let again: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
    assert_eq!(again.len(), rows.len());
}

#[test]
fn a_run_of_an_embedded_experiment_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let small = "--set split.source.pool_size=400 --set split.source.test_size=40 \
                 --set split.source.side=32 --set split.distribution.max=60 \
                 --set model.backbone=mobilenet_v2 --set model.weights= --set model.frozen_stages=-1 --set input.size=32 --set train.epochs=1 \
                 --set model.neck.out_channels=16 --set train.batch_size=8 \
                 --set sampler.epoch_length=16 --set schedule.milestones=[]";
    let small = small.split_whitespace().collect::<Vec<_>>().join(" ");
    ok(folder.path(), &format!("train shapes/erm {small} --out r"));
    let manifest = read(&folder.path().join("r/manifest.json"));
    assert!(manifest.contains("dbloss:/shapes/erm.toml"), "{manifest}");
    ok(folder.path(), "config check r/config.toml");
}

#[test]
fn shells_and_manual_readers_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (script, _) = ok(folder.path(), &format!("completions {shell}"));
        for word in ["predict", "completions", "sweep", "fit-thresholds"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    ok(folder.path(), "man pages");
    let page = read(&folder.path().join("pages/dbloss-eval.1"));
    assert!(page.contains("fit\\-thresholds"), "{page}");
    assert!(folder.path().join("pages/dbloss-config-show.1").is_file());
    assert!(!folder.path().join("pages/dbloss-sweep-task.1").exists());
}

//! Tests the features of a frozen backbone: computed once, with the same results as without
//! caching.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::small::{EXPERIMENT, dbloss, folder_with, read};
use predicates::prelude::*;

/// Returns the small experiment with everything below the neck frozen, a validation part, and
/// `more`.
fn frozen(more: &str) -> String {
    EXPERIMENT
        .replace("frozen_stages = -1\nnorm_eval = false", "frozen_stages = 4")
        .replace(
            "name = \"small\"",
            "name = \"small\"\n[split]\nvalidation = 30",
        )
        .replace("[methods.erm]", &format!("{more}\n[methods.erm]"))
}

const NO_AUGMENTATION: &str = "[input.augment]\nflip = 0.0\ncrop = { kind = 'none' }\n\
    photometric = { probability = 0.0, permute = 0.0 }";
const VIEWS: &str = "[input.augment]\nviews = 3";

fn train(folder: &Path, method: &str, out: &str, more: &[&str]) -> assert_cmd::assert::Assert {
    dbloss(folder)
        .args(["train", "small.toml", "--method", method, "--out", out])
        .args(more)
        .assert()
        .success()
}

fn evaluate(folder: &Path, out: &str, more: &[&str]) -> String {
    dbloss(folder)
        .args(["eval", out])
        .args(more)
        .assert()
        .success();
    read(&folder.join(out).join("eval/test/predictions.csv"))
}

/// Returns the tensors of a checkpoint outside the backbone, as bytes.
fn tensors(folder: &Path, out: &str) -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(folder.join(out).join("checkpoints/last.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    (file.tensors().into_iter())
        .filter(|(name, _)| !name.contains("backbone."))
        .map(|(name, tensor)| (name, tensor.data().to_vec()))
        .collect()
}

/// Returns the contents of `epochs.csv`.
fn scores(folder: &Path, out: &str) -> String {
    std::fs::read_to_string(folder.join(out).join("epochs.csv")).unwrap()
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = (std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    files.sort();
    files
}

/// Trains and evaluates in both ways, and compares everything except the times.
fn both_ways(folder: &Path, method: &str, name: &str, more: &[&str]) {
    let (short, long) = (format!("{name}-short"), format!("{name}-long"));
    let kept = ["--features-folder", "kept"];
    train(folder, method, &short, &[&kept[..], more].concat());
    train(
        folder,
        method,
        &long,
        &[&["--no-features"][..], more].concat(),
    );
    let text = |out: &str, file: &str| read(&folder.join(out).join(file));
    assert_eq!(
        text(&short, "steps.csv"),
        text(&long, "steps.csv"),
        "{name}"
    );
    assert_eq!(scores(folder, &short), scores(folder, &long), "{name}");
    assert_eq!(text(&short, "config.toml"), text(&long, "config.toml"));
    let tensors = [&short, &long].map(|out| tensors(folder, out));
    assert!(
        !tensors[0].is_empty() && tensors[0] == tensors[1],
        "{name}: tensors differ"
    );
    let predictions = [
        evaluate(folder, &short, &kept),
        evaluate(folder, &long, &["--no-features"]),
        // Each of the two runs is complete by itself.
        evaluate(folder, &short, &["--no-features"]),
        evaluate(folder, &long, &kept),
    ];
    assert!(
        predictions.iter().all(|found| *found == predictions[0]),
        "{name}"
    );
    let network = |out: &str| {
        let manifest: serde_json::Value =
            serde_json::from_str(&text(out, "manifest.json")).unwrap();
        manifest["network"].clone()
    };
    assert_eq!(network(&short), network(&long), "{name}");
    let size = |out: &str| {
        let path = folder.join(out).join("checkpoints/last.safetensors");
        path.metadata().unwrap().len()
    };
    assert!(
        size(&short) * 4 < size(&long),
        "{name}: the backbone is in the checkpoint"
    );
}

#[test]
fn kept_features_end_with_the_bytes_of_the_long_way() {
    for (name, more) in [("plain", NO_AUGMENTATION), ("views", VIEWS)] {
        let folder = folder_with(&frozen(more));
        both_ways(folder.path(), "db-focal", name, &[]);
        let averaged = [
            "--set",
            "train.ema_decay=0.9",
            "--set",
            "train.accumulation_steps=2",
        ];
        both_ways(folder.path(), "erm", "averaged", &averaged);
        let seen_twice = ["--set", "input.test_time.flip=true"];
        both_ways(folder.path(), "erm", "flipped", &seen_twice);
        let maps = "neck = { kind = \"none\" }\nhead = { kind = \"csra\" }";
        let on_maps = frozen(more).replace("neck = { out_channels = 16 }", maps);
        both_ways(folder_with(&on_maps).path(), "erm", "maps", &[]);
    }
}

#[test]
fn runs_of_all_seeds_and_methods_share_features_and_damaged_ones_are_made_anew() {
    let folder = folder_with(&frozen(VIEWS));
    let folder = folder.path();
    train(folder, "erm", "first", &["--features-folder", "first-kept"]);
    let weights = files(&folder.join("first-kept"), "safetensors");
    let set = format!("model.weights={}", weights[0].display());
    let run = |out: &str, more: &[&str]| {
        let given = ["--seeds", "0,1", "--set", &set, "--out", out];
        let assert = dbloss(folder)
            .args(["run", "small.toml", "--features-folder", "kept"])
            .args(given)
            .args(more)
            .assert()
            .success();
        let runs = ["db-focal-s0", "db-focal-s1", "erm-s0", "erm-s1"];
        let found = runs.map(|run| tensors(folder, &format!("{out}/small/{run}")));
        (
            found,
            String::from_utf8(assert.get_output().stderr.clone()).unwrap(),
        )
    };
    let (first, _) = run("runs", &[]);
    let kept = files(&folder.join("kept"), "features");
    assert_eq!(kept.len(), 3, "train, validation and test: {kept:?}");
    assert_eq!(files(&folder.join("kept"), "safetensors").len(), 1);
    let mut bytes = std::fs::read(&kept[0]).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&kept[0], &bytes).unwrap();
    std::fs::copy(&kept[2], &kept[1]).unwrap();
    let (again, said) = run("again", &[]);
    assert!(first == again);
    assert!(
        said.contains("is damaged") && said.contains("computed again"),
        "{said}"
    );
    assert!(said.contains("contains other features"), "{said}");

    // Concurrent processes need the same files.
    std::fs::remove_dir_all(folder.join("kept")).unwrap();
    let (side_by_side, _) = run("processes", &["--jobs", "2"]);
    assert!(first == side_by_side);
    assert_eq!(files(&folder.join("kept"), "features").len(), 3);
    assert!(run("long", &[]).0 == first);

    // Another subset has other training pictures but the same test pictures.
    dbloss(folder)
        .args([
            "run",
            "small.toml",
            "--features-folder",
            "kept",
            "--seeds",
            "0",
        ])
        .args([
            "--method",
            "erm",
            "--set",
            "split.seed=5",
            "--set",
            &set,
            "--out",
            "other",
        ])
        .assert()
        .success();
    let kept = files(&folder.join("kept"), "features");
    assert_eq!(kept.len(), 5, "train and validation anew: {kept:?}");
}

#[test]
fn what_cannot_be_kept_is_told_once_with_what_to_set() {
    let folder = folder_with(&frozen(""));
    let told = predicate::str::contains("`input.augment.views`").count(1);
    dbloss(folder.path())
        .args(["run", "small.toml", "--set", "train.epochs=1"])
        .assert()
        .success()
        .stderr(told);
    // The features of the test pictures can be cached all the same.
    let kept = folder.path().join("runs/small/split/features");
    assert_eq!(files(&kept, "features").len(), 2);
}

#[test]
fn a_run_that_was_stopped_goes_on_either_way() {
    let folder = folder_with(&frozen(VIEWS));
    let folder = folder.path();
    train(folder, "erm", "whole", &[]);
    for (name, first, then) in [
        ("kept-first", &[][..], &["--no-features"][..]),
        ("long-first", &["--no-features"][..], &[][..]),
    ] {
        let checkpoint = folder.join(name).join("checkpoints/last.safetensors");
        let arguments = ["train", "small.toml", "--method", "erm", "--out", name];
        let slowly = ["--set", "train.checkpoint_steps=1"];
        let arguments = [&arguments[..], &slowly, first].concat();
        let mut child = common::small::start(folder, &arguments);
        assert!(common::small::wait_for(&mut child, || checkpoint.is_file()));
        common::small::signal(child.id(), "TERM");
        child.wait().unwrap();
        train(folder, "erm", name, &[&["--resume"][..], then].concat());
        let steps = |out: &str| read(&folder.join(out).join("steps.csv"));
        assert_eq!(steps(name), steps("whole"), "{name}");
        assert!(tensors(folder, name) == tensors(folder, "whole"), "{name}");
    }
}

/// Features that are exported and imported again lead to the same bytes as cached ones.
#[test]
fn features_that_are_given_train_as_those_that_are_kept() {
    let folder = folder_with(&frozen(VIEWS).replace("views = 3", "views = 1"));
    let folder = folder.path();
    train(folder, "erm", "runs/small/kept", &[]);
    let expected = evaluate(folder, "runs/small/kept", &[]);
    let export = |more: &[&str]| {
        dbloss(folder)
            .args(["features", "small.toml", "--method", "erm"])
            .args(more)
            .assert()
            .success();
    };
    export(&["--on", "train", "--views", "1", "--out", "train.npy"]);
    export(&["--on", "validation", "--out", "held-out.npy"]);
    export(&["--on", "test", "--out", "test.safetensors"]);
    // Rows in another order, names without folders, and an additional picture.
    let names = read(&folder.join("train.csv"));
    let count = names.lines().count() - 1;
    let mut bytes = std::fs::read(folder.join("train.npy")).unwrap();
    let header = bytes.len() - count * 1280 * 4;
    let rows: Vec<Vec<u8>> = bytes
        .split_off(header)
        .chunks(1280 * 4)
        .map(<[u8]>::to_vec)
        .collect();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text.contains(&format!("({count}, 1280)")), "{text}");
    let grown = text.replace(
        &format!("({count}, 1280)"),
        &format!("({}, 1280)", count + 1),
    );
    assert_eq!(
        grown.len(),
        text.len(),
        "choose another set: the header grows"
    );
    let at = bytes.windows(5).position(|part| part == b"shape").unwrap();
    let number = bytes[at..].iter().position(u8::is_ascii_digit).unwrap() + at;
    let digits = (count + 1).to_string();
    bytes[number..number + digits.len()].copy_from_slice(digits.as_bytes());
    rows.iter().rev().for_each(|row| bytes.extend(row));
    bytes.extend(vec![0; 1280 * 4]);
    std::fs::write(folder.join("train.npy"), &bytes).unwrap();
    let mut lines: Vec<&str> = names
        .lines()
        .skip(1)
        .map(|line| line.split(',').next().unwrap())
        .collect();
    lines.reverse();
    lines.push("stranger.jpg");
    std::fs::write(folder.join("names.txt"), lines.join("\n")).unwrap();
    std::fs::remove_file(folder.join("train.csv")).unwrap();

    let given = EXPERIMENT
        .replace(
            "backbone = \"mobilenet_v2\"\nfrozen_stages = -1\nnorm_eval = false\n",
            "",
        )
        .replace(
            "name = \"small\"",
            "name = \"small\"\nsplit_folder = \"runs/small/split\"\n",
        )
        .replace(
            "[input]",
            "features = { train = 'train.npy', train_names = 'names.txt', \
             validation = 'held-out.npy', test = 'test.safetensors' }\n[input]",
        );
    std::fs::write(folder.join("small.toml"), &given).unwrap();
    let said = train(folder, "erm", "given", &[]);
    let said = String::from_utf8(said.get_output().stderr.clone()).unwrap();
    assert!(
        said.contains("1 of") && said.contains("`stranger.jpg`"),
        "{said}"
    );
    let steps = |out: &str| read(&folder.join(out).join("steps.csv"));
    assert_eq!(steps("given"), steps("runs/small/kept"));
    assert_eq!(scores(folder, "given"), scores(folder, "runs/small/kept"));
    assert!(tensors(folder, "given") == tensors(folder, "runs/small/kept"));
    assert_eq!(evaluate(folder, "given", &[]), expected);

    // Inconsistent features are refused, with the key or the picture.
    let mut fewer = lines.clone();
    fewer[0] = "another.jpg";
    std::fs::write(folder.join("fewer.txt"), fewer.join("\n")).unwrap();
    for (set, said) in [
        ("model.weights='w.safetensors'", "model.weights"),
        ("model.frozen_stages=4", "model.frozen_stages"),
        ("model.backbone='resnet18'", "model.backbone"),
        ("model.head.kind='csra'", "model.head.kind"),
        ("model.features.train_names='held-out.csv'", "names"),
        ("model.features.train_names='fewer.txt'", lines[0]),
        (
            "model.features.train='small.toml'",
            "`.npy` or `.safetensors`",
        ),
    ] {
        dbloss(folder)
            .args([
                "train",
                "small.toml",
                "--method",
                "erm",
                "--out",
                "no",
                "--set",
                set,
            ])
            .assert()
            .code(2)
            .stderr(predicate::str::contains(said));
    }
}

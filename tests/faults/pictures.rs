//! Pictures and caches that change under the hands of a run.

use std::path::Path;

use crate::common::small::{dbloss, ok, read, signal, start, wait_for};
use crate::common::tree::{assert_same, tree};

const EXPERIMENT: &str = r#"
name = "own"
[split]
distribution = { kind = "as-is" }
[split.source]
kind = "table"
train = "t.csv"
[model]
backbone = "resnet10_w16"
neck = { out_channels = 4 }
[input]
size = 24
[train]
batch_size = 4
epochs = 3
checkpoint_steps = 1
[sampler]
kind = "uniform"
[methods.erm]
loss = { name = "bce" }
"#;

/// A folder with an experiment on pictures of its own.
pub(crate) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut rows = "image,labels\n".to_owned();
    for i in 0..16 {
        let picture = dbloss::data::shapes::draw(0, &format!("pool/{i:06}"), 30).unwrap();
        let name = format!("{i:02}.png");
        std::fs::write(folder.path().join(&name), picture.to_png().unwrap()).unwrap();
        rows += &format!("{name},{}\n", ["a", "b", "a|b"][i % 3]);
    }
    std::fs::write(folder.path().join("t.csv"), rows).unwrap();
    std::fs::write(folder.path().join("own.toml"), EXPERIMENT).unwrap();
    folder
}

const TRAIN: &str = "train own.toml --out run --workers 1 --cache-memory 0";

/// Starts the training and stops it once it has a checkpoint.
fn stopped(folder: &Path, words: &str) {
    let mut child = start(folder, &words.split(' ').collect::<Vec<_>>());
    let last = folder.join("run/checkpoints/last.safetensors");
    assert!(wait_for(&mut child, || last.is_file()));
    signal(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_picture_that_goes_is_named_and_the_training_goes_on_when_it_is_back() {
    let folder = folder();
    let folder = folder.path();
    ok(folder, TRAIN);
    let whole = tree(folder, &["run"]);
    for (fault, change) in [
        ("deleted", None),
        ("shortened", Some(200)),
        ("empty", Some(0)),
        ("no picture", Some(usize::MAX)),
    ] {
        std::fs::remove_dir_all(folder.join("run")).unwrap();
        let mut child = start(folder, &TRAIN.split(' ').collect::<Vec<_>>());
        let last = folder.join("run/checkpoints/last.safetensors");
        assert!(wait_for(&mut child, || last.is_file()));
        // All of them, so that the next batch meets one.
        let pictures: Vec<_> = (0..16)
            .map(|i| folder.join(format!("{i:02}.png")))
            .collect();
        let kept: Vec<_> = pictures
            .iter()
            .map(|path| std::fs::read(path).unwrap())
            .collect();
        for (path, bytes) in pictures.iter().zip(&kept) {
            match change {
                None => std::fs::remove_file(path).unwrap(),
                Some(usize::MAX) => std::fs::write(path, "<!DOCTYPE html>").unwrap(),
                Some(length) => std::fs::write(path, &bytes[..length]).unwrap(),
            }
        }
        let status = child.wait().unwrap();
        if !status.success() {
            // Where it had read all that it needed, there is nothing to tell.
            let manifest = read(&folder.join("run/manifest.json"));
            assert!(
                manifest.contains("\"failed\"") && manifest.contains(".png"),
                "{fault}"
            );
        }
        assert!(status.code().is_some(), "{fault}: {status}");
        for (path, bytes) in pictures.iter().zip(&kept) {
            std::fs::write(path, bytes).unwrap();
        }
        ok(folder, &format!("{TRAIN} --resume"));
        assert_same(&tree(folder, &["run"]), &whole, fault);
    }
}

#[test]
fn a_picture_that_goes_may_be_left_out() {
    let folder = folder();
    let folder = folder.path();
    stopped(folder, TRAIN);
    std::fs::remove_file(folder.join("03.png")).unwrap();
    let refused = dbloss(folder)
        .args(TRAIN.split(' '))
        .arg("--resume")
        .output()
        .unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("03.png"));
    let words = format!("{TRAIN} --resume --on-bad-image skip --set train.batch_size=4");
    let output = dbloss(folder).args(words.split(' ')).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // Every step needs its pictures: with one fewer the last batch of the epoch is not full.
    assert!(said.contains("03.png"), "{said}");
}

#[test]
fn a_cache_that_is_damaged_or_gone_changes_nothing() {
    let folder = folder();
    let folder = folder.path();
    ok(folder, TRAIN);
    let whole = tree(folder, &["run"]);
    let cached = format!("{TRAIN} --cache-folder cache --force");
    ok(folder, &cached);
    assert_same(&tree(folder, &["run"]), &whole, "with a cache");
    let files = tree(folder, &["cache"]);
    assert!(files.len() >= 16);
    for (number, (name, bytes)) in files.iter().enumerate() {
        let mut bent = bytes.clone();
        match number % 3 {
            0 => bent[bytes.len() / 2] ^= 0x40,
            1 => bent.truncate(bytes.len() / 2),
            _ => bent.clear(),
        }
        std::fs::write(folder.join(name), bent).unwrap();
    }
    ok(folder, &cached);
    assert_same(&tree(folder, &["run"]), &whole, "with a damaged cache");
    assert_same(&tree(folder, &["cache"]), &files, "the cache made anew");

    // Gone in the middle.
    std::fs::remove_dir_all(folder.join("run")).unwrap();
    let words = format!("{TRAIN} --cache-folder cache");
    let mut child = start(folder, &words.split(' ').collect::<Vec<_>>());
    let last = folder.join("run/checkpoints/last.safetensors");
    assert!(wait_for(&mut child, || last.is_file()));
    std::fs::remove_dir_all(folder.join("cache")).unwrap();
    assert!(child.wait().unwrap().success());
    assert_same(&tree(folder, &["run"]), &whole, "with a cache that goes");
}

//! Tests pictures in tar archives against the same pictures as files: the same splits, trainings,
//! scores.

mod common;

use std::path::Path;

use common::small::{OWN, dbloss, ok, read};
use dbloss::data::shapes;
use predicates::prelude::*;

/// Returns a POSIX tar archive of files.
fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in files {
        let mut block = [0; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        block[156] = b'0';
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes.extend(block);
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// Creates a folder with the same pictures as files with tables and as shards: two for the pool,
/// one for testing.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut number = 0;
    for (shards, table, count) in [
        (&["pool-0", "pool-1"][..], "pool", 18),
        (&["test"], "test", 11),
    ] {
        let mut rows = "image,labels\n".to_owned();
        for shard in shards {
            std::fs::create_dir_all(root.join("files").join(shard)).unwrap();
            let mut files = Vec::new();
            for i in 0..count {
                let picture = shapes::draw(0, &format!("pool/{number:06}"), 40).unwrap();
                let bytes = picture.to_png().unwrap();
                let labels = ["a", "b", "a|b", "b|c", "a|c"][number % 5];
                std::fs::write(root.join(format!("files/{shard}/{i:02}.png")), &bytes).unwrap();
                files.push((format!("{i:02}.png"), bytes));
                files.push((
                    format!("{i:02}.txt"),
                    labels.replace('|', "\n").into_bytes(),
                ));
                rows += &format!("files/{shard}/{i:02}.png,{labels}\n");
                number += 1;
            }
            std::fs::write(root.join(format!("{shard}.tar")), archive(&files)).unwrap();
        }
        std::fs::write(root.join(format!("{table}.csv")), rows).unwrap();
    }
    std::fs::write(root.join("own.toml"), OWN).unwrap();
    folder
}

/// Runs a command that succeeds and returns its stdout.
fn printed(folder: &Path, arguments: &str) -> String {
    ok(folder, arguments).0
}

/// Replaces the names of pictures in shards in a text by those of the files.
fn as_files(text: &str) -> String {
    ["pool-0", "pool-1", "test"]
        .iter()
        .fold(text.to_owned(), |text, shard| {
            text.replace(&format!("{shard}.tar/"), &format!("files/{shard}/"))
        })
}

#[test]
fn training_and_scores_are_those_of_the_same_pictures_as_files() {
    let folder = folder();
    let folder = folder.path();
    printed(
        folder,
        "split --table pool.csv --test test.csv --validation 8 --out files-split",
    );
    printed(
        folder,
        "split --webdataset pool-{0..1}.tar --test test.tar --validation 8 --out tar-split",
    );
    for table in ["train", "validation", "test", "classes"] {
        let read = |split: &str| read(&folder.join(format!("{split}/{table}.csv")));
        assert_eq!(as_files(&read("tar-split")), read("files-split"), "{table}");
    }
    printed(
        folder,
        "train own.toml --set split_folder=files-split --out f --workers 0 --threads 1",
    );
    printed(
        folder,
        "train own.toml --set split_folder=tar-split --out t --workers 3 --threads 2 --cache-folder kept",
    );
    printed(folder, "eval f");
    printed(folder, "eval t --workers 2");
    let scores = "eval/test/predictions.csv";
    let expected = read(&folder.join("f").join(scores));
    assert_eq!(as_files(&read(&folder.join("t").join(scores))), expected);
    // An archive provides its pictures in order, also as a replacement for a set.
    let predicted = printed(
        folder,
        "predict t test.tar --format predictions --workers 2",
    );
    assert_eq!(as_files(&predicted), expected);
    printed(folder, "eval t --webdataset test.tar --name again");
    let again = read(&folder.join("t/eval/other-again/predictions.csv"));
    assert_eq!(as_files(&again), expected);
}

#[test]
fn archives_that_are_broken_are_named() {
    let folder = folder();
    let folder = folder.path();
    let split = |name: &str| {
        dbloss(folder)
            .args(["split", "--webdataset", name, "--out", "s"])
            .assert()
            .code(2)
    };
    split("pool-{0..3}.tar").stderr(predicate::str::contains("pool-2.tar"));
    let whole = std::fs::read(folder.join("test.tar")).unwrap();
    std::fs::write(folder.join("cut.tar"), &whole[..whole.len() / 2]).unwrap();
    split("cut.tar")
        .stderr(predicate::str::contains("cut.tar").and(predicate::str::contains("cut off")));
    let evil = archive(&[("../a.png".to_owned(), b"x".to_vec())]);
    std::fs::write(folder.join("evil.tar"), evil).unwrap();
    split("evil.tar").stderr(predicate::str::contains("`../a.png`"));
    let unlabelled = archive(&[("a.png".to_owned(), b"x".to_vec())]);
    std::fs::write(folder.join("bare.tar"), unlabelled).unwrap();
    split("bare.tar").stderr(predicate::str::contains("bare.tar/a"));
}

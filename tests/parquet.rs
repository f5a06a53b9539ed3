//! Tests pictures in Parquet files against the same pictures as files: the same splits, trainings,
//! scores.

mod common;

use std::path::Path;

use common::parquet::{Labels, Written, class_names};
use common::small::{OWN, dbloss, ok, read, refused};
use dbloss::data::formats::{Parquet, Source};
use dbloss::data::shapes;
use parquet::basic::Compression;
use predicates::prelude::*;

const CLASSES: [&str; 3] = ["a", "b", "c"];

/// Creates a folder with the same pictures as files with tables and in Parquet files: two for the
/// pool, one for testing.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut number = 0;
    for (files, table, count) in [
        (&["pool-0", "pool-1"][..], "pool", 18),
        (&["test"], "test", 11),
    ] {
        let mut rows = "image,labels\n".to_owned();
        for file in files {
            let pictures = root.join("files").join(file).join("image");
            std::fs::create_dir_all(&pictures).unwrap();
            let (mut inside, mut labels) = (Vec::new(), Vec::new());
            for i in 0..count {
                let picture = shapes::draw(0, &format!("pool/{number:06}"), 40).unwrap();
                let bytes = picture.to_png().unwrap();
                let shown =
                    [vec![0], vec![1], vec![0, 1], vec![1, 2], vec![0, 2]][number % 5].clone();
                std::fs::write(pictures.join(format!("{i}.png")), &bytes).unwrap();
                let names: Vec<&str> = shown.iter().map(|&c| CLASSES[c as usize]).collect();
                rows += &format!("files/{file}/image/{i}.png,{}\n", names.join("|"));
                inside.push(Some(bytes));
                labels.push(shown);
                number += 1;
            }
            let written = Written {
                pictures: &inside,
                plain: false,
                labels: Labels::Numbers(labels),
                metadata: Some(class_names("labels", &CLASSES, true)),
                group: 5,
                packed: Compression::SNAPPY,
            };
            std::fs::write(root.join(format!("{file}.parquet")), written.bytes()).unwrap();
        }
        std::fs::write(root.join(format!("{table}.csv")), rows).unwrap();
    }
    std::fs::write(root.join("own.toml"), OWN).unwrap();
    folder
}

/// Replaces the names of pictures in Parquet files in a text by those of the files.
fn as_files(text: &str) -> String {
    let line = |line: &str| {
        let (name, rest) = line.split_once(',').unwrap();
        match name.split_once(".parquet/") {
            Some((file, row)) => format!("files/{file}/{row}.png,{rest}\n"),
            None => format!("{line}\n"),
        }
    };
    text.lines().map(line).collect()
}

#[test]
fn training_and_scores_are_those_of_the_same_pictures_as_files() {
    let folder = folder();
    let folder = folder.path();
    let run = |arguments: &str| ok(folder, arguments).0;
    run("split --table pool.csv --test test.csv --validation 8 --out files-split");
    run("split --parquet pool-*.parquet --test test.parquet --validation 8 --out rows-split");
    for table in ["train", "validation", "test", "classes"] {
        let read = |split: &str| read(&folder.join(format!("{split}/{table}.csv")));
        assert_eq!(
            as_files(&read("rows-split")),
            read("files-split"),
            "{table}"
        );
    }
    run("train own.toml --set split_folder=files-split --out f --workers 0 --threads 1");
    run(
        "train own.toml --set split_folder=rows-split --out r --workers 3 --threads 2 --cache-folder kept",
    );
    run("eval f");
    run("eval r --workers 2");
    let scores = "eval/test/predictions.csv";
    let expected = read(&folder.join("f").join(scores));
    assert_eq!(as_files(&read(&folder.join("r").join(scores))), expected);
    // A Parquet file provides its pictures in order, also as a replacement for a set.
    let predicted = run("predict r test.parquet --format predictions --workers 2");
    assert_eq!(as_files(&predicted), expected);
    run("eval r --parquet test.parquet --name again");
    let again = read(&folder.join("r/eval/other-again/predictions.csv"));
    assert_eq!(as_files(&again), expected);
}

/// The file was written by pyarrow, see `make_parquet.py` next to it.
#[test]
fn a_file_of_pyarrow_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/input");
    let source = Source::Parquet(Parquet {
        train: folder.join("small.parquet"),
        ..Parquet::default()
    });
    let loaded = source.load().unwrap();
    assert_eq!(
        loaded.pool.classes(),
        ["red", "green", "blue", "none of them"]
    );
    let labels: Vec<&[u32]> = (0..3).map(|i| loaded.pool.labels(i)).collect();
    assert_eq!(labels, [&[0][..], &[1, 2], &[]]);
    let said = loaded.account.facts();
    assert!(
        said[0].what.contains("left out") && said[0].first == ["note"],
        "{said:?}"
    );
    for (image, colour) in loaded
        .pool
        .images()
        .iter()
        .zip([[255, 0, 0], [0, 255, 0], [0, 0, 255]])
    {
        let picture = loaded.train_root.decode(image).unwrap();
        assert_eq!((picture.width(), picture.height()), (8, 8));
        assert_eq!(picture.pixels(), colour.repeat(64), "{image}");
    }
}

#[test]
fn a_picture_that_is_none_is_named_with_its_row() {
    let folder = folder();
    let folder = folder.path();
    let written = Written {
        pictures: &[Some(b"no picture".to_vec()), None],
        plain: true,
        labels: Labels::Numbers(vec![vec![0], vec![0]]),
        metadata: Some(class_names("labels", &["a"], true)),
        group: 1,
        packed: Compression::UNCOMPRESSED,
    };
    std::fs::write(folder.join("bad.parquet"), written.bytes()).unwrap();
    let (_, said) = ok(folder, "split --parquet bad.parquet --out bad");
    assert!(said.contains("bad.parquet/image/0"), "{said}");
    let said = refused(folder, "split --parquet gone-*.parquet --out s");
    assert!(said.contains("gone-*.parquet"), "{said}");
    dbloss(folder)
        .args([
            "split",
            "--parquet",
            "pool-0.parquet",
            "--label-column",
            "x",
        ])
        .args(["--out", "s"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("no column `x`"));
}

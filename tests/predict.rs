//! Tests the labels that a trained run predicts for pictures, and its scores on another data set.

mod common;

use std::path::Path;

use common::small::{dbloss, ok, read};
use dbloss::data::shapes;
use predicates::prelude::*;

const EXPERIMENT: &str = r#"
name = "own"
split_folder = "s"
[model]
backbone = "mobilenet_v2"
frozen_stages = -1
norm_eval = false
neck = { out_channels = 16 }
[input]
size = 32
[train]
batch_size = 4
epochs = 1
[methods.erm]
loss = { name = "bce" }
sampler = { kind = "uniform", epoch_length = 24 }
"#;

/// Creates a folder with pictures, a split of them with a validation part, and the trained run `r`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::create_dir_all(root.join("p/test")).unwrap();
    let mut number = 0;
    for (table, prefix, count) in [("train", "p/t", 36), ("test", "p/test/u", 11)] {
        let mut rows = "image,labels\n".to_owned();
        for i in 0..count {
            let picture = shapes::draw(0, &format!("pool/{number:06}"), 40).unwrap();
            let name = format!("{prefix}{i:02}.png");
            std::fs::write(root.join(&name), picture.to_png().unwrap()).unwrap();
            let labels = ["a", "b", "a|b", "b|c", "a|c"][number % 5];
            rows += &format!("{name},{labels}\n");
            number += 1;
        }
        std::fs::write(root.join(format!("{table}.csv")), rows).unwrap();
    }
    std::fs::write(root.join("own.toml"), EXPERIMENT).unwrap();
    printed(
        root,
        "split --table train.csv --test test.csv --validation 10 --out s",
    );
    printed(root, "train own.toml --out r");
    folder
}

/// Runs a command that succeeds and returns its stdout.
fn printed(folder: &Path, arguments: &str) -> String {
    ok(folder, arguments).0
}

/// Returns the names of the test pictures, one per line.
fn list(folder: &Path) -> String {
    let table = read(&folder.join("test.csv"));
    let names = table.lines().skip(1);
    names
        .map(|line| format!("{}\n", line.split(',').next().unwrap()))
        .collect()
}

#[test]
fn predictions_are_those_of_the_evaluation() {
    let folder = folder();
    let folder = folder.path();
    printed(folder, "eval r");
    let expected = read(&folder.join("r/eval/test/predictions.csv"));
    for machine in ["--workers 0 --threads 1", "--workers 3 --threads 2"] {
        let output = dbloss(folder)
            .args(format!("predict r - --format predictions {machine}").split(' '))
            .write_stdin(list(folder))
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            expected,
            "{machine}"
        );
    }
    // The pictures of a folder are sorted, which here gives the same order.
    assert_eq!(
        printed(folder, "predict r p/test --format predictions"),
        expected
    );

    // Labels are the classes whose logit is above its threshold; the thresholds are fitted once.
    let labelled = printed(folder, "predict r p/test");
    let kept = folder.join("r/eval/validation/thresholds.csv");
    let logits = |path: &Path, column: usize| -> Vec<Vec<f64>> {
        let mut csv = csv::Reader::from_path(path).unwrap();
        csv.records()
            .map(|row| {
                let cells = row.unwrap();
                cells
                    .iter()
                    .skip(column)
                    .map(|cell| cell.parse().unwrap_or(0.0))
                    .collect()
            })
            .collect()
    };
    let thresholds: Vec<f64> = logits(&kept, 1).into_iter().map(|row| row[0]).collect();
    // Logits are written with the digits of `f32`.
    let scores: Vec<Vec<f64>> = (logits(&folder.join("r/eval/test/predictions.csv"), 1)
        .into_iter())
    .map(|row| {
        row.into_iter()
            .map(|logit| f64::from(logit as f32))
            .collect()
    })
    .collect();
    let mut csv = csv::Reader::from_reader(labelled.as_bytes());
    assert_eq!(
        csv.headers().unwrap(),
        vec!["image", "labels", "a", "b", "c"]
    );
    let mut seen = 0;
    for (row, scores) in csv.records().map(Result::unwrap).zip(&scores) {
        let mut expected: Vec<&str> = ["a", "b", "c"]
            .into_iter()
            .enumerate()
            .filter(|(class, _)| scores[*class] > thresholds[*class])
            .map(|(_, name)| name)
            .collect();
        let mut found: Vec<&str> = row[1].split('|').filter(|name| !name.is_empty()).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected);
        let probability: f64 = row[2].parse().unwrap();
        assert!((probability - 1.0 / (1.0 + (-scores[0]).exp())).abs() < 1e-15);
        seen += 1;
    }
    assert_eq!(seen, 11);
    dbloss(folder)
        .args(["predict", "r", "p/test"])
        .assert()
        .success()
        .stdout(labelled)
        .stderr(predicate::str::contains("fitting thresholds").not());

    // The folder of the run is sufficient.
    std::fs::rename(folder.join("s"), folder.join("elsewhere")).unwrap();
    assert_eq!(
        printed(folder, "predict r p/test --format predictions"),
        expected
    );
    printed(folder, "predict r p/test");

    // Averaging a run with itself gives the run, as probabilities.
    let twice = printed(folder, "predict r --with r p/test --format predictions");
    let mut csv = csv::Reader::from_reader(twice.as_bytes());
    assert_eq!(&csv.headers().unwrap()[0], "image (probabilities)");
    for (row, scores) in csv.records().map(Result::unwrap).zip(&scores) {
        let probability: f64 = row[1].parse().unwrap();
        assert!((probability - 1.0 / (1.0 + (-scores[0]).exp())).abs() < 1e-12);
    }
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_goes_on() {
    let folder = folder();
    let folder = folder.path();
    std::fs::write(folder.join("bad.jpg"), "no picture").unwrap();
    let output = dbloss(folder)
        .args("predict r p/t00.png bad.jpg gone.jpg p/t01.png --top 1 --format jsonl".split(' '))
        .assert()
        .code(5)
        .stderr(
            predicate::str::contains("bad.jpg")
                .and(predicate::str::contains("gone.jpg"))
                .and(predicate::str::contains(
                    "2 of 4 pictures could not be read",
                )),
        );
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    let rows: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 2);
    for (row, name) in rows.iter().zip(["p/t00.png", "p/t01.png"]) {
        assert_eq!(row["image"], name);
        assert_eq!(row["labels"].as_array().unwrap().len(), 1);
    }
    for (arguments, said) in [
        ("predict r gone.jpg", "none of 1 picture could be read"),
        ("predict r p --threshold 2", "from 0 to 1"),
        ("predict r p --format predictions --top 2", "has no effect"),
        ("predict s p", "is not a run's folder"),
    ] {
        dbloss(folder)
            .args(arguments.split(' '))
            .assert()
            .code(2)
            .stderr(predicate::str::contains(said));
    }
}

#[test]
fn another_set_is_matched_by_the_names_of_classes() {
    let folder = folder();
    let folder = folder.path();
    printed(folder, "eval r");
    let own = read(&folder.join("r/eval/test/per_class.csv"));
    // The same pictures as a separate set give the same results, in any order of the columns.
    printed(folder, "eval r --table test.csv --name same");
    let same = folder.join("r/eval/other-same");
    assert_eq!(read(&same.join("per_class.csv")), own);
    assert_eq!(
        read(&same.join("predictions.csv")),
        read(&folder.join("r/eval/test/predictions.csv"))
    );
    printed(folder, "eval r --test-split s");
    assert_eq!(read(&folder.join("r/eval/other-s/per_class.csv")), own);

    // Without `b`, and with a class that the run does not know.
    let table = read(&folder.join("test.csv"))
        .replace("b|c", "c")
        .replace("a|b", "a");
    let table = table.replace(",b\n", ",zebra\n");
    std::fs::write(folder.join("new.csv"), table).unwrap();
    dbloss(folder)
        .args(["eval", "r", "--table", "new.csv"])
        .assert()
        .success()
        .stderr(predicate::str::contains("`zebra`").and(predicate::str::contains("`b`")));
    let classes = read(&folder.join("r/eval/other-new/per_class.csv"));
    let rows: Vec<Vec<&str>> = classes
        .lines()
        .map(|line| line.split(',').collect())
        .collect();
    assert_eq!(rows[2][0], "b");
    assert!(rows[2][4..].iter().all(|cell| cell.is_empty()), "{classes}");
    // The labels of the other classes are unchanged, and so is their AP.
    let first = |text: &str| text.lines().nth(1).map(|line| line.to_owned());
    assert_eq!(first(&classes), first(&own));
    assert_eq!(read(&folder.join("r/eval/test/per_class.csv")), own);

    // Other labels under the same name, and a table without a common class.
    std::fs::write(folder.join("new.csv"), "image,labels\np/t00.png,a\n").unwrap();
    std::fs::write(folder.join("none.csv"), "image,labels\np/t00.png,yak\n").unwrap();
    for (arguments, said) in [
        ("eval r --table new.csv", "--name"),
        ("eval r --table none.csv", "no class of the run"),
        ("eval r --name x", "has no effect without another data set"),
        ("eval r --images p", "has no effect with `--test-split`"),
    ] {
        dbloss(folder)
            .args(arguments.split(' '))
            .assert()
            .code(2)
            .stderr(predicate::str::contains(said));
    }
}

/// Returns the score files, byte for byte.
fn scores(folder: &Path) -> Vec<String> {
    let names = [
        "predictions.csv",
        "per_class.csv",
        "groups.csv",
        "scores.csv",
    ];
    names.map(|name| read(&folder.join(name))).into()
}

#[test]
fn an_exported_file_is_scored_as_its_run_is() {
    let folder = folder();
    let folder = folder.path();
    let mut shown = Vec::new();
    printed(folder, "export r --out x/birds.safetensors");
    for model in ["r", "x/birds.safetensors --split s"] {
        shown.push([
            printed(folder, &format!("eval {model}")),
            printed(
                folder,
                &format!("eval {model} --fit-thresholds --on validation"),
            ),
            printed(folder, &format!("eval {model} --table test.csv --name new")),
            printed(folder, &format!("eval {model} --against r")),
        ]);
    }
    assert_eq!(shown[0], shown[1]);
    for set in ["test", "validation", "other-new"] {
        let [run, file] =
            ["r", "x/birds"].map(|of| scores(&folder.join(of).join("eval").join(set)));
        assert_eq!(run, file, "{set}");
    }
    // The card alone defines the groups; the pictures have to be given.
    let alone = printed(
        folder,
        "eval x/birds.safetensors --table test.csv --name new",
    );
    assert_eq!(alone, shown[0][2]);
    let file = ["eval", "x/birds.safetensors"];
    let hint = predicate::str::contains("does not come with pictures");
    dbloss(folder)
        .args(file)
        .assert()
        .failure()
        .code(2)
        .stderr(hint);
    printed(folder, "split --table test.csv --test-part 3 --out other");
    let other = [&file[..], &["--split", "other"]].concat();
    let hint = predicate::str::contains("is not the split that the run was trained on");
    dbloss(folder)
        .args(other)
        .assert()
        .failure()
        .code(2)
        .stderr(hint);
}

//! Tests `dbloss export` end to end: the exported file is sufficient by itself, and its card agrees
//! with the run's folder.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::small::{EXPERIMENT, dbloss, folder_with, read};
use predicates::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value;

/// Trains the small experiment with a validation part for one epoch.
fn trained(change: impl Fn(String) -> String) -> tempfile::TempDir {
    let experiment = EXPERIMENT
        .replace(
            "name = \"small\"",
            "name = \"small\"\n[split]\nvalidation = 30",
        )
        .replace("epochs = 2", "epochs = 1");
    let folder = folder_with(&change(experiment));
    let train = ["train", "small.toml", "--method", "erm", "--out", "run"];
    dbloss(folder.path()).args(train).assert().success();
    folder
}

/// Runs `export` and returns the words that it prints.
fn export(folder: &Path, arguments: &[&str]) -> Vec<String> {
    let output = dbloss(folder).arg("export").args(arguments).output();
    let output = output.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn refused(folder: &Path, arguments: &[&str]) -> String {
    let assert = dbloss(folder).arg("export").args(arguments).assert();
    let output = assert.failure().code(2).get_output().clone();
    String::from_utf8(output.stderr).unwrap()
}

fn card(file: &Path) -> Value {
    let bytes = std::fs::read(file).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    serde_json::from_str(&metadata["dbloss.card"]).unwrap()
}

/// Returns names, shapes and bytes of the tensors of a file, except those of an optimiser.
fn tensors(file: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let bytes = std::fs::read(file).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    (file.tensors().into_iter())
        .filter(|(name, _)| !name.starts_with("optimizer."))
        .map(|(name, t)| (name, (t.shape().to_vec(), t.data().to_vec())))
        .collect()
}

#[test]
fn the_file_has_every_tensor_bit_for_bit_and_a_card_of_the_run() {
    let folder = trained(|text| text);
    let path = folder.path();
    dbloss(path).args(["eval", "run"]).assert().success();
    let printed = export(path, &["run", "--card", "md", "--card", "json"]);
    let file = path.join("run/export/run.safetensors");
    let beside = ["safetensors", "md", "json"].map(|ending| format!("run/export/run.{ending}"));
    assert_eq!(printed, beside);

    let kept = tensors(&path.join("run/checkpoints/last.safetensors"));
    let mut expected = BTreeMap::new();
    for (name, tensor) in kept {
        let published = match name.strip_prefix("backbone.") {
            Some(published) => published.to_owned(),
            None => format!("dbloss.{name}"),
        };
        expected.insert(published, tensor);
    }
    let found = tensors(&file);
    assert!(
        found.contains_key("features.0.0.weight"),
        "{:?}",
        found.keys()
    );
    assert!(found.contains_key("dbloss.neck.bn.running_var"));
    assert!(found == expected);

    let card = card(&file);
    let manifest: Value = serde_json::from_str(&read(&path.join("run/manifest.json"))).unwrap();
    let classes = card["classes"].as_array().unwrap();
    let names: Vec<&Value> = classes.iter().map(|class| &class["name"]).collect();
    let own = manifest["classes"].as_array().unwrap();
    assert_eq!(names, own.iter().collect::<Vec<_>>());
    assert_eq!(card["split"]["hash"], manifest["split_hash"]);
    let split = Path::new(manifest["split_folder"].as_str().unwrap());
    for set in ["train", "validation", "test"] {
        let rows = read(&split.join(format!("{set}.csv"))).lines().count() - 1;
        assert_eq!(card["split"]["images"][set], rows, "{set}");
    }
    assert_eq!(card["training"]["config_hash"], manifest["config_hash"]);
    let program = format!("dbloss {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(card["exported_by"], program);
    assert_eq!(card["network"]["library"], "torchvision");
    assert_eq!(card["network"]["library_name"], "mobilenet_v2");
    assert_eq!(card["network"]["head"]["kind"], "linear");
    let prepared = &card["preprocessing"];
    assert_eq!(prepared["size"], 32);
    assert_eq!(prepared["resize"], "opencv");
    assert_eq!(prepared["keeps_ratio"], false);
    assert_eq!(prepared["mean"][0], 123.675);
    // The thresholds come from the validation part, which was scored for them.
    assert_eq!(card["thresholds"]["chosen_on"], "validation");
    let mut csv = csv::Reader::from_path(path.join("run/eval/validation/thresholds.csv")).unwrap();
    let rows: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), classes.len());
    for (row, class) in rows.iter().zip(classes) {
        assert_eq!(row[0], *class["name"].as_str().unwrap());
        assert_eq!(row[1].parse::<f64>().ok(), class["threshold"].as_f64());
    }
    // The scores are those of the tables, with all digits.
    let groups = read(&path.join("run/eval/test/groups.csv"));
    let total = groups.lines().nth(1).unwrap();
    let map: f64 = total.split(',').nth(3).unwrap().parse().unwrap();
    assert_eq!(card["scores"]["test"]["map"]["total"].as_f64(), Some(map));
    assert!(card["scores"]["validation"]["metrics"]["micro_f1"].is_number());
    let undefined = classes.iter().filter(|c| c["average_precision"].is_null());
    let per_class = read(&path.join("run/eval/test/per_class.csv"));
    let without = per_class
        .lines()
        .filter(|l| l.split(',').nth(4) == Some(""));
    assert_eq!(undefined.count(), without.count());
    // The card reveals no more about the machine than necessary.
    let text = card.to_string();
    let home = path.canonicalize().unwrap();
    assert!(!text.contains(home.to_str().unwrap()), "{text}");
    assert_eq!(card["training"]["command"], Value::Array(Vec::new()));

    let json: Value = serde_json::from_str(&read(&path.join("run/export/run.json"))).unwrap();
    assert_eq!(json, card);
    let page = read(&path.join("run/export/run.md"));
    for part in [
        "mobilenet_v2",
        "chosen on validation",
        "INTER_LINEAR",
        "| mAP total |",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[test]
fn an_exported_file_gives_the_same_files_again_without_its_run() {
    let folder = trained(|text| text.replace("batch_size = 8", "batch_size = 8\nema_decay = 0.9"));
    let path = folder.path();
    // For a run that kept averaged weights, the average is exported.
    let first = export(
        path,
        &["run", "--no-thresholds", "--out", "first.safetensors"],
    );
    assert_eq!(first, ["first.safetensors"]);
    let average = tensors(&path.join("run/checkpoints/last.safetensors"));
    let found = tensors(&path.join("first.safetensors"));
    assert!(found["features.0.0.weight"] == average["ema.backbone.features.0.0.weight"]);
    assert!(found["features.0.0.weight"] != average["backbone.features.0.0.weight"]);
    let graph = |model: &str, out: &str| {
        let arguments = ["--format", "onnx", "--no-thresholds", "--out", out];
        export(path, &[&[model], &arguments[..]].concat());
        std::fs::read(path.join(out)).unwrap()
    };
    let of_run = graph("run", "run.onnx");
    let picture = image::RgbImage::from_fn(50, 40, |x, y| image::Rgb([x as u8 * 5, y as u8, 90]));
    picture.save(path.join("a.png")).unwrap();
    let predicted = |model: &str| {
        let predict = ["predict", model, "a.png", "--format", "predictions"];
        let output = dbloss(path).args(predict).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let scores = predicted("run");
    assert_eq!(scores.lines().count(), 2, "{scores}");
    assert_eq!(predicted("first.safetensors"), scores);
    std::fs::remove_dir_all(path.join("run")).unwrap();
    std::fs::remove_dir_all(path.join("split")).ok();
    assert!(graph("first.safetensors", "file.onnx") == of_run);
    assert_eq!(predicted("first.safetensors"), scores);
    export(path, &["first.safetensors", "--out", "second.safetensors"]);
    let bytes = |name: &str| std::fs::read(path.join(name)).unwrap();
    assert!(bytes("first.safetensors") == bytes("second.safetensors"));

    // The file also serves as a weight file, whose neck and head are ignored like any classifier.
    let again = ["train", "small.toml", "--method", "erm", "--out", "again"];
    dbloss(path)
        .args(again)
        .args(["--set", "model.weights=first.safetensors"])
        .assert()
        .success()
        .stderr(predicate::str::contains("of a classifier ignored (dbloss."));
}

#[test]
fn what_cannot_be_exported_is_refused_by_name() {
    let folder = trained(|text| text);
    let path = folder.path();
    let error = refused(path, &["run", "--probabilities"]);
    assert!(
        error.contains("--probabilities") && error.contains("--format onnx"),
        "{error}"
    );
    let error = refused(path, &["nowhere"]);
    assert!(error.contains("is not a run's folder"), "{error}");
    let error = refused(
        path,
        &["run/checkpoints/last.safetensors", "--out", "b.safetensors"],
    );
    assert!(
        error.contains("is not a model that `dbloss export` wrote"),
        "{error}"
    );
    let error = refused(path, &["small.toml"]);
    assert!(
        error.contains("small.toml") && error.contains("dbloss export"),
        "{error}"
    );

    export(path, &["run", "--no-thresholds", "--out", "a.safetensors"]);
    let error = refused(path, &["run", "--no-thresholds", "--out", "a.safetensors"]);
    assert!(
        error.contains("already exists") && error.contains("--force"),
        "{error}"
    );
    export(
        path,
        &[
            "run",
            "--no-thresholds",
            "--out",
            "a.safetensors",
            "--force",
        ],
    );
    let error = refused(path, &["a.safetensors"]);
    assert!(
        error.contains("a.safetensors") && error.contains("--out"),
        "{error}"
    );
    let error = refused(
        path,
        &[
            "a.safetensors",
            "--checkpoint",
            "best",
            "--out",
            "b.safetensors",
        ],
    );
    assert!(error.contains("contains the last checkpoint"), "{error}");

    // Cards that are damaged, from a later version, or with an unknown key.
    let bytes = std::fs::read(path.join("a.safetensors")).unwrap();
    for (from, to, expected) in [
        (
            r#"{\n  \"format\": 1"#,
            r#"{\n  \"format\": 7"#,
            "cannot read its card",
        ),
        (
            r#"{\n  \"format\": 1"#,
            r#"[\n  \"format\": 1"#,
            "its card is damaged",
        ),
        (
            r"frozen_stages = ",
            r"frozen_stagez = ",
            "model.frozen_stagez",
        ),
    ] {
        let at = (bytes.windows(from.len())).position(|window| window == from.as_bytes());
        let at = at.unwrap_or_else(|| panic!("{from}"));
        let mut changed = bytes.clone();
        changed[at..at + to.len()].copy_from_slice(to.as_bytes());
        std::fs::write(path.join("c.safetensors"), changed).unwrap();
        let error = refused(
            path,
            &["c.safetensors", "--out", "d.onnx", "--format", "onnx"],
        );
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(error.contains("c.safetensors"), "{error}");
        assert!(!path.join("d.onnx").exists());
    }
}

#[test]
fn a_backbone_alone_is_half_precision_and_begins_another_training() {
    let folder = trained(|text| text);
    let path = folder.path();
    let arguments = ["run", "--format", "backbone", "--out", "b.safetensors"];
    assert_eq!(export(path, &arguments), ["b.safetensors"]);
    let kept = tensors(&path.join("run/checkpoints/last.safetensors"));
    let found = tensors(&path.join("b.safetensors"));
    let backbone = kept
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("backbone.")?.to_owned(), tensor)));
    let mut count = 0;
    for (name, (shape, bytes)) in backbone {
        let (half_shape, half) = &found[&name];
        assert_eq!(half_shape, shape);
        let (single, _) = bytes.as_chunks::<4>();
        let expected: Vec<u8> = (single.iter())
            .flat_map(|b| half::f16::from_f32(f32::from_le_bytes(*b)).to_le_bytes())
            .collect();
        assert_eq!(*half, expected, "{name}");
        count += 1;
    }
    assert_eq!(count, found.len());
    let more = ["--set", "model.weights=b.safetensors", "--out", "next"];
    let train = ["train", "small.toml", "--method", "erm"];
    let output = dbloss(path).args(train).args(more).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let whole = format!("b.safetensors: {count} tensors loaded");
    assert!(said.contains(&whole) && !said.contains("missing"), "{said}");
    let card = ["run", "--format", "backbone", "--card", "md"];
    assert!(refused(path, &card).contains("--card"));
}

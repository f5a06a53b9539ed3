//! Tests `dbloss loss` end to end.

use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::*;
use serde_json::{Value, json};

fn dbloss(arguments: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("dbloss")
        .unwrap()
        .args(arguments)
        .assert()
}

/// Writes a split of ten images: every image shows `sky`, one in five shows `kite`.
fn split(folder: &Path) -> String {
    let table = |name: &str| {
        let mut text = String::from("image,labels\n");
        for i in 0..10 {
            let labels = if i % 5 == 0 { "sky|kite" } else { "sky" };
            text += &format!("{name}-{i}.jpg,{labels}\n");
        }
        let path = folder.join(format!("{name}.csv"));
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let out = folder.join("split").to_str().unwrap().to_owned();
    dbloss(&[
        "split",
        "--table",
        &table("train"),
        "--test",
        &table("test"),
        "--distribution",
        "as-is",
        "--out",
        &out,
    ])
    .success();
    out
}

#[test]
fn list_names_every_loss_in_every_format() {
    for format in ["text", "json", "markdown"] {
        let mut assert = dbloss(&["loss", "list", "--format", format]).success();
        for name in dbloss::loss::names() {
            assert = assert.stdout(predicate::str::contains(name));
        }
    }
}

/// Tests the output for programs: every loss, and every key with the place in the parts that it
/// stands for.
#[test]
fn the_listing_for_machines_tells_all_of_a_key() {
    let assert = dbloss(&["loss", "list", "--format", "json"]).success();
    let losses: Vec<Value> = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    let names: Vec<&str> = losses.iter().map(|l| l["name"].as_str().unwrap()).collect();
    assert_eq!(names[..names.len() - 1], dbloss::loss::names());
    assert_eq!(names.last(), Some(&"composed"));
    for loss in &losses {
        for text in ["title", "formula", "source", "when", "notes"] {
            assert!(loss[text].is_string(), "{text} of {}", loss["name"]);
        }
        for key in loss["keys"].as_array().unwrap() {
            for text in ["name", "path", "unit", "meaning"] {
                assert!(key[text].is_string(), "{text} of {key}");
            }
            assert!(!key["meaning"].as_str().unwrap().is_empty(), "{key}");
            assert!(key["range"]["type"].is_string() && key["range"]["description"].is_string());
        }
    }
    let key = |loss: &str, path: &str, kind: Value| {
        let loss = losses.iter().find(|l| l["name"] == loss).unwrap();
        let mut keys = loss["keys"].as_array().unwrap().iter();
        let found = keys.find(|k| k["path"] == path && k["kind"] == kind);
        found.unwrap_or_else(|| panic!("{path}")).clone()
    };
    let lambda = key("db-focal", "tolerance.lambda", Value::Null);
    assert_eq!(
        (&lambda["name"], &lambda["default"]),
        (&json!("lambda"), &json!(5.0))
    );
    assert_eq!(lambda["range"]["exclusiveMinimum"], 0);
    let clip = key("asl", "kernel.clip", json!("asymmetric"));
    assert_eq!(
        (&clip["unit"], &clip["default"]),
        (&json!("probability"), &json!(0.05))
    );
    let beta = key("composed", "weight.beta", json!("class-balanced"));
    assert_eq!(
        (&beta["default"], &beta["range"]["exclusiveMaximum"]),
        (&json!(0.9), &json!(1.0))
    );
    let kind = key("composed", "weight.kind", Value::Null);
    assert_eq!(kind["default"], "none");
    assert_eq!(kind["range"]["enum"].as_array().unwrap().len(), 5);
}

#[test]
fn show_prints_weights_and_draws_curves() {
    let folder = tempfile::tempdir().unwrap();
    let split = split(folder.path());
    let show = |more: &[&str]| {
        let mut arguments = vec!["loss", "show"];
        arguments.extend_from_slice(more);
        arguments.extend(["--split", &split]);
        dbloss(&arguments)
    };
    let svg = folder.path().join("curves.svg");
    let svg = svg.to_str().unwrap();
    let assert = show(&["rw", "--csv", "--out", svg]).success();
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    let cell = |class: &str, column: usize| {
        let line = text.lines().find(|line| line.starts_with(class)).unwrap();
        line.split(',').nth(column).unwrap().to_owned()
    };
    // N / n_c: 10 / 10 and 10 / 2; every image shows the sky, so `sky` has no negatives.
    assert_eq!(
        (cell("sky", 3), cell("sky", 4)),
        ("1".into(), String::new())
    );
    assert_eq!((cell("kite", 3), cell("kite", 4)), ("5".into(), "5".into()));
    let bias: f64 = cell("kite", 5).parse().unwrap();
    assert!((bias + 4f64.ln()).abs() < 1e-12);
    let drawn = std::fs::read_to_string(svg).unwrap();
    roxmltree::Document::parse(&drawn).unwrap();
    assert!(drawn.contains("kite") && drawn.contains("negative"));
    // An existing file is not overwritten unless asked, and settings reach the loss.
    show(&["bce", "--out", svg])
        .failure()
        .stderr(predicate::str::contains("--force"));
    assert_eq!(std::fs::read_to_string(svg).unwrap(), drawn);
    show(&["two-way", "--out", svg, "--force"]).success();
    let halved = show(&["ntr", "--set", "kappa=0.5", "--set", "lambda=1", "--csv"]).success();
    let text = String::from_utf8(halved.get_output().stdout.clone()).unwrap();
    let line = text.lines().find(|line| line.starts_with("kite")).unwrap();
    let shift: f64 = line.split(',').nth(7).unwrap().parse().unwrap();
    assert!((shift + 0.5 * 4f64.ln()).abs() < 1e-12, "{line}");
}

#[test]
fn mistakes_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let split = split(folder.path());
    for (arguments, message) in [
        (
            &["loss", "show", "fokal", "--split", &split][..],
            "did you mean `focal`?",
        ),
        (
            &["loss", "show", "db", "--split", &split, "--set", "kapa=1"],
            "did you mean `kappa`?",
        ),
        (
            &[
                "loss",
                "show",
                "db",
                "--split",
                &split,
                "--set",
                "lambda=-1",
            ],
            "above 0",
        ),
        (&["loss", "show", "db", "--split", "nowhere"], "nowhere"),
    ] {
        dbloss(arguments)
            .code(2)
            .stdout("")
            .stderr(predicate::str::contains(message));
    }
}

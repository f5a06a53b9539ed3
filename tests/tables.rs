//! Tests `--format json`: the rows of the CSV files, with numbers as numbers and undefined values
//! as null.

mod common;

use std::path::Path;

use common::small::{dbloss, folder, ok, read, refused};
use common::tables::same_rows;
use serde_json::Value;

/// Runs a command that prints JSON and nothing else, and returns it.
fn json(folder: &Path, arguments: &str) -> Value {
    let (text, _) = ok(folder, &format!("{arguments} --format json"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments}: {e}: {text}"))
}

/// Compares a JSON object of tables with the files of the same names in a folder.
fn same_files(tables: &Value, folder: &Path, names: &[&str]) {
    let all: Vec<&String> = tables.as_object().unwrap().keys().collect();
    let mut expected = names.to_vec();
    expected.sort_unstable();
    let mut sorted = all;
    sorted.sort();
    assert_eq!(sorted, expected);
    for name in names {
        same_rows(&read(&folder.join(format!("{name}.csv"))), &tables[*name]);
    }
}

const STATISTICS: [&str; 6] = [
    "classes",
    "groups",
    "summary",
    "labels_per_image",
    "samplers",
    "pairs",
];

/// Creates a split of the embedded pictures in `split`.
fn split(folder: &Path) -> Value {
    let sizes = "--pool-size 400 --test-size 40 --side 32 --max 60";
    json(folder, &format!("split --shapes {sizes} --out split"))
}

#[test]
fn splits_and_losses() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let printed = split(folder);
    ok(folder, "stats split --out report");
    same_files(&printed, &folder.join("report"), &STATISTICS);
    assert_eq!(json(folder, "stats split"), printed);
    for loss in ["db-focal", "zlpr"] {
        let (csv, _) = ok(folder, &format!("loss show {loss} --split split --csv"));
        let rows = json(folder, &format!("loss show {loss} --split split"));
        same_rows(&csv, &rows);
        assert_eq!(rows[0]["weight_positive"].is_null(), loss == "zlpr");
    }
    let losses = json(folder, "loss list");
    assert!(losses.as_array().unwrap().len() > 20);
    let keys = json(folder, "config keys train");
    assert!(keys.as_array().unwrap().len() > 5);
    assert_eq!(keys[0]["key"], "train.batch_size");
    assert_eq!(keys[0]["required"], false);
    let said = refused(folder, "config keys shedule");
    assert!(said.contains("did you mean `schedule`?"), "{said}");
    assert!(json(folder, "config list")[0]["methods"].is_string());
}

#[test]
fn scores_and_reports() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    split(folder);
    // Predictions from elsewhere; a class without a test image has no AP.
    let classes = read(&folder.join("split/classes.csv"));
    let classes: Vec<&str> = classes
        .lines()
        .skip(1)
        .map(|line| line.split(',').next().unwrap())
        .collect();
    let test = read(&folder.join("split/test.csv"));
    for (name, salt) in [("ours", 3), ("theirs", 5)] {
        let mut text = format!("image,{}\n", classes.join(","));
        for (row, line) in test.lines().skip(1).enumerate() {
            let image = line.split(',').next().unwrap();
            let score = |class: usize| (row * salt + class * class) % 17;
            let scores: Vec<String> = (0..classes.len())
                .map(|class| format!("{}", score(class) as f64 / 8.0 - 1.0))
                .collect();
            text.push_str(&format!("{image},{}\n", scores.join(",")));
        }
        std::fs::write(folder.join(format!("{name}.csv")), text).unwrap();
        let eval = format!("eval --predictions {name}.csv --split split");
        let printed = json(folder, &format!("{eval} --method {name} --out runs/{name}"));
        let evaluation = folder.join("runs").join(name).join("eval/test");
        same_files(&printed, &evaluation, &["per_class", "groups", "scores"]);
    }
    let against = "eval --predictions ours.csv --split split --against runs/theirs";
    let gain = &json(folder, against)["gain"];
    assert_eq!(gain.as_array().unwrap().len(), 4);
    let total = |run: &str| {
        let groups = read(&folder.join("runs").join(run).join("eval/test/groups.csv"));
        let cell = groups.lines().nth(1).unwrap().split(',').nth(3).unwrap();
        cell.parse::<f64>().unwrap()
    };
    let difference = total("ours") - total("theirs");
    assert!((gain[0]["gain"].as_f64().unwrap() - difference).abs() < 1e-12);

    let printed = json(folder, "report runs --out report");
    // Every CSV file of the report.
    let files = std::fs::read_dir(folder.join("report")).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = files
        .filter_map(|name| name.strip_suffix(".csv").map(str::to_owned))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(names.len() >= 6, "{names:?}");
    same_files(&printed, &folder.join("report"), &names);
}

#[test]
fn runs_and_benches() {
    let folder = folder();
    let folder = folder.path();
    let run = "run small.toml --method erm --set train.epochs=1 --set sampler.epoch_length=16";
    let planned = json(folder, &format!("{run} --dry-run"));
    assert_eq!(planned[0]["state"], "waiting");
    let printed = json(folder, run);
    same_rows(&read(&folder.join("runs/small/comparison.csv")), &printed);
    let status = json(folder, "run status runs/small");
    assert_eq!(status[0]["steps"], 2);
    assert_eq!(status[0]["total_steps"], 2);

    let input = "bench input runs/small/split --size 32 --count 8 --epochs 1";
    let rows = json(folder, input);
    let (csv, _) = ok(folder, &format!("{input} --csv"));
    // Two measurements have the same rows with different times.
    let names = rows.as_array().unwrap().iter().map(|row| &row["stage"]);
    let names: Vec<&str> = names.map(|name| name.as_str().unwrap()).collect();
    let lines = csv.lines().skip(1).map(|line| line.split(',').next());
    assert!(lines.eq(names.into_iter().map(Some)), "{csv}");
    assert!(rows[0]["memory_bytes"].is_null() && rows[0]["seconds_per_picture"].is_f64());

    let step = "bench step --backbone resnet10_w16 --batch 2 --size 32 --rounds 1";
    let tables = json(folder, step);
    assert!(tables["speed"][0]["training"].as_f64().unwrap() > 0.0);
    assert!(!tables["operations"].as_array().unwrap().is_empty());
    dbloss(folder)
        .args(["loss", "show", "bce", "--split", "runs/small/split"])
        .args(["--csv", "--format", "json"])
        .assert()
        .code(2);
}

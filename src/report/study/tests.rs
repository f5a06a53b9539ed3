//! Reports about run folders made by hand, with scores that can be worked out on paper.

mod belonging;
mod comparisons;
mod tables;

use std::path::{Path, PathBuf};

use approx::assert_relative_eq;

use super::*;
use crate::data::split::{Distribution, Set, Source, Split, SplitConfig, Table};
use crate::io::write_text;
use crate::metrics::{Jackknife, Ranked, ScoreTable};
use crate::predict::Predictions;
use crate::report::evaluation::{Evaluation, Options as EvaluationOptions, targets};
use crate::run_dir::{Manifest, RunDir, Status};

/// Names that would break LaTeX, a page and a CSV file.
const CLASSES: [(&str, &str, usize); 4] = [
    ("hair_drier & co", "head", 120),
    ("50 % <b>off</b>", "medium", 30),
    ("a,\"b\"", "tail", 8),
    ("tie", "tail", 3),
];

fn manifest(method: &str, seed: u64) -> Manifest {
    Manifest {
        status: Status::Finished,
        experiment: "hand_made".into(),
        method: method.into(),
        seed,
        command: vec!["dbloss".into()],
        experiment_file: Default::default(),
        version: "0.1.0".into(),
        device: "cpu".into(),
        threads: 2,
        workers: 2,
        processor: "abacus".into(),
        started_unix: 0,
        split_folder: "nowhere".into(),
        split_hash: "a".repeat(64),
        classes: Vec::new(),
        weights_hash: None,
        config_hash: String::new(),
        train_seconds: 60.0,
        images_seen: 6_000,
        total_steps: None,
        error: None,
        diverged: false,
        start_gradient: None,
        start_gradient_of_bce: None,
        findings: Vec::new(),
        network: None,
    }
}

/// Makes a run with these APs; the class table is the only file that a report requires.
fn run(home: &Path, manifest: &Manifest, scores: [Option<f64>; 4]) -> PathBuf {
    let folder = home.join(format!("{}-s{}", manifest.method, manifest.seed));
    let run = RunDir::new(&folder);
    manifest.write(&run.manifest()).unwrap();
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record([
        "class",
        "group",
        "train_count",
        "test_positives",
        "average_precision",
    ])
    .unwrap();
    for ((name, group, count), score) in CLASSES.iter().zip(scores) {
        let score = score.map_or(String::new(), |s| s.to_string());
        csv.write_record([
            *name,
            *group,
            count.to_string().as_str(),
            "5",
            score.as_str(),
        ])
        .unwrap();
    }
    let text = String::from_utf8(csv.into_inner().unwrap()).unwrap();
    write_text(&run.eval(Set::Test).join("per_class.csv"), &text).unwrap();
    let config = format!(
        "name = \"hand_made\"\nmethod = \"{0}\"\nseed = {1}\n[loss]\nname = \"{0}\"\n[train]\nepochs = 8\n",
        manifest.method, manifest.seed
    );
    write_text(&run.config(), &config).unwrap();
    folder
}

/// Makes ERM and DB-Focal with two seeds each. The last class has no test image.
fn two_methods(home: &Path) {
    run(
        home,
        &manifest("erm", 0),
        [Some(0.8), Some(0.5), Some(0.2), None],
    );
    run(
        home,
        &manifest("erm", 1),
        [Some(0.8), Some(0.6), Some(0.4), None],
    );
    run(
        home,
        &manifest("db-focal", 0),
        [Some(0.7), Some(0.6), Some(0.5), None],
    );
    run(
        home,
        &manifest("db-focal", 1),
        [Some(0.8), Some(0.7), Some(0.6), None],
    );
}

fn study(home: &Path) -> Study {
    Study::read(&[home.to_owned()], &Options::default()).unwrap()
}

fn problem(home: &Path, options: &Options) -> String {
    Study::read(&[home.to_owned()], options)
        .unwrap_err()
        .to_string()
}

/// Writes the report and returns a function that reads its files by name.
fn written(study: &Study) -> impl Fn(&str) -> String + use<> {
    let out = tempfile::tempdir().unwrap();
    study.write(out.path()).unwrap();
    move |name| {
        let path = out.path().join(name);
        fs_err::read_to_string(path).unwrap()
    }
}

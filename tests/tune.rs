//! Tests tuning end to end: choices are made without the test set, with the same budget for all
//! methods.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::small::{dbloss, folder, ok, read, refused, signal, start, wait_for};
use common::tables::same_rows;
use dbloss::config::experiment_files;
use dbloss::plan::SweepFile;
use dbloss::plan::tune::Tuning;
use predicates::prelude::*;

/// The second learning rate diverges at once.
const TUNE: &str = "experiment = 'small.toml'\nseeds = [0, 1]\n\
    [set]\ntrain.epochs = 1\nsplit.keep_at_least = 1\n\
    [grid]\n'optimizer.learning_rate' = [0.02, 1e30, 0.001]\n\
    [tune]\nfolds = 2\nsubsets = [3, 4]\n";

/// Returns the images in a table of a split.
fn images(table: &Path) -> BTreeSet<String> {
    let lines = read(table);
    let rows = lines.lines().skip(1);
    rows.map(|row| row.split(',').next().unwrap().to_owned())
        .collect()
}

/// Returns the cells of a column.
fn column(table: &str, name: &str) -> Vec<String> {
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let place = (reader.headers().unwrap().iter())
        .position(|header| header == name)
        .unwrap();
    let rows = reader.records().map(|row| row.unwrap()[place].to_owned());
    rows.collect()
}

/// Returns what must be the same whatever happened.
fn results(home: &Path) -> Vec<String> {
    let names = [
        "settings.csv",
        "chosen.csv",
        "chosen.toml",
        "sets.csv",
        "final.csv",
        "thresholds.csv",
        "f1.csv",
        "index.html",
    ];
    let mut all: Vec<String> = names.map(|name| read(&home.join(name))).to_vec();
    for run in ["subset-3/erm-s0", "subset-4/db-focal-s1"] {
        all.push(read(
            &home
                .join("final")
                .join(run)
                .join("eval/test/predictions.csv"),
        ));
    }
    all
}

#[test]
fn choices_come_from_folds_that_hold_no_test_image() {
    let folder = folder();
    std::fs::write(folder.path().join("t.toml"), TUNE).unwrap();
    dbloss(folder.path())
        .args(["tune", "t.toml", "--out", "runs"])
        .assert()
        .success()
        .stdout(predicate::str::contains("erm").and(predicate::str::contains("learning_rate")));
    let home = folder.path().join("runs/t");
    let (printed, _) = ok(folder.path(), "tune t.toml --out runs --format json");
    let printed = serde_json::from_str(&printed).unwrap();
    same_rows(&read(&home.join("chosen.csv")), &printed);

    // Each fold has the training images of the first subset, and nothing else.
    let subset = home.join("final/subset-3/split");
    let train = images(&subset.join("train.csv"));
    let test = images(&subset.join("test.csv"));
    let mut held_out = Vec::new();
    for fold in ["fold-1", "fold-2"] {
        let fold = home.join("folds").join(fold);
        let (rest, held) = (
            images(&fold.join("train.csv")),
            images(&fold.join("test.csv")),
        );
        assert!(rest.is_disjoint(&held) && rest.is_disjoint(&test) && held.is_disjoint(&test));
        assert_eq!(rest.union(&held).cloned().collect::<BTreeSet<_>>(), train);
        held_out.extend(held);
    }
    // No image is held out twice; those that are never held out are the only ones of a class.
    let once: BTreeSet<String> = held_out.iter().cloned().collect();
    assert_eq!(held_out.len(), once.len());
    assert!(once.len() >= train.len() - 20 && once.is_subset(&train));

    // Three rates, two folds, two methods; settings that diverged have no score and are not chosen.
    let trials = read(&home.join("trials.csv"));
    assert_eq!(column(&trials, "method").len(), 12);
    for (setting, (map, diverged)) in (column(&trials, "setting").iter()).zip(
        column(&trials, "map")
            .iter()
            .zip(column(&trials, "diverged")),
    ) {
        let wild = setting.contains("e30") || setting.contains("1000000");
        assert_eq!(
            (map.is_empty(), diverged == "true"),
            (wild, wild),
            "{setting}"
        );
    }
    // The chosen setting is the one with the highest mean over classes and folds.
    let settings = read(&home.join("settings.csv"));
    let mut best: Vec<(String, f64, String)> = Vec::new();
    let rows = column(&settings, "method")
        .into_iter()
        .zip(column(&settings, "map"));
    for ((method, map), (setting, chosen)) in rows.zip(
        column(&settings, "setting")
            .into_iter()
            .zip(column(&settings, "chosen")),
    ) {
        let map: f64 = map.parse().unwrap_or(-1.0);
        match best.iter_mut().find(|(name, ..)| *name == method) {
            Some((_, highest, _)) => assert!(map <= *highest),
            None => {
                assert_eq!(chosen, "true");
                best.push((method, map, setting));
            }
        }
    }
    // Final runs: two methods, two seeds, two subsets, with the chosen rate, on whole subsets.
    let finals = read(&home.join("final.csv"));
    assert_eq!(column(&finals, "method").len(), 8);
    for (method, _, setting) in &best {
        let rate = setting.split('=').next_back().unwrap();
        let config = read(&home.join(format!("final/subset-4/{method}-s1/config.toml")));
        assert!(
            config.contains(&format!("learning_rate = {rate}")),
            "{rate}: {config}"
        );
        assert!(read(&home.join("chosen.toml")).contains(&format!("learning_rate = {rate}")));
    }

    f1_is_taken_at_thresholds_of_the_folds(&home, &best);

    // A second search after the test set was seen is refused if it chooses otherwise.
    let other = TUNE.replace("[0.02, 1e30, 0.001]", "[0.013, 0.017]");
    std::fs::write(folder.path().join("t.toml"), other).unwrap();
    let chosen = read(&home.join("chosen.toml"));
    dbloss(folder.path())
        .args(["tune", "t.toml", "--out", "runs"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("have used the test set"));
    assert_eq!(read(&home.join("chosen.toml")), chosen);
}

/// Returns mean and standard deviation of a run's logits over its own training images, by class.
fn units(run: &Path) -> Vec<(f64, f64)> {
    let scores = read(&run.join("eval/train/predictions.csv"));
    let rows: Vec<Vec<f64>> = (scores.lines().skip(1))
        .map(|line| {
            line.split(',')
                .skip(1)
                .map(|cell| cell.parse().unwrap())
                .collect()
        })
        .collect();
    let n = rows.len() as f64;
    (0..rows[0].len())
        .map(|class| {
            // Logits of a small network hardly differ: squares are taken around one of them.
            let first = rows[0][class];
            let offset = rows.iter().map(|row| row[class] - first).sum::<f64>() / n;
            let squares: f64 = rows.iter().map(|row| (row[class] - first).powi(2)).sum();
            (first + offset, (squares / n - offset * offset).sqrt())
        })
        .collect()
}

/// Returns standardised scores and labels of the images of each split's `test.csv` from the `runs`,
/// by class.
fn scored(runs: &[(PathBuf, PathBuf)]) -> Vec<Vec<(f64, bool)>> {
    let mut classes: Vec<Vec<(f64, bool)>> = Vec::new();
    for (split, run) in runs {
        let units = units(run);
        let predictions = read(&run.join("eval/test/predictions.csv"));
        let names: Vec<&str> = predictions.lines().next().unwrap().split(',').collect();
        let labels = read(&split.join("test.csv"));
        let labels: std::collections::BTreeMap<&str, Vec<&str>> = (labels.lines().skip(1))
            .map(|line| line.split_once(',').unwrap())
            .map(|(image, labels)| (image, labels.split('|').collect()))
            .collect();
        classes.resize(names.len() - 1, Vec::new());
        for line in predictions.lines().skip(1) {
            let cells: Vec<&str> = line.split(',').collect();
            for (class, score) in cells[1..].iter().enumerate() {
                let label = labels[cells[0]].contains(&names[class + 1]);
                let (mean, deviation) = units[class];
                let score: f64 = score.parse().unwrap();
                classes[class].push(((score - mean) / deviation, label));
            }
        }
    }
    classes
}

/// Returns the number of true positives, and the sum of true positives, false positives and false
/// negatives. F1 is twice the first over the sum of both.
fn outcomes(scores: &[(f64, bool)], threshold: f64) -> (usize, usize) {
    let hits = scores.iter().filter(|(s, l)| *l && *s > threshold).count();
    let any = scores.iter().filter(|(s, l)| *l || *s > threshold).count();
    (hits, any)
}

fn f1((hits, any): (usize, usize)) -> f64 {
    match any {
        0 => 0.0,
        _ => 2.0 * hits as f64 / (any + hits) as f64,
    }
}

fn f1_is_taken_at_thresholds_of_the_folds(home: &Path, best: &[(String, f64, String)]) {
    let thresholds = read(&home.join("thresholds.csv"));
    let rows: Vec<(String, String)> = (column(&thresholds, "method").into_iter())
        .zip(column(&thresholds, "deviations"))
        .collect();
    assert_eq!(rows.len(), 40, "two methods, twenty classes");
    let table = read(&home.join("f1.csv"));
    assert_eq!(column(&table, "micro_f1").len(), 8 * 4);
    for (method, _, setting) in best {
        let folds: Vec<(PathBuf, PathBuf)> = ["fold-1", "fold-2"]
            .map(|fold| {
                let run = format!("trials/{fold}/{method}{setting}-s0");
                (home.join("folds").join(fold), home.join(run))
            })
            .to_vec();
        let own: Vec<Option<f64>> = (rows.iter())
            .filter(|(name, _)| name == method)
            .map(|(_, deviations)| deviations.parse().ok())
            .collect();
        for (scores, threshold) in scored(&folds).iter().zip(&own) {
            let Some(threshold) = threshold else {
                assert!(scores.iter().all(|(_, label)| !label));
                continue;
            };
            // The scores here are standardised by another sum, which differs in the last digits.
            let near = [threshold - 1e-9, threshold + 1e-9];
            let reached = near.map(|near| f1(outcomes(scores, near)));
            let reached = reached[0].max(reached[1]);
            for (other, _) in scores {
                assert!(f1(outcomes(scores, other.next_down())) <= reached + 1e-12);
            }
        }
        // The same thresholds on the test images, in the units of the run.
        let run = home.join(format!("final/subset-4/{method}-s1"));
        let zero: Vec<f64> = units(&run)
            .iter()
            .map(|(mean, deviation)| -mean / deviation)
            .collect();
        let test = scored(&[(home.join("final/subset-4/split"), run)]);
        let by_class = test.iter().zip(own.iter().zip(&zero));
        let found: Vec<(usize, usize)> = by_class
            .map(|(scores, (threshold, zero))| outcomes(scores, threshold.unwrap_or(*zero)))
            .collect();
        let micro = f1(found.iter().fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)));
        let average = found.iter().map(|&class| f1(class)).sum::<f64>() / found.len() as f64;
        let prefix = format!("subset 4,{method},1,total,");
        let row = table
            .lines()
            .find(|line| line.starts_with(&prefix))
            .unwrap();
        let values: Vec<f64> = (row.split(',').skip(4))
            .map(|value| value.parse().unwrap())
            .collect();
        assert!((values[0] - micro).abs() < 1e-12, "{row}: {micro}");
        assert!((values[1] - average).abs() < 1e-12, "{row}: {average}");
    }
    let page = read(&home.join("index.html"));
    assert!(page.contains("micro F1, test") && page.contains(">chance</td>"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_tuning_that_is_stopped_goes_on_to_the_same_result() {
    let folder = folder();
    std::fs::write(folder.path().join("t.toml"), TUNE).unwrap();
    dbloss(folder.path())
        .args(["tune", "t.toml", "--out", "whole", "--jobs", "2"])
        .assert()
        .success();
    let arguments = ["tune", "t.toml", "--out", "broken"];
    let home = folder.path().join("broken/t");
    for reached in [
        "trials/fold-1/erm+learning_rate=0.02-s0/steps.csv",
        "trials/fold-2/db-focal+learning_rate=0.02-s0/steps.csv",
        "final/subset-4/erm-s1/steps.csv",
    ] {
        let mut tuning = start(folder.path(), &arguments);
        assert!(
            wait_for(&mut tuning, || home.join(reached).is_file()),
            "{reached}"
        );
        signal(tuning.id(), "TERM");
        tuning.wait().unwrap();
    }
    dbloss(folder.path()).args(arguments).assert().success();
    let whole = results(&folder.path().join("whole/t"));
    for (whole, broken) in whole.iter().zip(results(&home)) {
        assert!(*whole == broken, "{whole}\n{broken}");
    }
}

#[test]
fn halving_spends_less_on_what_is_behind() {
    let folder = folder();
    let text = TUNE
        .replace("[0.02, 1e30, 0.001]", "[0.02, 0.01, 0.005, 0.001]")
        .replace("folds = 2\n", "folds = 3\nstrategy = 'halving'\n");
    std::fs::write(folder.path().join("t.toml"), text).unwrap();
    dbloss(folder.path())
        .args(["tune", "t.toml", "--out", "runs", "--only-search"])
        .assert()
        .success();
    let home = folder.path().join("runs/t");
    let trials = read(&home.join("trials.csv"));
    let (methods, folds) = (column(&trials, "method"), column(&trials, "fold"));
    for (fold, settings) in [("1", 4), ("2", 2), ("3", 1)] {
        for method in ["erm", "db-focal"] {
            let both = methods.iter().zip(&folds);
            let count = both.filter(|(m, f)| *m == method && *f == fold).count();
            assert_eq!(count, settings, "{method} on fold {fold}");
        }
    }
    assert!(!home.join("final.csv").exists());
    assert!(!home.join("final/subset-3/plan.json").exists());
}

/// Returns the bytes of those tensors of a run whose names contain `prefix`, by name.
fn tensors(run: &Path, prefix: &str) -> std::collections::BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(run.join("checkpoints/last.safetensors")).unwrap();
    let all = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let own = all.iter().filter(|(name, _)| name.contains(prefix));
    own.map(|(name, tensor)| (name.to_owned(), tensor.data().to_vec()))
        .collect()
}

/// Returns the run that a run started from, by its configuration.
fn begins_with(run: &Path) -> PathBuf {
    let config: toml::Table = read(&run.join("config.toml")).parse().unwrap();
    PathBuf::from(config["start"]["run"].as_str().unwrap())
}

/// Classifier re-training starts from plain training at the chosen rate: a trial from the one on its
/// own fold, a final run from the one with its own subset and seed. Frozen parts are the same in both.
#[test]
fn a_second_stage_begins_with_the_first_of_its_own_fold_subset_and_seed() {
    let folder = folder();
    let experiment = common::small::EXPERIMENT.to_owned()
        + "[methods.crt]\nloss = { name = 'bce' }\nsampler = { kind = 'class-aware', epoch_length = 100 }\n\
           model = { frozen_stages = 4, norm_eval = true }\nstart = { reset_head = true }\n\
           optimizer = { groups = { neck = 0.0 } }\n";
    std::fs::write(folder.path().join("small.toml"), experiment).unwrap();
    let text =
        TUNE.replace("seeds", "methods = ['crt', 'erm']\nseeds") + "[tune.start]\ncrt = 'erm'\n";
    std::fs::write(folder.path().join("t.toml"), &text).unwrap();
    ok(folder.path(), "tune t.toml --out runs");
    let home = folder.path().join("runs/t").canonicalize().unwrap();
    let chosen = read(&home.join("chosen.csv"));
    let settings = column(&chosen, "method")
        .into_iter()
        .zip(column(&chosen, "setting"));
    let settings: std::collections::BTreeMap<String, String> = settings.collect();
    let mut pairs = Vec::new();
    for fold in ["fold-1", "fold-2"] {
        let trials = home.join("trials").join(fold);
        for rate in ["0.02", "0.001"] {
            let second = trials.join(format!("crt+learning_rate={rate}-s0"));
            pairs.push((trials.join(format!("erm{}-s0", settings["erm"])), second));
        }
    }
    for subset in ["subset-3", "subset-4"] {
        for seed in 0..2 {
            let runs = home.join("final").join(subset);
            pairs.push((
                runs.join(format!("erm-s{seed}")),
                runs.join(format!("crt-s{seed}")),
            ));
        }
    }
    for (first, second) in pairs {
        assert_eq!(begins_with(&second), first, "{}", second.display());
        for (part, is_held) in [("neck.", true), ("head.", false)] {
            let (first, second) = (tensors(&first, part), tensors(&second, part));
            assert!(!first.is_empty());
            let weights = |all: &std::collections::BTreeMap<String, Vec<u8>>| {
                let own = all.iter().filter(|(name, _)| name.starts_with(part));
                own.map(|(_, data)| data.clone()).collect::<Vec<_>>()
            };
            assert_eq!(weights(&first) == weights(&second), is_held, "{part}");
        }
    }
    assert_eq!(column(&read(&home.join("final.csv")), "method").len(), 8);
    for (start, expected) in [
        (
            "crt = 'erm'\nerm = 'crt'",
            "itself starts from another method",
        ),
        ("crt = 'emr'", "did you mean `erm`"),
        ("cat = 'erm'", "start.run"),
    ] {
        std::fs::write(
            folder.path().join("t.toml"),
            text.replace("crt = 'erm'", start),
        )
        .unwrap();
        let said = refused(folder.path(), "tune t.toml --out other");
        assert!(
            said.contains(expected) && (start.contains("cat") || said.contains("t.toml:")),
            "{start}: {said}"
        );
    }
}

/// Returns the error of a tuning of two methods; empty if it is accepted.
fn refusal(tune: &str) -> String {
    let folder = folder();
    let path = folder.path().join("t.toml");
    std::fs::write(&path, format!("experiment = 'small.toml'\n{tune}")).unwrap();
    let tuning = SweepFile::read(&path).and_then(|sweep| Tuning::new(sweep, folder.path(), &[]));
    tuning
        .err()
        .map_or_else(String::new, |error| error.to_string())
}

#[test]
fn every_method_gets_as_many_trials_as_the_others() {
    let grid = "[grid]\n'optimizer.learning_rate' = [0.01, 0.02]\n";
    let own = "[tune.methods.db-focal]\n'loss.mu' = [0.2, 0.3]\n";
    for (tune, expected) in [
        (
            format!("{grid}{own}"),
            "tries 2 settings of `erm` and 4 of `db-focal`",
        ),
        (
            format!("{grid}[tune]\nstrategy = 'random'\ntrials = 3\n"),
            "only 2 settings",
        ),
        (format!("{grid}[tune]\nstrategy = 'random'\n"), "how many"),
        (format!("{grid}[tune]\ntrials = 3\n"), "tries every point"),
        (format!("{grid}[tune]\nfolds = 1\n"), "folds"),
        (
            format!("{grid}[tune.methods.db-fokal]\n'loss.mu' = [1]\n"),
            "not a method of this file",
        ),
        ("[tune]\nfolds = 2\n".to_owned(), "has no values to try"),
        (
            "[tune.range]\n'train.epochs' = { min = 3, max = 1 }\n".to_owned(),
            "ascending",
        ),
        (
            "[tune.range]\n'train.epochs' = 3\n".to_owned(),
            "expected a range",
        ),
        (
            "[tune.range.x]\nmin = 1\nmax = 2\n".to_owned(),
            "infinitely many points",
        ),
    ] {
        let error = refusal(&tune);
        assert!(error.contains(expected), "{tune}: {error}");
    }
    // With random search both methods get three trials, with the same learning rates.
    let random = "[tune]\nstrategy = 'random'\ntrials = 3\n\
        [tune.range]\n'optimizer.learning_rate' = { min = 1e-3, max = 1e-1, scale = 'log' }\n\
        [tune.methods.db-focal]\n'loss.mu' = [0.2, 0.3]\n";
    assert_eq!(refusal(random), "");
}

/// Options that only concern the local machine are refused if Slurm runs the trainings, as in
/// `sweep`.
#[test]
fn slurm_is_not_told_of_jobs_and_threads() {
    let folder = folder();
    std::fs::write(folder.path().join("t.toml"), TUNE).unwrap();
    for option in ["--jobs", "--threads"] {
        dbloss(folder.path())
            .args(["tune", "t.toml", "--executor", "slurm", option, "2"])
            .assert()
            .code(2)
            .stderr(
                predicate::str::contains(option).and(predicate::str::contains(
                    "applies to this machine, not to Slurm",
                )),
            );
    }
}

#[test]
fn every_tune_file_resolves() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/tune");
    let files = experiment_files(&folder).unwrap();
    assert_eq!(files.len(), 7);
    for path in files {
        let sweep = SweepFile::read(&path).unwrap_or_else(|e| panic!("{e}"));
        assert!(sweep.config.tune.is_some(), "{}", path.display());
        Tuning::new(sweep, Path::new("runs"), &[]).unwrap_or_else(|e| panic!("{e}"));
        assert!(read(&path).contains("# command"), "{}", path.display());
    }
}

/// An experiment file, or the name of an embedded one, is tuned around its own learning rate.
#[test]
fn an_experiment_alone_tries_five_rates() {
    let folder = folder();
    for (given, rates) in [
        ("small.toml", ["0.002", "0.006", "0.02", "0.06", "0.2"]),
        ("coco-mlt", ["0.002", "0.006", "0.02", "0.06", "0.2"]),
    ] {
        let sweep = SweepFile::around(&folder.path().join(given))
            .or_else(|_| SweepFile::around(Path::new(given)))
            .unwrap_or_else(|e| panic!("{e}"));
        let grid = sweep.config.grid["optimizer.learning_rate"]
            .as_array()
            .unwrap();
        let found: Vec<String> = grid.iter().map(ToString::to_string).collect();
        assert_eq!(found, rates);
        Tuning::new(sweep, folder.path(), &[]).unwrap_or_else(|e| panic!("{e}"));
    }
}

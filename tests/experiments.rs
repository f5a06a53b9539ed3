//! Checks that every file under `experiments/` is valid and covered by a test.

use std::path::Path;

use dbloss::config::{Experiment, ExperimentFile, experiment_files};
use dbloss::data::split::Split;

#[test]
fn every_experiment_resolves_with_every_method() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let (mut experiments, mut bases, mut runs) = (0, 0, 0);
    for path in experiment_files(&folder).unwrap() {
        // Sweeps have a different form and their own tests: tests/sweep.rs, tests/tune.rs.
        let folder = path.parent().unwrap();
        if folder.ends_with("sweeps") || folder.ends_with("tune") {
            continue;
        }
        let file = ExperimentFile::read(&path, &[]).unwrap();
        // A base is not an experiment by itself: it has neither a name nor data.
        if path.parent().unwrap().ends_with("base") {
            bases += 1;
            continue;
        }
        experiments += 1;
        let resolved = file.resolve_all(&[], &[]).unwrap_or_else(|e| panic!("{e}"));
        runs += resolved.len();
        for experiment in resolved {
            // The file written to a run's folder describes the same experiment.
            let text = experiment.to_toml().unwrap();
            let folder = tempfile::tempdir().unwrap();
            let copy = folder.path().join("config.toml");
            std::fs::write(&copy, &text).unwrap();
            let again = ExperimentFile::read(&copy, &[])
                .unwrap()
                .resolve(None, None)
                .unwrap();
            assert_eq!(again, experiment, "{}", path.display());
        }
        let header = std::fs::read_to_string(&path).unwrap();
        assert!(
            header.contains("# command"),
            "{}: no command in the header",
            path.display()
        );
    }
    // Six experiments, one of optimisers, two of heads, one of adapters, one of CLIP, two second
    // stages, a first stage, one for the user's own data and two balanced ones; for each of five
    // data sets fifteen rows of the table and five ablations (5, 4, 5, 4 and 5 settings). A new
    // file changes these numbers.
    assert_eq!(experiments, 17 + 5 * (15 + 5));
    assert_eq!(bases, 6);
    // The experiments with heads use five seeds.
    assert_eq!(
        runs,
        2 * 15 + 4 * 2 + 3 + 2 + 1 + 4 + 2 * 6 * 5 + 5 + 4 + 2 + 5 * (15 + 23)
    );
}

/// The file of a row selects it and changes nothing else: rows that are run one by one give the
/// same table.
#[test]
fn a_rows_file_is_the_row_of_the_whole_experiment() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let mut rows = 0;
    for name in ["voc-mlt", "coco-mlt", "voc07", "coco18", "shapes"] {
        let whole = ExperimentFile::read(&folder.join(format!("{name}.toml")), &[]).unwrap();
        assert_eq!(whole.defined().len(), 15);
        for method in whole.defined() {
            let path = folder.join(name).join(format!("{method}.toml"));
            let row = ExperimentFile::read(&path, &[]).unwrap();
            assert_eq!(row.methods(), [method]);
            let row = row.resolve(None, Some(1)).unwrap();
            assert_eq!(row, whole.resolve(Some(method), Some(1)).unwrap());
            let header = std::fs::read_to_string(&path).unwrap();
            assert!(header.contains(&format!("experiments/{name}/{method}.toml")));
            assert!(header.contains("# measured"), "{}", path.display());
            rows += 1;
        }
    }
    assert_eq!(rows, 75);
}

/// An ablation varies the key that it is named after, and includes the published setting.
#[test]
fn an_ablation_varies_one_setting() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    for name in ["voc-mlt", "coco-mlt", "voc07", "coco18", "shapes"] {
        let whole = ExperimentFile::read(&folder.join(format!("{name}.toml")), &[]).unwrap();
        let published = whole.resolve(Some("db-focal"), None).unwrap();
        for key in ["alpha", "beta", "mu", "lambda", "kappa"] {
            let path = folder.join(name).join(format!("ablation-{key}.toml"));
            let file = ExperimentFile::read(&path, &[]).unwrap();
            let mut as_published = 0;
            for mut varied in file.resolve_all(&[], &[]).unwrap() {
                assert!(varied.method.starts_with(key), "{}", varied.method);
                assert_eq!(varied.split, published.split);
                let table = |e: &Experiment| toml::Table::try_from(&e.loss).unwrap();
                let (mut ours, theirs) = (table(&varied), table(&published));
                let value = ours[key].as_float().unwrap();
                assert_eq!(varied.method, format!("{key}-{value}"));
                as_published += usize::from(ours == theirs);
                ours.insert(key.into(), theirs[key].clone());
                assert_eq!(ours, theirs, "{}", varied.method);
                varied.loss = published.loss.clone();
                varied.name.clone_from(&published.name);
                varied.method.clone_from(&published.method);
                assert_eq!(varied, published);
            }
            assert_eq!(as_published, 1, "{}", path.display());
        }
    }
}

/// The example tables that show users how to write their own.
#[test]
fn the_example_of_own_data_becomes_a_split() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("experiments/own-data");
    let file = ExperimentFile::read(&folder.join("garden.toml"), &[]).unwrap();
    assert_eq!(file.methods(), ["erm", "db-focal", "rs-focal"]);
    let experiment = file.resolve(Some("erm"), None).unwrap();
    let split = Split::build(&experiment.split.unwrap()).unwrap();
    let classes = ["blackbird", "great tit", "robin", "sparrow", "squirrel"];
    assert_eq!(split.classes(), classes);
    assert_eq!(split.train.class_counts(), [4, 2, 4, 7, 1]);
    assert_eq!((split.train.len(), split.test.len()), (12, 6));
}

#[test]
fn only_names_methods_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    for (only, expected) in [
        (r#"["erm", "fokal"]"#, "names `fokal`"),
        (r#""erm""#, "expected a list of methods"),
    ] {
        let text = format!(
            "name = 'a'\nonly = {only}\n[methods.erm]\nloss = {{ name = 'bce' }}\n[methods.focal]\n"
        );
        std::fs::write(&path, text).unwrap();
        let error = ExperimentFile::read(&path, &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("a.toml:2"), "{error}");
    }
}

/// The runs in `results/` are from earlier versions: their optimiser, schedule and training
/// settings are still written in the same way, so that such a run counts as finished.
#[test]
fn recipes_of_earlier_runs_are_written_as_they_were() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let mut seen = 0;
    for path in experiment_files(&results).unwrap() {
        if !path.ends_with("config.toml") {
            continue;
        }
        let before: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        let now = Experiment::read(&path).unwrap().to_toml().unwrap();
        let now: toml::Table = now.parse().unwrap();
        for table in ["optimizer", "schedule", "train"] {
            let text = |whole: &toml::Table| toml::to_string(&whole[table]).unwrap();
            assert_eq!(text(&now), text(&before), "{}: {table}", path.display());
        }
        assert!(!now.contains_key("start"));
        seen += 1;
    }
    assert!(seen > 5, "{seen}");
}

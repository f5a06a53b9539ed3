//! Every file under `experiments/` is good, and every one is looked at.

use std::path::Path;

use dbloss::config::{ExperimentFile, experiment_files};

#[test]
fn every_experiment_resolves_with_every_method() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let (mut experiments, mut bases, mut runs) = (0, 0, 0);
    for path in experiment_files(&folder).unwrap() {
        // Sweeps have a form and a test of their own: tests/sweep.rs.
        if path.parent().unwrap().ends_with("sweeps") {
            continue;
        }
        let file = ExperimentFile::read(&path, &[]).unwrap();
        // A base is not an experiment by itself: it has neither name nor data.
        if path.parent().unwrap().ends_with("base") {
            bases += 1;
            continue;
        }
        experiments += 1;
        let resolved = file.resolve_all(&[], &[]).unwrap_or_else(|e| panic!("{e}"));
        runs += resolved.len();
        for experiment in resolved {
            // What is written into a run's folder says the same as what was run.
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
    println!("{experiments} experiments, {bases} bases, {runs} runs");
    assert!(experiments >= 6 && bases >= 3 && runs >= 30);
}

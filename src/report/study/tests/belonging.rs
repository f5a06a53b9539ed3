//! Which runs belong together.

use super::*;

#[test]
fn what_does_not_belong_together_is_refused_by_name() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    two_methods(home);
    let options = Options::default();
    // Another split.
    let mut other = manifest("rs", 0);
    other.split_hash = "b".repeat(64);
    run(home, &other, [Some(0.5); 4]);
    let error = problem(home, &options);
    assert!(
        error.contains("rs-s0") && error.contains("db-focal-s0"),
        "{error}"
    );
    let allowed = Options {
        allow_different_splits: true,
        ..Options::default()
    };
    let study = Study::read(&[home.to_owned()], &allowed).unwrap();
    assert!(
        study.methods().len() == 3 && written(&study)("index.html").contains("different splits")
    );
    fs_err::remove_dir_all(home.join("rs-s0")).unwrap();
    // The same method and seed twice, in another folder.
    run(&home.join("again"), &manifest("erm", 1), [Some(0.5); 4]);
    let error = problem(home, &options);
    assert!(
        error.contains("again") && error.contains("`erm` with seed 1"),
        "{error}"
    );
    fs_err::remove_dir_all(home.join("again")).unwrap();
    // A baseline that is not there.
    let wrong = Options {
        baseline: Some("db-fokal".into()),
        ..Options::default()
    };
    assert!(problem(home, &wrong).contains("`db-fokal`, only of erm, db-focal"));
    // An AP that is none.
    run(home, &manifest("rs", 0), [Some(40.27); 4]);
    assert!(problem(home, &options).contains("40.27, expected 0 to 1"));
}

#[test]
fn unfinished_runs_are_named_and_left_out() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let mut stopped = manifest("rs", 0);
    stopped.status = Status::Interrupted;
    run(home, &stopped, [Some(0.5); 4]);
    let unscored = run(home, &manifest("rs", 1), [Some(0.5); 4]);
    fs_err::remove_dir_all(unscored.join("eval")).unwrap();
    let error = problem(home, &Options::default());
    assert!(
        error.contains("no finished run with an evaluation"),
        "{error}"
    );
    two_methods(home);
    let study = study(home);
    assert_eq!(study.methods().len(), 2);
    let reasons: Vec<&str> = study
        .left_out()
        .iter()
        .map(|out| out.reason.as_str())
        .collect();
    assert!(reasons[0] == "interrupted" && reasons[1].contains("not evaluated on test"));
    let runs = written(&study)("runs.csv");
    assert!(
        runs.contains("rs,0,,,,,,,,") && runs.contains(",interrupted"),
        "{runs}"
    );
}

#[test]
fn methods_of_two_experiments_are_rows_of_their_own() {
    let home = tempfile::tempdir().unwrap();
    two_methods(home.path());
    let mut other = manifest("erm", 0);
    other.experiment = "longer".into();
    run(&home.path().join("longer"), &other, [Some(0.5); 4]);
    let study = study(home.path());
    let titles: Vec<&str> = study.methods().iter().map(|m| m.title.as_str()).collect();
    assert_eq!(titles, ["hand_made/ERM", "longer/ERM", "DB-Focal"]);
}

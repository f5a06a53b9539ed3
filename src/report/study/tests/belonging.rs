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
    // The same method and seed again, in another folder.
    run(&home.join("again"), &manifest("erm", 1), [Some(0.5); 4]);
    let error = problem(home, &options);
    assert!(
        error.contains("again") && error.contains("`erm` with seed 1"),
        "{error}"
    );
    fs_err::remove_dir_all(home.join("again")).unwrap();
    // A baseline that does not exist.
    let wrong = Options {
        baseline: Some("db-fokal".into()),
        ..Options::default()
    };
    assert!(problem(home, &wrong).contains("`db-fokal`, only of erm, db-focal"));
    // An AP outside [0, 1].
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

/// Two subsets with one test set, and a balanced training set beside them.
#[test]
fn a_balanced_training_set_is_a_row_that_is_paired_with_none() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let mut pool = String::from("image,labels\n");
    for i in 0..200 {
        let label = if i % 10 == 0 { "b" } else { "a" };
        pool.push_str(&format!("p{i},{label}\n"));
    }
    write_text(&home.join("pool.csv"), &pool).unwrap();
    write_text(&home.join("test.csv"), "image,labels\nt0,a\nt1,b\n").unwrap();
    let mut config = SplitConfig::new(Source::Table(Table {
        train: home.join("pool.csv"),
        test: Some(home.join("test.csv")),
        ..Table::default()
    }));
    config.distribution = Distribution::Counts {
        counts: vec![24, 3],
    };
    let runs = [
        ("erm", 0, false, [0.5, 0.6]),
        ("rs", 0, false, [0.6, 0.7]),
        ("erm-balanced", 0, true, [0.8, 0.9]),
        ("erm", 1, false, [0.4, 0.5]),
        ("rs", 1, false, [0.5, 0.6]),
        ("erm-balanced", 1, true, [0.7, 0.8]),
    ];
    for (method, subset, balanced, totals) in runs {
        config.seed = subset;
        config.balanced = balanced;
        let place = home.join(format!("runs-{subset}-{balanced}"));
        let split = Split::read_or_build(&config, &place.join("split")).unwrap();
        for (seed, total) in totals.into_iter().enumerate() {
            let mut manifest = manifest(method, seed as u64);
            manifest.split_hash = split.hash.clone();
            run(&place, &manifest, [Some(total); 4]);
        }
    }
    let study = study(home);
    let method = |name: &str| study.methods().iter().find(|m| m.name == name).unwrap();
    assert_eq!(method("rs").apart, None);
    let apart = method("erm-balanced").apart.as_deref().unwrap();
    assert!(apart.contains("another training set of the same size"));
    // Four blocks of two methods; the third has no rank.
    let rows = study.rank_rows();
    assert!(rows.iter().all(|row| row.blocks == 4 && row.subsets == 2));
    assert!(rows.iter().all(|row| row.method != "erm-balanced"));
    let of_seeds = |name: &str| {
        let mut tests = study.tests().iter();
        tests.find(|t| t.method == name && t.test == Kind::TSeeds)
    };
    assert_eq!(of_seeds("rs").unwrap().pairs, 4);
    assert_eq!(of_seeds("erm-balanced"), None);
    assert_eq!(study.classes()[0].train_count, 120, "those of the baseline");
    let read = written(&study);
    assert!(read("table.md").contains("| erm-balanced | 4 ‡ |"));
    assert!(read("table.md").contains("\n‡ erm-balanced: trained on another training set of"));
    assert!(read("table.tex").contains("erm-balanced & 4\\rlap{$^{\\;\\ddagger}$} &"));
    assert!(read("index.html").contains(">4 ‡</td>"));
    assert!(study.to_terminal().contains("‡ erm-balanced: trained"));
    let lines: Vec<String> = read("table.csv").lines().map(str::to_owned).collect();
    assert!(lines[3].starts_with("erm-balanced,4,"), "{}", lines[3]);
}

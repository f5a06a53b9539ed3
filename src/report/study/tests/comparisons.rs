//! The tests against the baseline.

use super::*;

/// Makes a split of three classes, with runs of random scores beside it.
fn with_images(home: &Path) -> Vec<(String, Predictions)> {
    let mut stream = crate::rng::Stream::new(3, "images", 0, 0);
    let mut table = |prefix: &str, images: usize| {
        let mut text = String::from("image,labels\n");
        for i in 0..images {
            let labels: Vec<&str> = (["a", "b", "c"].into_iter())
                .filter(|_| stream.chance(0.3))
                .collect();
            text.push_str(&format!("{prefix}{i}.jpg,{}\n", labels.join("|")));
        }
        text
    };
    let (train, test) = (table("train", 40), table("test", 60));
    write_text(&home.join("train.csv"), &train).unwrap();
    write_text(&home.join("test.csv"), &test).unwrap();
    let mut config = SplitConfig::new(Source::Table(Table {
        train: home.join("train.csv"),
        test: Some(home.join("test.csv")),
        ..Table::default()
    }));
    config.distribution = Distribution::AsIs {};
    Split::build(&config)
        .and_then(|split| split.write(&home.join("split"), false))
        .unwrap();
    let split = Split::read(&home.join("split")).unwrap();
    let mut written = Vec::new();
    for (method, skill) in [("erm", 0.2), ("db-focal", 1.5)] {
        let mut scores = Vec::new();
        for i in 0..split.test.len() {
            for class in 0..3 {
                let positive = split.test.labels(i).contains(&class);
                scores.push(stream.normal() + if positive { skill } else { 0.0 });
            }
        }
        let predictions = Predictions {
            classes: split.classes().to_vec(),
            images: split.test.images().to_vec(),
            scores,
            scale: None,
        };
        let run = RunDir::new(home.join(format!("{method}-s0")));
        let mut manifest = manifest(method, 0);
        manifest.split_hash = split.hash.clone();
        manifest.write(&run.manifest()).unwrap();
        let options = EvaluationOptions::default();
        let evaluation = Evaluation::new(&predictions, &split.test, &split, &options).unwrap();
        evaluation.write(&run.eval(Set::Test)).unwrap();
        predictions
            .write(&run.eval(Set::Test).join("predictions.csv"))
            .unwrap();
        written.push((method.to_owned(), predictions));
    }
    written
}

#[test]
fn tests_pair_classes_and_seeds_and_leave_out_the_undefined() {
    let home = tempfile::tempdir().unwrap();
    two_methods(home.path());
    let study = study(home.path());
    let test = |kind, classes: Scope| {
        study
            .tests()
            .iter()
            .find(|t| t.test == kind && t.classes == classes)
    };
    // Classes, averaged over seeds: 0.75 - 0.8, 0.65 - 0.55, 0.55 - 0.3.
    let t = test(Kind::TClasses, Scope::Total).unwrap();
    assert_eq!(
        (t.pairs, t.method.as_str(), t.baseline.as_str()),
        (3, "db-focal", "erm")
    );
    assert_relative_eq!(t.difference, 0.1, max_relative = 1e-12);
    // scipy.stats.ttest_1samp([-0.05, 0.1, 0.25], 0)
    assert_relative_eq!(
        t.statistic.unwrap(),
        1.1547005383792515,
        max_relative = 1e-9
    );
    assert_relative_eq!(t.p_value.unwrap(), 0.36754446796632423, max_relative = 1e-9);
    // scipy.stats.wilcoxon([-0.05, 0.1, 0.25])
    let wilcoxon = test(Kind::WilcoxonClasses, Scope::Total).unwrap();
    assert_relative_eq!(wilcoxon.p_value.unwrap(), 0.5, max_relative = 1e-9);
    // Each group has one class with an AP, and a single pair allows no test.
    assert_eq!(test(Kind::TClasses, Scope::Tail), None);
    // Seeds: totals 0.6 - 0.5, 0.7 - 0.6. Equal differences have no t, but they have ranks.
    let t = test(Kind::TSeeds, Scope::Total).unwrap();
    assert_eq!((t.pairs, t.p_value, t.p_holm), (2, None, None));
    assert_relative_eq!(t.difference, 0.1, max_relative = 1e-12);
    assert_eq!(
        test(Kind::WilcoxonSeeds, Scope::Total).unwrap().p_value,
        Some(0.5)
    );
    assert_eq!(
        test(Kind::JackknifeImages, Scope::Total),
        None,
        "no predictions"
    );
    let csv = written(&study)("tests.csv");
    assert!(csv.contains("db-focal,erm,total,t-seeds,2,"), "{csv}");
    assert_eq!(csv.lines().count(), 1 + study.tests().len());
}

#[test]
fn the_jackknife_is_the_paired_one_over_the_test_images() {
    let home = tempfile::tempdir().unwrap();
    let predictions = with_images(home.path());
    let study = study(home.path());
    let split = Split::read(&home.path().join("split")).unwrap();
    let labels = targets(&split.test);
    let table = |i: usize| ScoreTable::new(&predictions[i].1.scores, &labels, 3).unwrap();
    let jackknife = |i| Jackknife::new(&Ranked::new(&table(i)).unwrap(), &split.groups);
    let expected = jackknife(1).gain_over(&jackknife(0)).intervals(0.95);
    let expected = expected.total.unwrap();
    let test = (study.tests().iter())
        .find(|t| t.test == Kind::JackknifeImages && t.classes == Scope::Total)
        .unwrap();
    assert_eq!(test.difference, expected.estimate);
    assert_eq!(
        (test.low, test.high),
        (Some(expected.low), Some(expected.high))
    );
    assert_eq!(test.p_value, expected.p_value);
    assert_eq!(test.pairs, split.test.len());
    assert!(expected.low > 0.0, "a difference that is there is found");
    // Precision averaged over recall is about the AP.
    let erm = study.baseline();
    for (curve, score) in erm.precision.iter().zip(&erm.class_scores) {
        let curve = curve.as_ref().unwrap();
        let mean = curve.iter().sum::<f64>() / curve.len() as f64;
        assert!((mean - score.unwrap()).abs() < 0.03, "{mean} {score:?}");
    }
    let read = written(&study);
    assert!(read("index.html").contains("application/json"));

    // A random order of 60 images: the formula's sum, term by term.
    let expected = |positives: usize| -> f64 {
        let (n, p) = (60.0, positives as f64);
        let at = |i: usize| (1.0 + (i as f64 - 1.0) * (p - 1.0) / (n - 1.0)) / i as f64;
        (1..=60).map(at).sum::<f64>() / n
    };
    let by_class: Vec<f64> = (split.test.class_counts().into_iter())
        .map(expected)
        .collect();
    let chance = study.chance().unwrap();
    for (own, expected) in chance.classes.iter().zip(&by_class) {
        assert_relative_eq!(own.unwrap(), *expected, max_relative = 1e-12);
    }
    let mean = by_class.iter().sum::<f64>() / 3.0;
    assert_relative_eq!(chance.means.total.unwrap(), mean, max_relative = 1e-12);
    let row = format!("| chance |  | {:.2} |", mean * 100.0);
    assert!(read("table.md").contains(&row), "{}", read("table.md"));
    let table: Vec<MethodRow> = rows_of(&read("table.csv"));
    assert_eq!((table[2].method.as_str(), table[2].seeds), ("chance", 0));
    assert_relative_eq!(table[2].total.unwrap(), mean, max_relative = 1e-12);
    assert!(read("table.tex").contains("\\midrule\nchance &  & "));
    let tests = read("tests.csv");
    assert!(!tests.contains("chance"), "it is no method");
    roxmltree::Document::parse(&read("precision_recall.svg")).unwrap();

    // If the predictions do not match, the rest is still reported.
    let file = home.path().join("db-focal-s0/eval/test/predictions.csv");
    write_text(&file, "image,a,b,c\ntest0.jpg,1,2,3\n").unwrap();
    let left = Study::read(&[home.path().to_owned()], &Options::default()).unwrap();
    assert_eq!(left.methods().len(), 2);
    assert!(left.tests().iter().all(|t| t.test != Kind::JackknifeImages));
}

/// Parses the rows of a CSV text.
fn rows_of<T: serde::de::DeserializeOwned>(text: &str) -> Vec<T> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.deserialize().map(Result::unwrap).collect()
}

#[test]
fn threads_do_not_change_a_byte() {
    let home = tempfile::tempdir().unwrap();
    with_images(home.path());
    let report = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let read = written(&study(home.path()));
            ["index.html", "tests.csv", "table.tex"].map(read)
        })
    };
    assert!(report(1) == report(3), "the files differ");
}

/// Three methods over two subsets with two seeds each: totals by block, worked out with
/// `scipy.stats.rankdata(-x, axis=1)`, `friedmanchisquare` and `studentized_range.ppf(0.95, 3, inf)`.
#[test]
fn ranks_are_over_the_blocks_that_all_methods_have() {
    let home = tempfile::tempdir().unwrap();
    let subsets = ["a", "b"].map(|letter| letter.repeat(64));
    let totals = [
        ("erm", [0.50, 0.52, 0.40, 0.41]),
        ("rs", [0.55, 0.52, 0.46, 0.47]),
        ("db-focal", [0.60, 0.58, 0.50, 0.49]),
    ];
    for (method, totals) in totals {
        for (block, total) in totals.into_iter().enumerate() {
            let mut manifest = manifest(method, block as u64 % 2);
            manifest.split_hash = subsets[block / 2].clone();
            let folder = home.path().join(format!("subset-{}", block / 2));
            run(&folder, &manifest, [Some(total); 4]);
        }
    }
    // A block that one method lacks does not count.
    let mut alone = manifest("erm", 7);
    alone.split_hash = subsets[0].clone();
    run(home.path(), &alone, [Some(0.9); 4]);
    let options = Options {
        allow_different_splits: true,
        ..Options::default()
    };
    let study = Study::read(&[home.path().to_owned()], &options).unwrap();
    let rows = study.rank_rows();
    let total: Vec<&RankRow> = rows.iter().filter(|r| r.classes == Scope::Total).collect();
    let names: Vec<&str> = total.iter().map(|row| row.method.as_str()).collect();
    assert_eq!(names, ["db-focal", "rs", "erm"]);
    let means: Vec<f64> = total.iter().map(|row| row.mean_rank.unwrap()).collect();
    assert_eq!(means, [1.0, 2.125, 2.875]);
    assert_eq!((total[0].blocks, total[0].subsets), (4, 2));
    // friedmanchisquare([.5,.52,.4,.41], [.55,.52,.46,.47], [.6,.58,.5,.49])
    let near = 1e-9;
    assert_relative_eq!(total[0].chi_squared.unwrap(), 7.6, max_relative = near);
    assert_relative_eq!(
        total[0].p_friedman.unwrap(),
        0.0223707718561656,
        max_relative = near
    );
    // 3.314493155398122 / sqrt(2) * sqrt(12 / 24): 1.66; with two blocks 2.34.
    let far = total[0].critical_difference.unwrap();
    assert_relative_eq!(far, 1.657246577699061, max_relative = near);
    let over_subsets = total[0].critical_difference_over_subsets.unwrap();
    assert_relative_eq!(over_subsets, 2.343700586378409, max_relative = near);
    let groups: Vec<&str> = total.iter().map(|row| row.groups.as_str()).collect();
    assert_eq!(groups, ["1", "1 2", "2"], "1.875 is more than 1.66");

    let read = written(&study);
    let csv = read("ranks.csv");
    assert!(csv.starts_with("classes,method,mean_rank,groups,blocks,"));
    assert!(csv.contains("\ntotal,rs,2.125,1 2,4,1.657"), "{csv}");
    let svg = read("ranks.svg");
    roxmltree::Document::parse(&svg).unwrap();
    assert!(svg.contains("critical difference 1.66") && svg.contains("DB-Focal"));
    let page = read("index.html");
    assert!(page.contains("by more than 1.66 are told apart") && page.contains("be 2.34"));
}

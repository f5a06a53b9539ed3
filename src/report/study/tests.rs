//! Reports over run folders made by hand, with figures that can be worked out on paper.

use std::path::{Path, PathBuf};

use approx::assert_relative_eq;

use super::*;
use crate::data::split::{Distribution, Files, Set, Source, Split, SplitConfig};
use crate::io::write_text;
use crate::metrics::{ScoreTable, paired_bootstrap_map};
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
        version: "0.1.0".into(),
        device: "cpu".into(),
        threads: 2,
        workers: 2,
        processor: "abacus".into(),
        started_unix: 0,
        split_folder: "nowhere".into(),
        split_hash: "a".repeat(64),
        weights_hash: None,
        config_hash: String::new(),
        train_seconds: 60.0,
        images_seen: 6_000,
        total_steps: None,
        error: None,
        findings: Vec::new(),
    }
}

/// A run with these AP; the file of the classes is all that a report cannot do without.
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

/// ERM and DB-Focal with two seeds each. The last class has no test image.
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

/// Writes the report and gives its files by name.
fn written(study: &Study) -> impl Fn(&str) -> String + use<> {
    let out = tempfile::tempdir().unwrap();
    study.write(out.path()).unwrap();
    move |name| {
        let path = out.path().join(name);
        fs_err::read_to_string(path).unwrap()
    }
}

#[test]
fn means_deviations_and_ranks_are_those_worked_out_by_hand() {
    let home = tempfile::tempdir().unwrap();
    two_methods(home.path());
    // A third with one seed, best there: ranks count only the seed that all have.
    run(home.path(), &manifest("rs", 0), [Some(0.9); 4]);
    let study = study(home.path());
    let names: Vec<&str> = study.methods().iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["erm", "rs", "db-focal"]);
    let erm = study.baseline();
    assert_eq!(
        (erm.name.as_str(), erm.seeds.as_slice()),
        ("erm", &[0, 1][..])
    );
    // Totals 0.5 and 0.6: mean 0.55, deviation sqrt(2 * 0.05^2 / 1).
    let (mean, deviation) = erm.mean_and_deviation(Scope::Total);
    assert_relative_eq!(mean.unwrap(), 0.55, max_relative = 1e-12);
    assert_relative_eq!(deviation.unwrap(), 0.005f64.sqrt(), max_relative = 1e-12);
    let (mean, deviation) = erm.mean_and_deviation(Scope::Tail);
    assert_relative_eq!(mean.unwrap(), 0.3, max_relative = 1e-12);
    assert_relative_eq!(deviation.unwrap(), 0.02f64.sqrt(), max_relative = 1e-12);
    assert_eq!(study.methods()[1].mean_and_deviation(Scope::Total).1, None);
    let ranks: Vec<f64> = study.methods().iter().map(|m| m.rank.unwrap()).collect();
    assert_eq!(ranks, [3.0, 1.0, 2.0]);

    let read = written(&study);
    let table = read("table.csv");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[0],
        "method,seeds,total,total_deviation,head,head_deviation,medium,medium_deviation,tail,\
         tail_deviation,mean_rank,train_seconds,total_quoted,head_quoted,medium_quoted,tail_quoted"
    );
    assert_eq!(lines[2], "rs,1,0.9,,0.9,,0.9,,0.9,,1,60.0,,,,");
    assert!(read("table.md").contains("| ERM | 2 | 55.00 ± 7.07 |"));
    assert!(read("table.md").contains("| RS | 1 | **90.00** |"));
    assert!(read("table.md").contains("<ins>65.00 ± 7.07</ins>"));
    assert!(
        !read("table.md").contains("quoted"),
        "no benchmark of the paper"
    );
    let tex = read("table.tex");
    assert!(
        tex.contains("ERM & 2 & 55.00 {\\scriptsize$\\pm$ 7.07} &"),
        "{tex}"
    );
    assert!(tex.contains("RS & 1 & \\textbf{90.00} &"), "{tex}");
    assert!(
        tex.contains("\\underline{65.00} {\\scriptsize$\\pm$ 7.07}"),
        "{tex}"
    );
    assert!(
        tex.contains("hand\\_made") && !tex.contains("quoted"),
        "{tex}"
    );
    // The last class has a value for the method that has one.
    let per_class = read("per_class.csv");
    assert_eq!(per_class.lines().last().unwrap(), "tie,tail,3,5,,,0.9,,,");
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
    // One class in each group has an AP, and one pair is no test.
    assert_eq!(test(Kind::TClasses, Scope::Tail), None);
    // Seeds: totals 0.6 - 0.5, 0.7 - 0.6: equal differences have no t, but ranks.
    let t = test(Kind::TSeeds, Scope::Total).unwrap();
    assert_eq!((t.pairs, t.p_value, t.p_holm), (2, None, None));
    assert_relative_eq!(t.difference, 0.1, max_relative = 1e-12);
    assert_eq!(
        test(Kind::WilcoxonSeeds, Scope::Total).unwrap().p_value,
        Some(0.5)
    );
    assert_eq!(
        test(Kind::BootstrapImages, Scope::Total),
        None,
        "no predictions"
    );
    let csv = written(&study)("tests.csv");
    assert!(csv.contains("db-focal,erm,total,t-seeds,2,"), "{csv}");
    assert_eq!(csv.lines().count(), 1 + study.tests().len());
}

#[test]
fn names_of_the_user_are_text_everywhere() {
    let home = tempfile::tempdir().unwrap();
    two_methods(home.path());
    let read = written(&study(home.path()));
    let tex = read("per_class.tex");
    assert!(tex.contains("hair\\_drier \\& co & 120 &"), "{tex}");
    assert!(
        tex.contains("50 \\% \\textless{}b\\textgreater{}off"),
        "{tex}"
    );
    assert_eq!(
        tex.matches("\\midrule").count(),
        2 + 2,
        "one in each head, one between groups"
    );
    let page = read("index.html");
    assert!(page.contains("50 % &lt;b&gt;off"), "escaped");
    assert!(!page.contains("<b>off"), "a class name is not markup");
    for foreign in ["src=", "<link", "@import", "url(", "https://"] {
        assert!(!page.contains(foreign), "{foreign}: nothing is fetched");
    }
    let mut csv = csv::Reader::from_reader(read("per_class.csv").into_bytes().as_slice())
        .into_records()
        .map(|row| row.unwrap()[0].to_owned())
        .collect::<Vec<_>>();
    let mut names: Vec<&str> = CLASSES.iter().map(|class| class.0).collect();
    csv.sort();
    names.sort_unstable();
    assert_eq!(csv, names);
    for name in [
        "methods.svg",
        "per_class.svg",
        "gain.svg",
        "training_count.svg",
    ] {
        let svg = read(name);
        let document = roxmltree::Document::parse(&svg).unwrap();
        assert_eq!(document.root_element().tag_name().name(), "svg", "{name}");
    }
    assert!(read("settings.csv").contains("loss.name,erm,db-focal"));
    assert!(
        !read("settings.csv").contains("train.epochs"),
        "the same everywhere"
    );
}

#[test]
fn one_run_of_one_method_is_a_report_too() {
    let home = tempfile::tempdir().unwrap();
    // Neither a medium class nor one of the tail has an AP.
    let folder = run(
        home.path(),
        &manifest("asl", 3),
        [Some(0.25), None, None, None],
    );
    let study = Study::read(&[folder], &Options::default()).unwrap();
    assert!(study.tests().is_empty());
    let read = written(&study);
    assert_eq!(
        read("table.csv").lines().nth(1).unwrap(),
        "asl,1,0.25,,0.25,,,,,,1,60.0,,,,"
    );
    assert!(read("table.md").contains("| asl | 1 | 25.00 | 25.00 |  |  |"));
    assert!(read("table.tex").contains("asl & 1 & 25.00 & 25.00 &  &  \\\\"));
    assert_eq!(read("tests.csv").lines().count(), 1);
    let page = read("index.html");
    // The script knows the word, no cell holds it.
    assert!(!page.contains(">NaN") && !page.contains("Gains over"));
    assert_eq!(study.to_terminal().matches("25.00").count(), 2);
}

#[test]
fn published_figures_stand_beside_runs_of_the_benchmark_only() {
    let classes: Vec<ClassScore> = (0..20)
        .map(|i| ClassScore {
            name: if i == 0 {
                "aeroplane".into()
            } else {
                format!("class {i}")
            },
            group: Group::Tail,
            train_count: 5,
            positives: 5,
            average_precision: Some(0.5),
            area_under_roc: None,
            precision: None,
            recall: None,
            f1: None,
            accuracy: None,
        })
        .collect();
    let home = tempfile::tempdir().unwrap();
    two_methods(home.path());
    let mut study = study(home.path());
    assert_eq!(published::benchmark(&study.runs), None);
    for run in &mut study.runs {
        run.manifest.experiment = "voc-mlt".into();
    }
    assert_eq!(
        published::benchmark(&study.runs),
        None,
        "four classes are no VOC"
    );
    for run in &mut study.runs {
        run.classes = classes.clone();
    }
    assert_eq!(published::benchmark(&study.runs), Some("voc-mlt"));
    study.runs[0].manifest.experiment = "voc-mltish".into();
    assert_eq!(published::benchmark(&study.runs), None);

    for method in &mut study.methods {
        method.published = published::find("voc-mlt", &method.name);
    }
    assert!(
        study
            .markdown()
            .contains("| 78.94 | 73.22 | 84.18 | 79.30 |")
    );
    assert!(study.markdown().contains("quoted from Wu et al."));
    let csv = crate::rows::to_text(study.methods.iter().map(MethodRow::new));
    assert!(csv.ends_with("0.7894,0.7322,0.8418,0.793\n"), "{csv}");
    let tex = latex::table(&study);
    assert!(tex.contains("\\multicolumn{4}{c}{quoted}"), "{tex}");
    assert!(
        tex.contains(" & 70.86 & 68.91 & 80.20 & 65.31 \\\\"),
        "{tex}"
    );
}

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

/// A split of three classes and runs with drawn scores beside it.
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
    let mut config = SplitConfig::new(Source::Table(Files {
        train: home.join("train.csv"),
        test: Some(home.join("test.csv")),
        ..Files::default()
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
fn the_bootstrap_is_the_paired_one_over_the_test_images() {
    let home = tempfile::tempdir().unwrap();
    let predictions = with_images(home.path());
    let study = study(home.path());
    let split = Split::read(&home.path().join("split")).unwrap();
    let labels = targets(&split.test);
    let table = |i: usize| ScoreTable::new(&predictions[i].1.scores, &labels, 3).unwrap();
    let settings = Bootstrap::default();
    let expected = paired_bootstrap_map(&table(0), &table(1), &split.groups, &settings).unwrap();
    let expected = expected.total.unwrap();
    let test = (study.tests().iter())
        .find(|t| t.test == Kind::BootstrapImages && t.classes == Scope::Total)
        .unwrap();
    assert_eq!(test.difference, expected.estimate);
    assert_eq!(
        (test.low, test.high),
        (Some(expected.low), Some(expected.high))
    );
    assert_eq!(test.p_value, Some(expected.p_value));
    assert!(expected.low > 0.0, "a difference that is there is found");
    // The precision by recall averages to about the AP.
    let erm = study.baseline();
    for (curve, score) in erm.precision.iter().zip(&erm.class_scores) {
        let curve = curve.as_ref().unwrap();
        let mean = curve.iter().sum::<f64>() / curve.len() as f64;
        assert!((mean - score.unwrap()).abs() < 0.03, "{mean} {score:?}");
    }
    let read = written(&study);
    assert!(read("index.html").contains("application/json"));
    roxmltree::Document::parse(&read("precision_recall.svg")).unwrap();

    // Without it, and where the predictions do not fit, the rest is still there.
    let none = Options {
        resamples: 0,
        ..Options::default()
    };
    let quick = Study::read(&[home.path().to_owned()], &none).unwrap();
    assert!(
        quick
            .tests()
            .iter()
            .all(|t| t.test != Kind::BootstrapImages)
    );
    let file = home.path().join("db-focal-s0/eval/test/predictions.csv");
    write_text(&file, "image,a,b,c\ntest0.jpg,1,2,3\n").unwrap();
    let left = Study::read(&[home.path().to_owned()], &Options::default()).unwrap();
    assert_eq!(left.methods().len(), 2);
    assert!(left.tests().iter().all(|t| t.test != Kind::BootstrapImages));
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

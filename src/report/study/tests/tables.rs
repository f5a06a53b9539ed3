//! The tables, the page and the pictures.

use super::*;

#[test]
fn means_deviations_and_ranks_are_those_worked_out_by_hand() {
    let home = tempfile::tempdir().unwrap();
    two_methods(home.path());
    // A third method with one seed, the best there: ranks count only the seed that all methods
    // have.
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
    let ranks: Vec<f64> = (0..3).map(|place| study.rank(place).unwrap()).collect();
    assert_eq!(ranks, [3.0, 1.0, 2.0]);

    let read = written(&study);
    let table = read("table.csv");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[0],
        "method,seeds,total,total_deviation,head,head_deviation,medium,medium_deviation,tail,\
         tail_deviation,mean_rank,train_seconds,total_quoted,head_quoted,medium_quoted,tail_quoted,\
         remarks"
    );
    assert_eq!(lines[2], "rs,1,0.9,,0.9,,0.9,,0.9,,1,60.0,,,,,");
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
    // The last class has a value for the method that scores it.
    let per_class = read("per_class.csv");
    assert_eq!(per_class.lines().last().unwrap(), "tie,tail,3,5,,,,0.9,,,");
}

#[test]
fn a_run_that_came_to_nothing_is_marked_in_every_table() {
    let home = tempfile::tempdir().unwrap();
    two_methods(home.path());
    let chance = "the last loss is that of chance & <b>no better</b>";
    let mut dead = manifest("asl", 4);
    dead.findings = vec![chance.into()];
    let folder = run(home.path(), &dead, [Some(0.1); 4]);
    let scores = |alike: f64| format!("metric,value\nmicro_f1,0.5\nclasses_scored_alike,{alike}\n");
    let overall = |folder: &Path| RunDir::new(folder).eval(Set::Test).join("scores.csv");
    write_text(&overall(&folder), &scores(1.0)).unwrap();
    // A single class for which all images score alike does not mean a dead network.
    write_text(&overall(&home.path().join("erm-s0")), &scores(0.25)).unwrap();

    let study = study(home.path());
    let read = written(&study);
    let column = |name: &str| -> Vec<String> {
        let text = read(name).into_bytes();
        let mut csv = csv::Reader::from_reader(text.as_slice());
        let place = csv.headers().unwrap().iter().position(|h| h == "remarks");
        (csv.records())
            .map(|row| row.unwrap()[place.unwrap()].to_owned())
            .collect()
    };
    let alike = "all images score alike";
    assert_eq!(
        column("table.csv"),
        ["", "", &format!("seed 4: {chance}; seed 4: {alike}")],
        "erm, db-focal, asl"
    );
    let of_runs = column("runs.csv");
    let amiss: Vec<&String> = of_runs.iter().filter(|text| !text.is_empty()).collect();
    assert_eq!(amiss, [&format!("{chance}; {alike}")]);

    let page = read("index.html");
    assert!(page.contains(&format!("† asl, seed 4: {alike}")), "{page}");
    assert!(page.contains("chance &amp; &lt;b&gt;no better"), "{page}");
    assert!(page.contains(">1 †</td>"), "the method");
    assert!(page.contains(">4 †</td>"), "the run");
    assert!(page.contains(">2</td>"), "the others bear no mark");
    let table = read("table.md");
    assert!(table.contains("| asl | 1 † |"), "{table}");
    assert!(
        table.contains(&format!("\n† asl, seed 4: {alike}\n")),
        "{table}"
    );
    let tex = read("table.tex");
    assert!(tex.contains("asl & 1\\rlap{$^\\dagger$} &"), "{tex}");
    assert!(tex.contains("chance \\& \\textless{}b"), "{tex}");
    assert!(
        study
            .to_terminal()
            .contains(&format!("† asl, seed 4: {alike}"))
    );
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
        "asl,1,0.25,,0.25,,,,,,1,60.0,,,,,"
    );
    assert!(read("table.md").contains("| asl | 1 | 25.00 | 25.00 |  |  |"));
    assert!(read("table.tex").contains("asl & 1 & 25.00 & 25.00 &  &  \\\\"));
    assert_eq!(read("tests.csv").lines().count(), 1);
    let page = read("index.html");
    // The script contains the word, but no cell does.
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
            low: None,
            high: None,
            doubtful: None,
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
    let rows = (study.methods.iter()).map(|method| MethodRow::new(method, None));
    let csv = crate::rows::to_text(&rows.collect::<Vec<_>>());
    assert!(csv.ends_with("0.7894,0.7322,0.8418,0.793,\n"), "{csv}");
    let tex = latex::table(&study);
    assert!(tex.contains("\\multicolumn{4}{c}{quoted}"), "{tex}");
    assert!(
        tex.contains(" & 70.86 & 68.91 & 80.20 & 65.31 \\\\"),
        "{tex}"
    );
}

//! Tests `dbloss inspect`: the page about a trained run, compared with its predictions.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::small::{dbloss, ok, read};
use dbloss::data::labels::LabelTable;
use dbloss::data::shapes;
use predicates::str::contains;

const EXPERIMENT: &str = r#"
name = "own"
split_folder = "s"
[model]
backbone = "mobilenet_v2"
frozen_stages = -1
norm_eval = false
neck = { out_channels = 16 }
[input]
size = 32
[optimizer]
learning_rate = 0.05
[schedule]
kind = "constant"
warmup_iterations = 0
[train]
batch_size = 4
epochs = 12
[methods.erm]
loss = { name = "bce" }
sampler = { kind = "uniform", epoch_length = 12 }
"#;

/// The classes: the first has more than 20 training images, the last has fewer.
const CLASSES: [&str; 3] = ["a", "<b>&猫", "c"];

/// Creates a folder with pictures, a split of them with a validation part, and the trained run `r`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::create_dir_all(root.join("p/test")).unwrap();
    let mut number = 0;
    for (table, prefix, count) in [("train", "p/t", 46), ("test", "p/test/u", 21)] {
        let mut rows = "image,labels\n".to_owned();
        for i in 0..count {
            let picture = shapes::draw(0, &format!("pool/{number:06}"), 40).unwrap();
            let name = format!("{prefix}{i:02}.png");
            std::fs::write(root.join(&name), picture.to_png().unwrap()).unwrap();
            let [a, b, c] = CLASSES;
            let labels = match number % 6 {
                0 | 1 => a.to_owned(),
                2 => b.to_owned(),
                3 => format!("{a}|{b}"),
                4 => format!("{a}|{c}"),
                _ => format!("{a}|{b}"),
            };
            rows += &format!("{name},{labels}\n");
            number += 1;
        }
        std::fs::write(root.join(format!("{table}.csv")), rows).unwrap();
    }
    std::fs::write(root.join("own.toml"), EXPERIMENT).unwrap();
    ok(
        root,
        "split --table train.csv --test test.csv --validation 10 --out s",
    );
    ok(root, "train own.toml --out r");
    folder
}

/// Runs a command that succeeds and returns its stderr.
fn told(folder: &Path, arguments: &str) -> String {
    ok(folder, arguments).1
}

/// Returns the rows of numbers of a CSV file, with the name in the first column.
fn numbers(path: &Path) -> Vec<(String, Vec<f64>)> {
    let mut csv = csv::Reader::from_path(path).unwrap();
    let row = |row: csv::StringRecord| {
        let cells = row.iter().skip(1);
        let cells = cells.map(|cell| cell.parse().unwrap_or(0.0)).collect();
        (row[0].to_owned(), cells)
    };
    csv.records().map(|record| row(record.unwrap())).collect()
}

/// Returns the names of the pictures in the lists of a class, by kind of list.
fn listed(page: &str, class: usize) -> BTreeMap<String, Vec<String>> {
    let section = page
        .split(&format!("<div id=\"c{class}\">"))
        .nth(1)
        .unwrap();
    let section = section.split("</details>").next().unwrap();
    let lists = section.split("data-list=\"").skip(1);
    let name = |figure: &str| {
        let name = figure.split("<span class=\"name\">").nth(1).unwrap();
        name.split('<').next().unwrap().replace("&#x2f;", "/")
    };
    lists
        .map(|list| {
            let (kind, rest) = list.split_once('"').unwrap();
            let names = rest.split("<figure>").skip(1).map(name).collect();
            (kind.to_owned(), names)
        })
        .collect()
}

/// Returns the pictures of `scored` with the highest scores among those that `wanted` accepts by
/// score and label.
fn highest(
    scored: &[(String, f64, bool)],
    most: usize,
    wanted: impl Fn(f64, bool) -> bool,
) -> Vec<String> {
    let mut found: Vec<_> = (scored.iter())
        .filter(|(_, score, label)| wanted(*score, *label))
        .collect();
    found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    found.truncate(most);
    found.into_iter().map(|(name, _, _)| name.clone()).collect()
}

#[test]
fn the_page_shows_the_worst_errors_of_each_class() {
    let folder = folder();
    let root = folder.path();
    ok(root, "inspect r --per-class 3 --out a.html");
    let page = read(&root.join("a.html"));

    // The expected values come from the files of the evaluation.
    let thresholds = numbers(&root.join("r/eval/validation/thresholds.csv"));
    let scores = numbers(&root.join("r/eval/test/predictions.csv"));
    let mut labels = BTreeMap::new();
    for line in read(&root.join("test.csv")).lines().skip(1) {
        let (name, own) = line.split_once(',').unwrap();
        labels.insert(name.to_owned(), own.to_owned());
    }
    let (mut errors, mut whole) = (0, 0);
    for (class, (name, threshold)) in thresholds.iter().enumerate() {
        let scored: Vec<(String, f64, bool)> = (scores.iter())
            .map(|(image, row)| {
                let has = labels[image].split('|').any(|label| label == name);
                (image.clone(), row[class], has)
            })
            .collect();
        let threshold = threshold[0];
        let lists = listed(&page, class);
        let invented = highest(&scored, 3, |score, label| !label && score > threshold);
        match invented.is_empty() {
            true => assert_eq!(lists["near"], highest(&scored, 3, |_, label| !label)),
            false => assert_eq!(lists["false-positive"], invented, "{name}"),
        }
        errors += invented.len();
        match lists.get("positive") {
            Some(all) => {
                assert_eq!(
                    *all,
                    highest(&scored, usize::MAX, |_, label| label),
                    "{name}"
                );
                whole += 1;
            }
            None => {
                let turned: Vec<_> = (scored.iter())
                    .map(|(image, score, label)| (image.clone(), -score, *label))
                    .collect();
                let missed = highest(&turned, 3, |score, label| label && -score <= threshold);
                assert_eq!(lists["false-negative"], missed, "{name}");
                errors += missed.len();
            }
        }
    }
    assert!(
        errors > 0 && whole > 0,
        "{errors} errors, {whole} tail classes"
    );

    // Names are shown as text, in any alphabet, and the page loads nothing from elsewhere.
    assert!(page.contains("&lt;b&gt;&amp;猫") && !page.contains("<b>&猫"));
    let own = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!own.contains("http"), "something from elsewhere");
    assert!(page.contains("data:image/jpeg;base64,"));

    // Existing scores lead to the same bytes for any number of threads; nothing is overwritten
    // unless asked.
    let said = told(root, "inspect r --per-class 3 --out b.html --threads 1");
    assert!(said.contains("already exist and are reused"), "{said}");
    assert!(page == read(&root.join("b.html")), "the pages differ");
    let refused = |arguments: &str| {
        let mut command = dbloss(root);
        command.args(arguments.split(' ')).assert().code(2)
    };
    refused("inspect r --out a.html").stderr(contains("--force"));
    refused("inspect r --out a.pdf").stderr(contains("`.html`"));
    refused("inspect r --classes cc --out c.html").stderr(contains("the split has no class `cc`"));
    refused("inspect s --out c.html").stderr(contains("is not a run's folder"));

    // A missing picture is reported, and the rest is shown.
    std::fs::remove_file(root.join("p/test/u06.png")).unwrap();
    let said = told(root, "inspect r --classes c --out c.html");
    assert!(
        said.contains("1 picture cannot be shown: `p/test/u06.png`"),
        "{said}"
    );
    let page = read(&root.join("c.html"));
    assert!(page.contains("cannot be shown: ") && page.contains("data:image/jpeg"));
    assert!(
        !page.contains("id=\"c0\""),
        "a class that was not asked for"
    );
}

#[test]
fn what_there_is_no_room_for_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut table = LabelTable::new(vec!["x".into(), "y".into()]);
    let mut scores = Vec::new();
    for i in 0..60 {
        table.push(format!("test/{i:06}"), [u32::from(i % 2 == 0)]);
        scores.extend([f64::from(i) - 30.0, 30.0 - f64::from(i)]);
    }
    let predictions = dbloss::predict::Predictions {
        classes: table.classes().to_vec(),
        images: table.images().to_vec(),
        scores,
        scale: Some(dbloss::predict::Scale::Logits),
    };
    let small = "split --shapes --pool-size 300 --max 60 --test-size 30 --out s";
    ok(root, small);
    let mut split = dbloss::data::split::Split::read(&root.join("s")).unwrap();
    split.train = table.clone().into();
    split.groups = vec![dbloss::data::labels::Group::Tail; 2];
    let part = dbloss::report::inspect::Part {
        set: dbloss::report::inspect::Shown::Own(dbloss::data::split::Set::Test),
        predictions,
        table: table.into(),
        root: split.test_root.clone(),
    };
    let mut options = dbloss::report::inspect::Options {
        title: "t".into(),
        facts: Vec::new(),
        per_class: 5,
        classes: Vec::new(),
        side: 48,
        most_bytes: 20_000,
    };
    let page =
        dbloss::report::inspect::page(&part, None, None, &(&split).into(), &options).unwrap();
    let bytes: usize = (page.split("url(").skip(1))
        .map(|rest| rest.find(')').unwrap())
        .sum();
    assert!(bytes > 10_000 && bytes <= 20_000, "{bytes}");
    assert!(
        page.contains("left out, those that stand lowest") && page.contains("no validation part")
    );
    // All positives of a tail class are listed nevertheless.
    assert_eq!(listed(&page, 0)["positive"].len(), 30);
    options.most_bytes = 10 << 20;
    let page =
        dbloss::report::inspect::page(&part, None, None, &(&split).into(), &options).unwrap();
    assert!(!page.contains("left out"));
}

#[test]
fn another_data_set_is_looked_at_in_the_classes_that_both_have() {
    let folder = folder();
    let root = folder.path();
    let [a, b, _] = CLASSES;
    // The third class is not annotated there, and one class is unknown to the run.
    let mut rows = "image,labels\n".to_owned();
    for (i, labels) in [a, b, &format!("{a}|{b}"), "z"].iter().enumerate() {
        let picture = shapes::draw(0, &format!("pool/{:06}", 900 + i), 40).unwrap();
        std::fs::write(root.join(format!("new{i}.png")), picture.to_png().unwrap()).unwrap();
        rows += &format!("new{i}.png,{labels}\n");
    }
    std::fs::write(root.join("new.csv"), rows).unwrap();
    ok(root, "split --table new.csv --out new");
    let (printed, said) = ok(root, "inspect r --test-split new --on train --out new.html");
    assert!(printed.contains("4 pictures of the new set"), "{printed}");
    assert!(
        said.contains("that the run does not know left out"),
        "{said}"
    );
    let page = read(&root.join("new.html"));
    assert!(page.contains("new, another data set"));
    let shown: Vec<BTreeMap<String, Vec<String>>> =
        (0..2).map(|class| listed(&page, class)).collect();
    let pictures = shown.iter().flat_map(|class| class.values().flatten());
    assert!(pictures.clone().count() > 0);
    for picture in pictures {
        assert!(picture.starts_with("new"), "{picture}");
    }
    // The scores are those of `eval`, in the same place.
    let scores = root.join("r/eval/other-new/predictions.csv");
    let of_inspect = read(&scores);
    ok(root, "eval r --test-split new --on train");
    assert_eq!(read(&scores), of_inspect);
    dbloss(root)
        .args([
            "inspect",
            "r",
            "--test-split",
            "new",
            "--on",
            "train",
            "--out",
            "c.html",
        ])
        .args(["--classes", "c"])
        .assert()
        .code(2)
        .stderr(contains("`c`"));
}

/// A frozen backbone that knows the drawn classes, and a head that learns in seconds.
const FROZEN: &str = r#"
name = "own"
[split.source]
kind = "table"
train = "train.csv"
test = "test.csv"
[model]
backbone = "resnet10_w16"
weights = "embedded:shapes"
frozen_stages = 4
[input]
size = 64
augment = { views = 1 }
[optimizer]
learning_rate = 0.1
[schedule]
kind = "constant"
warmup_iterations = 0
[train]
batch_size = 16
epochs = 20
[methods.erm]
loss = { name = "bce" }
sampler = { kind = "uniform" }
"#;

/// Classes that the embedded backbone tells well from others.
const KNOWN: [&str; 5] = ["car", "boat", "house", "clock", "taxi"];

/// Writes the pictures of a table with their labels as CSV. With `plant`, ten labels of classes that
/// the backbone knows are flipped: five labels are removed and five wrong ones are added. Returns
/// picture and class of the removed labels, and of the added ones.
fn write_planted(
    root: &Path,
    table: &LabelTable,
    file: &str,
    plant: bool,
) -> [Vec<[String; 2]>; 2] {
    let index = |name: &str| table.classes().iter().position(|class| class == name);
    let known = KNOWN.map(|name| index(name).unwrap());
    let mut planted = [Vec::new(), Vec::new()];
    let mut rows = "image,labels\n".to_owned();
    let mut last = 0;
    for image in 0..table.len() {
        let name = format!("{}.png", table.image(image).replace('/', "-"));
        let picture = shapes::draw(0, table.image(image), 64).unwrap();
        std::fs::write(root.join(&name), picture.to_png().unwrap()).unwrap();
        let mut labels: Vec<usize> = (table.labels(image).iter()).map(|&l| l as usize).collect();
        let kind = usize::from(planted[0].len() > planted[1].len());
        let class = known[planted[kind].len() % 5];
        let fits = labels.contains(&class) == (kind == 0) && labels.len() > 1;
        if plant && fits && image >= last + 8 && planted[kind].len() < 5 {
            last = image;
            match kind {
                0 => labels.retain(|&label| label != class),
                _ => labels.push(class),
            }
            planted[kind].push([name.clone(), table.classes()[class].clone()]);
        }
        let labels: Vec<&str> = (labels.iter())
            .map(|&label| &*table.classes()[label])
            .collect();
        rows += &format!("{name},{}\n", labels.join("|"));
    }
    std::fs::write(root.join(file), rows).unwrap();
    planted
}

/// Pictures and classes of the first list of a kind behind `place` in the page.
fn suspected(page: &str, place: &str, kind: &str) -> Vec<[String; 2]> {
    let section = page.split(place).nth(1).unwrap();
    let list = section
        .split(&format!("data-list=\"{kind}\""))
        .nth(1)
        .unwrap();
    let list = list.split("data-list=").next().unwrap();
    let text = |figure: &str, before: &str| {
        let rest = figure.split(before).nth(1).unwrap();
        rest.split('<').next().unwrap().to_owned()
    };
    let figures = list.split("<figure>").skip(1);
    figures
        .map(|figure| [text(figure, "<span class=\"name\">"), text(figure, "<bdi>")])
        .collect()
}

/// Ten labels of the training images are turned over. The lists made from the trainings that held the
/// images out contain far more of them than chance would give.
#[test]
fn planted_label_errors_of_the_training_set_are_found_out_of_fold() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (pool, test) = shapes::label_tables(0, 320, 40);
    let planted = write_planted(root, &pool, "train.csv", true);
    assert_eq!(planted.each_ref().map(Vec::len), [5, 5]);
    write_planted(root, &test, "test.csv", false);
    std::fs::write(root.join("own.toml"), FROZEN).unwrap();
    let tune = "experiment = 'own.toml'\n[grid]\n'optimizer.learning_rate' = [0.1]\n[tune]\n";
    std::fs::write(root.join("t.toml"), tune).unwrap();
    ok(root, "tune t.toml --out runs");
    let inspect = "inspect runs/t/final/subset/erm-s0 --folds runs/t --side 32 --out";
    ok(root, &format!("{inspect} a.html"));
    let page = read(&root.join("a.html"));
    let place = "each scored by a training that held it out";
    let mut found = 0;
    for (kind, planted) in ["missing-label", "wrong-label"].iter().zip(&planted) {
        let listed = suspected(&page, place, kind);
        assert!(listed.len() > 5 && listed.len() <= 24, "{}", listed.len());
        found += planted.iter().filter(|one| listed.contains(one)).count();
    }
    // Two lists of 24 pairs drawn at random would hold 0.2 of them.
    assert!(found >= 6, "{found} of 10 were found");
    // Without the folds the training set is not searched.
    assert!(page.contains("in the test set") && !page.contains("has learned their labels"));
    for (given, expected) in [
        ("--folds runs", "contains no tuning"),
        ("--folds runs/t/final", "contains no tuning"),
    ] {
        let arguments = format!("inspect runs/t/final/subset/erm-s0 {given} --out b.html");
        let said = common::small::refused(root, &arguments);
        assert!(said.contains(expected), "{given}: {said}");
    }
    // Another training set than that of the folds.
    ok(
        root,
        "split --table test.csv --test train.csv --empty-classes keep --out s",
    );
    ok(
        root,
        "train own.toml --set split_folder=s --set train.epochs=1 --out r",
    );
    let said = common::small::refused(root, "inspect r --folds runs/t --out b.html");
    assert!(said.contains("first subset"), "{said}");
}

//! Tests `dbloss init`: what it recognises, what it writes, and that the result can be trained.

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::small::{dbloss, ok, read, refused};
use dbloss::data::shapes;
use serde_json::json;

/// Writes a picture, different for every path.
fn draw(path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    static DRAWN: AtomicUsize = AtomicUsize::new(0);
    let number = DRAWN.fetch_add(1, Ordering::Relaxed);
    let picture = shapes::draw(0, &format!("pool/{number:06}"), 40).unwrap();
    std::fs::write(path, picture.to_png().unwrap()).unwrap();
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

const LABELS: [&[&str]; 4] = [&["ant"], &["ant", "bee"], &["bee"], &["cow", "ant"]];

/// Writes a table of `count` pictures whose labels are formatted by `join`.
fn table(folder: &Path, name: &str, count: usize, join: fn(&[&str]) -> String) {
    let mut rows = "image,labels\n".to_owned();
    for i in 0..count {
        let picture = format!("{name}-{i:02}.png");
        draw(&folder.join(&picture));
        rows += &format!("{picture},\"{}\"\n", join(LABELS[i % 4]));
    }
    write(&folder.join(format!("{name}.csv")), &rows);
}

/// Writes a COCO file.
fn coco(folder: &Path, set: &str, count: usize) {
    let names = ["ant", "bee", "cow"];
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    for i in 0..count {
        let file = format!("{set}-{i}.png");
        draw(&folder.join(set).join(&file));
        images.push(json!({"id": i, "file_name": file, "width": 40, "height": 40}));
        for label in LABELS[i % 4] {
            let category = names.iter().position(|name| name == label).unwrap() + 1;
            annotations.push(json!({"id": annotations.len(), "image_id": i,
                "category_id": category, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}));
        }
    }
    let categories = [1, 2, 3].map(|id| json!({"id": id, "name": names[id - 1]}));
    let whole = json!({"images": images, "annotations": annotations, "categories": categories});
    let path = folder.join(format!("annotations/instances_{set}.json"));
    write(&path, &whole.to_string());
}

/// Writes a VOC devkit of one year.
fn voc(folder: &Path, year: u32, lists: &[(&str, usize)]) {
    let home = folder.join(format!("VOC{year}"));
    for (list, count) in lists {
        let mut ids = String::new();
        for i in 0..*count {
            let id = format!("{year}_{list}{i}");
            ids += &format!("{id}\n");
            draw(&home.join(format!("JPEGImages/{id}.jpg")));
            let objects = LABELS[i % 4].iter().map(|name| {
                format!("<object><name>{name}</name><difficult>0</difficult></object>")
            });
            let text = format!(
                "<annotation><filename>{id}.jpg</filename>{}</annotation>",
                objects.collect::<String>()
            );
            write(&home.join(format!("Annotations/{id}.xml")), &text);
        }
        write(&home.join(format!("ImageSets/Main/{list}.txt")), &ids);
    }
}

fn folders(folder: &Path, set: &str, count: usize) {
    for class in ["ant", "bee", "cow"] {
        for i in 0..count {
            draw(&folder.join(set).join(class).join(format!("{set}{i}.png")));
        }
    }
}

#[test]
fn every_kind_of_source_is_recognised_and_its_experiment_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    table(&root.join("tables"), "train", 24, |labels| labels.join(";"));
    table(&root.join("tables"), "test", 8, |labels| labels.join(";"));
    table(&root.join("alone"), "all", 30, |labels| labels.join("|"));
    coco(&root.join("coco"), "train2017", 24);
    coco(&root.join("coco"), "val2017", 8);
    voc(&root.join("devkit"), 2007, &[("trainval", 20), ("test", 8)]);
    voc(&root.join("devkit"), 2012, &[("trainval", 24)]);
    folders(&root.join("parted"), "train", 8);
    folders(&root.join("parted"), "test", 4);
    folders(root, "heap", 8);
    for (path, kind, sees, sets) in [
        ("tables", "table", "separated by: ;", "test 8"),
        ("tables/train.csv", "table", "test.csv beside it", "test 8"),
        ("alone/all.csv", "table", "no test set", ""),
        ("coco", "coco", "val2017.json beside it", "test 8"),
        (
            "coco/annotations/instances_train2017.json",
            "coco",
            "train2017",
            "test 8",
        ),
        ("devkit", "voc", "the list `test` of 2007", "test 8"),
        ("parted", "folder", "is the test set", "test 12"),
        ("heap", "folder", "a folder of pictures a class", ""),
    ] {
        let (_, said) = ok(
            root,
            &format!("init {path} --name x --out x.toml --force --weights none"),
        );
        assert!(said.contains(sees), "{path}: {said}");
        let text = read(&root.join("x.toml"));
        assert!(
            text.contains(&format!("kind = \"{kind}\"")),
            "{path}: {text}"
        );
        assert!(text.contains(sees.trim()), "{path}: {text}");
        let (checked, _) = ok(root, "config check x.toml");
        assert!(checked.contains("good, 2 runs"), "{checked}");
        ok(root, "split --config x.toml --out s --force");
        for part in sets.split(", ") {
            // The split is stratified: the number of images set apart is near the given part, not
            // exactly equal.
            let Some((set, count)) = part.split_once(' ') else {
                continue;
            };
            let rows = read(&root.join(format!("s/{set}.csv"))).lines().count() - 1;
            assert_eq!(rows.to_string(), count, "{path}: {set}");
        }
        std::fs::remove_dir_all(root.join("s")).unwrap();
    }
}

#[test]
fn the_experiment_trains_and_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    folders(root, "My birds!", 8);
    let init = ["init", "My birds!", "--weights", "none"];
    let output = dbloss(root).args(init).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("dbloss run my-birds.toml"), "{told}");
    let again = dbloss(root).args(init).output().unwrap();
    assert!(String::from_utf8_lossy(&again.stderr).contains("--force"));
    let less = "--set train.epochs=1 --set model.backbone=mobilenet_v2 --set input.size=32";
    let (table, _) = ok(root, &format!("run my-birds.toml {less}"));
    assert!(table.contains("db-focal"), "{table}");
}

#[test]
fn what_is_no_source_is_refused_with_what_would_be() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    assert!(refused(root, "init nowhere").contains("does not exist"));
    std::fs::create_dir(root.join("empty")).unwrap();
    let said = refused(root, "init empty");
    assert!(
        said.contains("`--coco`") && said.contains("`--table`"),
        "{said}"
    );
    write(&root.join("t.xls"), "x");
    assert!(refused(root, "init t.xls").contains("`.xls`"));
    table(&root.join("in"), "birds", 12, |labels| labels.join("|"));
    ok(
        root,
        "init --table in/birds.csv --weights w.pth --out deep/b.toml --name b",
    );
    let text = read(&root.join("deep/b.toml"));
    let here = root.canonicalize().unwrap();
    for path in ["in/birds.csv", "w.pth"] {
        assert!(text.contains(here.join(path).to_str().unwrap()), "{text}");
    }
    write(&root.join("s.csv"), "image,labels,split\na.png,x,train\n");
    let output = dbloss(root).args(["init", "s.csv"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("column `split` is ignored"));
}

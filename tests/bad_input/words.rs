//! What names out of files do to whoever looks at them: nothing.

use std::path::Path;

use crate::common::small::dbloss;
use crate::readers::{feed, named};

/// A class and a picture whose names steer a terminal.
const STEERING: [&str; 2] = ["\u{1b}[2Jcat", "\u{1b}]0;x\u{7}.jpg"];

/// A class and a picture whose names are code for a page.
const CODE: [&str; 2] = [
    "<script>alert(1)</script>",
    "&amp;\"'><img src=x onerror=alert(1)>.jpg",
];

fn folder([class, picture]: [&str; 2]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let picture = picture.replace('"', "\"\"");
    let rows = format!("image,labels\n\"{picture}\",{class}\nb.jpg,dog\nc.jpg,dog|{class}\n");
    std::fs::write(folder.path().join("t.csv"), rows).unwrap();
    folder
}

/// Runs a command, whose output has to leave a terminal alone; true if it succeeds.
fn run(folder: &Path, arguments: &str) -> bool {
    let output = dbloss(folder).args(arguments.split(' ')).output().unwrap();
    for text in [output.stdout, output.stderr] {
        let text = String::from_utf8(text).unwrap();
        let steers = (text.chars()).any(|c| c.is_control() && !"\n\r\t".contains(c));
        assert!(!steers, "{arguments}: {text:?}");
    }
    output.status.success()
}

#[test]
fn no_name_steers_the_terminal() {
    let folder = folder(STEERING);
    for name in ["b.toml", "b.json", "b.xml", "b.jsonl"] {
        let text = "name\u{1b}[2J = \"\u{1b}]0;x\u{7}\"\n{\"image\u{9b}2J\": 3}\n";
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    for arguments in [
        "config check b.toml",
        "train b.toml",
        "split --coco b.json --out s4",
        "split --table b.jsonl --out s5",
        "init b.json --out j.toml",
        "split --table t.csv --distribution as-is --out s",
        "stats s",
        "init t.csv --out i.toml",
        "split --table missing\u{1b}[2J.csv --distribution as-is --out s3",
        "train no\u{1b}[2J.toml",
        "report \u{1b}[2J",
        "config check \u{1b}[2J.toml",
    ] {
        run(folder.path(), arguments);
    }
}

#[test]
fn no_name_becomes_code_in_a_page() {
    let folder = folder(CODE);
    let folder = folder.path();
    assert!(run(
        folder,
        "split --table t.csv --distribution as-is --out s"
    ));
    assert!(run(folder, "stats s --out report"));
    let mut pages = 0;
    for entry in std::fs::read_dir(folder.join("report")).unwrap() {
        let path = entry.unwrap().path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if matches!(ending, Some("html" | "svg")) {
            let text = std::fs::read_to_string(&path).unwrap();
            for code in ["<script>alert", "<img src=x"] {
                assert!(!text.contains(code), "{}: {code}", path.display());
            }
            pages += 1;
        }
    }
    assert!(pages > 0);
}

/// A class and a picture whose names are formulas: as they are wherever they are read again, and with
/// an apostrophe in reports.
#[test]
fn no_name_is_a_formula_in_a_report() {
    let names = ["=cmd!A0", "@SUM(A1).jpg"];
    let folder = folder(names);
    let folder = folder.path();
    assert!(run(
        folder,
        "split --table t.csv --distribution as-is --out s"
    ));
    let text = std::fs::read_to_string(folder.join("s/train.csv")).unwrap();
    assert!(text.contains("\n@SUM(A1).jpg,"), "{text}");
    let text = std::fs::read_to_string(folder.join("s/classes.csv")).unwrap();
    assert!(text.contains(names[0]) && !text.contains("'=cmd"), "{text}");
    assert!(run(folder, "stats s --out report"));
    let mut tables = 0;
    for entry in std::fs::read_dir(folder.join("report")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "csv") {
            let mut rows = csv::ReaderBuilder::new();
            let mut rows = rows.has_headers(false).from_path(&path).unwrap();
            for cell in rows.records().flat_map(|row| {
                let cells: Vec<String> = row.unwrap().iter().map(str::to_owned).collect();
                cells
            }) {
                let formula =
                    cell.starts_with(['=', '@', '+', '-']) && cell.parse::<f64>().is_err();
                assert!(!formula, "{}: {cell}", path.display());
                tables += usize::from(cell.starts_with("'=cmd"));
            }
        }
    }
    assert!(tables > 3, "{tables}");
}

/// A picture that lies elsewhere than the user said is taken, and told of.
#[test]
fn no_path_leads_out_without_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("set")).unwrap();
    let rows = "image,labels\n../../etc/a.jpg,cat\nin/../b.jpg,dog\n/etc/c.jpg,\n";
    std::fs::write(folder.join("set/t.csv"), rows).unwrap();
    let output = dbloss(folder)
        .args("split --table set/t.csv --distribution as-is --out s".split(' '))
        .output()
        .unwrap();
    assert!(output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("2 pictures outside of the folder"), "{told}");
    assert!(told.contains("../../etc/a.jpg"), "{told}");
    let kept = std::fs::read_to_string(folder.join("s/split.toml")).unwrap();
    assert!(kept.contains("2 pictures outside"), "{kept}");

    // What a file names beside itself lies beside it.
    for (reader, text) in [
        (
            "plan",
            r#"{"name": "e", "file": "e", "split_folder": "s", "runs": ["../../m-s3"]}"#,
        ),
        (
            "weights_index",
            r#"{"weight_map": {"conv1.weight": "../w.safetensors"}}"#,
        ),
    ] {
        let error = feed(named(reader).unwrap(), text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("beside it"), "{error}");
    }
}

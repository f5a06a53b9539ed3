//! What names out of files do to whoever looks at them: nothing.

use std::path::Path;

use crate::common::small::dbloss;

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
        let steers = (text.iter()).any(|&byte| byte < 0x20 && !b"\n\r\t".contains(&byte));
        assert!(!steers, "{arguments}: {}", String::from_utf8_lossy(&text));
    }
    output.status.success()
}

#[test]
fn no_name_steers_the_terminal() {
    let folder = folder(STEERING);
    for arguments in [
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

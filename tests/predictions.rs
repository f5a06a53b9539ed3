//! Tests `dbloss eval --predictions` with scores from any source.

mod common;

use std::path::Path;

use common::small;

/// Creates a folder with a split of two classes and a validation part.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (mut train, mut test) = (
        String::from("image,labels\n"),
        String::from("image,labels\n"),
    );
    for i in 0..24 {
        train.push_str(&format!("train/{i}.jpg,{}\n", ["a", "b", "a|b"][i % 3]));
    }
    for i in 0..6 {
        test.push_str(&format!("test/t{i}.jpg,{}\n", ["a", "b", "a|b"][i % 3]));
    }
    std::fs::write(folder.path().join("train.csv"), train).unwrap();
    std::fs::write(folder.path().join("test.csv"), test).unwrap();
    let arguments =
        "split --table train.csv --test test.csv --distribution as-is --validation 6 --out s";
    small::dbloss(folder.path())
        .args(arguments.split(' '))
        .assert()
        .success();
    folder
}

/// Returns logits for image `i`, correct for most images.
fn logits(i: usize) -> [f64; 2] {
    let right = [[2.5, -1.5], [-3.0, 0.5], [1.0, 4.0]][i % 3];
    if i == 4 { [0.25, -0.25] } else { right }
}

fn file(folder: &Path, name: &str, header: &str, row: impl Fn(usize) -> String) {
    let rows: String = (0..6).map(row).collect();
    std::fs::write(folder.join(name), format!("{header}\n{rows}")).unwrap();
}

/// Evaluates a file; returns `scores.csv` and stderr.
fn eval(folder: &Path, name: &str, more: &str) -> (String, String) {
    let arguments =
        format!("eval --predictions {name} --split s --bootstrap 0 --out e --force {more}");
    let output = small::dbloss(folder)
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    (small::read(&folder.join("e/scores.csv")), said)
}

fn refused(folder: &Path, name: &str, more: &str) -> String {
    let arguments = format!("eval --predictions {name} --split s --bootstrap 0 {more}");
    let output = small::dbloss(folder)
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn one_file_has_one_score_whatever_its_scale() {
    let folder = folder();
    let folder = folder.path();
    let row = |i: usize| format!("test/t{i}.jpg,{},{}\n", logits(i)[0], logits(i)[1]);
    file(folder, "said.csv", "image (logits),a,b", row);
    file(folder, "plain.csv", "image,a,b", row);
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    file(folder, "probabilities.csv", "image,a,b", |i| {
        format!(
            "test/t{i}.jpg,{},{}\n",
            sigmoid(logits(i)[0]),
            sigmoid(logits(i)[1])
        )
    });
    let (expected, _) = eval(folder, "said.csv", "");
    // One image in six has both classes wrong: 7 of 8 positives are found, with one false alarm.
    assert!(expected.contains("micro_f1,0.875"), "{expected}");
    assert_eq!(eval(folder, "plain.csv", "--scores logits").0, expected);
    let (found, said) = eval(folder, "plain.csv", "");
    assert_eq!(found, expected);
    assert!(said.contains("scores lie outside 0..1"), "{said}");
    let (found, said) = eval(folder, "probabilities.csv", "");
    assert_eq!(found, expected);
    assert!(said.contains("are read as probabilities"), "{said}");
    let text = refused(folder, "said.csv", "--scores probabilities");
    assert!(text.contains("says that its scores are logits"), "{text}");
    let text = refused(folder, "plain.csv", "--scores probabilities");
    assert!(
        text.contains("outside 0..1, first 2.5 for `a` of `test/t0.jpg`"),
        "{text}"
    );
}

#[test]
fn scores_that_only_f64_tells_apart_are_no_ties() {
    let folder = folder();
    let folder = folder.path();
    // The positives of each class lie above the other images by less than an f32 can represent.
    file(folder, "p.csv", "image,a,b", |i| {
        let score = |positive: bool| {
            if positive {
                "0.99999999999"
            } else {
                "0.99999999998"
            }
        };
        format!(
            "test/t{i}.jpg,{},{}\n",
            score(i % 3 != 1),
            score(!i.is_multiple_of(3))
        )
    });
    let (scores, _) = eval(folder, "p.csv", "");
    assert!(scores.contains("classes_scored_alike,0\n"), "{scores}");
    let groups = small::read(&folder.join("e/groups.csv"));
    assert!(
        groups
            .lines()
            .any(|line| line.starts_with("total,") && line.contains(",1")),
        "{groups}"
    );
    let classes = small::read(&folder.join("e/per_class.csv"));
    assert!(
        classes
            .lines()
            .skip(1)
            .all(|line| line.split(',').nth(4) == Some("1")),
        "{classes}"
    );
}

#[test]
fn base_names_and_separators_are_understood() {
    let folder = folder();
    let folder = folder.path();
    let scores = |i: usize| logits(i).map(|z| z.to_string());
    file(folder, "full.csv", "image,a,b", |i| {
        format!("test/t{i}.jpg,{}\n", scores(i).join(","))
    });
    let (expected, _) = eval(folder, "full.csv", "--scores logits");
    file(folder, "base.csv", "image,b,a", |i| {
        let [a, b] = scores(i);
        format!("t{i}.jpg,{b},{a}\n")
    });
    let (found, said) = eval(folder, "base.csv", "--scores logits");
    assert_eq!(found, expected);
    assert!(
        said.contains("6 images are matched by file name without folder, first `t0.jpg`"),
        "{said}"
    );
    file(folder, "semicolons.csv", "image;a;b", |i| {
        format!("test/t{i}.jpg;{}\n", scores(i).join(";"))
    });
    let text = refused(folder, "semicolons.csv", "");
    assert!(text.contains("--separator ';'"), "{text}");
    assert_eq!(
        eval(folder, "semicolons.csv", "--scores logits --separator ;").0,
        expected
    );
    file(folder, "tabs.tsv", "image\ta\tb", |i| {
        format!("test/t{i}.jpg\t{}\n", scores(i).join("\t"))
    });
    assert_eq!(
        eval(folder, "tabs.tsv", r"--scores logits --separator \t").0,
        expected
    );
    file(folder, "other.csv", "image,a,b", |i| {
        format!("u{i}.jpg,1,2\n")
    });
    let text = refused(folder, "other.csv", "");
    assert!(
        text.contains("lacks 6 of 6 images, first `test/t0.jpg`"),
        "{text}"
    );
    assert!(text.contains("first `u0.jpg`"), "{text}");
}

/// The classes of a file may be in another Unicode form, and the file in another encoding, with a
/// byte order mark and the line endings of any system.
#[test]
fn encodings_and_unicode_forms_make_no_other_classes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let table = "image,labels\na.jpg,caf\u{e9}\nb.jpg,dog\nc.jpg,caf\u{e9}|dog\n";
    std::fs::write(folder.join("train.csv"), table).unwrap();
    std::fs::write(folder.join("test.csv"), table.replace(".jpg", "2.jpg")).unwrap();
    small::dbloss(folder)
        .args("split --table train.csv --test test.csv --out s".split(' '))
        .assert()
        .success();
    let plain = "image,caf\u{e9},dog\na2.jpg,2,-1\nb2.jpg,-2,1\nc2.jpg,-3,2\n";
    std::fs::write(folder.join("plain.csv"), plain).unwrap();
    let (expected, _) = eval(folder, "plain.csv", "--scores logits");
    let other = plain.replace('\u{e9}', "e\u{301}");
    let little = other.encode_utf16().flat_map(u16::to_le_bytes);
    let forms: [(&str, Vec<u8>); 4] = [
        ("form.csv", other.clone().into_bytes()),
        (
            "mark.csv",
            format!("\u{feff}{}", other.replace('\n', "\r\n")).into_bytes(),
        ),
        ("mac.csv", other.replace('\n', "\r").into_bytes()),
        ("wide.csv", [0xff, 0xfe].into_iter().chain(little).collect()),
    ];
    for (name, bytes) in forms {
        std::fs::write(folder.join(name), bytes).unwrap();
        assert_eq!(eval(folder, name, "--scores logits").0, expected, "{name}");
    }
}

#[test]
fn thresholds_are_fitted_on_the_validation_part_of_anyone_s_scores() {
    let folder = folder();
    let folder = folder.path();
    // All scores are 5 too high: only fitted thresholds separate present from absent classes.
    let held_out = small::read(&folder.join("s/validation.csv"));
    let mut validation = String::new();
    for line in held_out.lines().skip(1) {
        let (image, labels) = line.split_once(',').unwrap();
        let labels: Vec<&str> = labels.trim_matches('"').split('|').collect();
        let score = |class| if labels.contains(&class) { 7.0 } else { 3.0 };
        validation.push_str(&format!("{image},{},{}\n", score("a"), score("b")));
    }
    let test = |i: usize| {
        let score = |positive: bool| if positive { 7.0 } else { 3.0 };
        format!(
            "test/t{i}.jpg,{},{}\n",
            score(i % 3 != 1),
            score(!i.is_multiple_of(3))
        )
    };
    file(folder, "test-scores.csv", "image (logits),a,b", test);
    std::fs::write(
        folder.join("validation-scores.csv"),
        format!("image (logits),a,b\n{validation}"),
    )
    .unwrap();
    file(folder, "all.csv", "image (logits),a,b", test);
    let all = small::read(&folder.join("all.csv")) + &validation;
    std::fs::write(folder.join("all.csv"), all).unwrap();
    let (plain, _) = eval(folder, "test-scores.csv", "");
    assert!(!plain.contains("micro_f1,1\n"), "{plain}");
    let (fitted, _) = eval(
        folder,
        "test-scores.csv",
        "--fit-thresholds --validation-predictions validation-scores.csv",
    );
    assert!(fitted.contains("micro_f1,1\n"), "{fitted}");
    let (found, said) = eval(folder, "all.csv", "--fit-thresholds");
    assert_eq!(found, fitted);
    assert!(
        said.contains("6 images of the split's other sets skipped, first `"),
        "{said}"
    );
    let text = refused(folder, "test-scores.csv", "--fit-thresholds");
    assert!(text.contains("--validation-predictions"), "{text}");
}

#[test]
fn scores_of_others_enter_a_report_as_a_method() {
    let folder = folder();
    let folder = folder.path();
    for (name, shift) in [("ours", 0.0), ("theirs", 0.5)] {
        file(folder, "p.csv", "image (logits),a,b", |i| {
            let [a, b] = logits(i);
            format!(
                "test/t{i}.jpg,{},{}\n",
                a + shift * (i as f64 - 2.0),
                b - shift * i as f64
            )
        });
        let arguments = format!(
            "eval --predictions p.csv --split s --bootstrap 0 --method {name} --out runs/{name}"
        );
        let arguments: Vec<&str> = arguments.split(' ').collect();
        small::dbloss(folder).args(&arguments).assert().success();
        // Nothing is overwritten unless asked.
        small::dbloss(folder).args(&arguments).assert().code(2);
    }
    let report = "report runs --out report --bootstrap 50";
    let output = small::dbloss(folder)
        .args(report.split(' '))
        .output()
        .unwrap();
    let (said, table) = (
        String::from_utf8(output.stderr).unwrap(),
        String::from_utf8(output.stdout).unwrap(),
    );
    assert!(output.status.success(), "{said}");
    assert!(
        table.contains("ours") && table.contains("theirs"),
        "{table}{said}"
    );
}

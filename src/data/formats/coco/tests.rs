//! Hand-written instances files: the rules of the benchmarks, variants, mistakes.

use super::*;
use crate::data::class_index::Rows;

const FILE: &str = r#"{
      "info": {"note": "a \"quoted\" [bracket]", "n": [1, [2]]}, "licenses": [],
      "annotations": [
        {"id": 1, "image_id": 7, "category_id": 44, "iscrowd": 1, "area": 9.5, "bbox": [0, 0, 3, 3],
         "segmentation": {"counts": [1, 2], "size": [4, 4]}},
        {"id": 2, "image_id": 7, "category_id": 3, "iscrowd": 0, "area": 0, "bbox": [0, 0, 3, 3]},
        {"id": 3, "image_id": 7, "category_id": 3, "area": 4, "bbox": [0, 0, 0.5, 8]},
        {"id": 4, "image_id": 7, "category_id": 3, "area": 4, "bbox": [0, 0, 8, 0.9]},
        {"id": 5, "image_id": 7, "category_id": 3, "area": 4, "ignore": 1, "bbox": [0, 0, 8, 8]},
        {"id": 6, "image_id": 5, "category_id": 3, "area": 4, "ignore": false, "bbox": [0, 0, 1, 1]},
        {"id": 7, "image_id": 5, "category_id": 3, "area": 4, "segmentation": [[1.5, 2e0]]},
        {"id": 8, "image_id": 5, "category_id": 44, "area": 4}
      ],
      "images": [
        {"id": 7, "file_name": "seven.jpg"},
        {"id": 9, "coco_url": "http://images.cocodataset.org/val2017/000000000009.jpg"},
        {"id": 5, "file_name": "five.jpg", "coco_url": "x/y"}
      ],
      "categories": [{"id": 44, "name": "zebra"}, {"id": 3, "name": "car"}, {"id": 60, "name": "a"}]
    }"#;

fn read(text: &str) -> Result<(Vec<String>, Rows)> {
    let (classes, rows, _) = read_all(text, Objects::Usable)?;
    Ok((classes, rows))
}

fn read_all(text: &str, objects: Objects) -> Result<(Vec<String>, Rows, Reading)> {
    let instances = Instances::parse(text.as_bytes(), Path::new("a.json"))?;
    let classes = instances.classes();
    let mut reading = Reading::over(Some(classes.clone()));
    let rows = instances.into_rows(objects, &mut reading)?;
    Ok((classes, rows, reading))
}

/// Crowds count; ignored, empty and thin objects do not; classes are ordered by id; an image
/// without labels is kept; LVIS names are taken from the URL.
#[test]
fn labels_follow_the_rules_of_the_benchmark() {
    let (classes, rows) = read(FILE).unwrap();
    assert_eq!(classes, ["car", "zebra", "a"]);
    let rows: Vec<_> = rows
        .iter()
        .map(|(n, l)| (n.as_str(), l.as_slice()))
        .collect();
    assert_eq!(
        rows,
        [
            ("seven.jpg", &[1][..]),
            ("val2017/000000000009.jpg", &[]),
            ("five.jpg", &[0, 1]),
        ]
    );
}

#[test]
fn marks_and_utf16_are_read() {
    let whole = read(FILE).unwrap();
    assert_eq!(read(&format!("\u{feff}{FILE}\n")).unwrap(), whole);
    let bytes: Vec<u8> = FILE.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let instances = Instances::parse(bytes.as_slice(), Path::new("a.json")).unwrap();
    assert_eq!(instances.classes(), whole.0);
}

/// What tools write instead of integer ids and boxes; `c.jpg` has both labels.
#[test]
fn ids_are_only_keys_and_boxes_may_be_missing() {
    let file = |image: &str, category: &str, more: &str| {
        format!(
            r#"{{"images": [{{"id": {image}, "file_name": ".\\d\\c.jpg"}}],
                "annotations": [{{"image_id": {image}, "category_id": {category}, {more}}}],
                "categories": [{{"id": {category}, "name": "cat "}}]}}"#
        )
    };
    for (image, category, more) in [
        (r#""img_1""#, "1", r#""area": 4"#),
        ("1.0", r#""c-1""#, r#""bbox": []"#),
        ("1", "1", r#""bbox": null, "area": null, "iscrowd": 1"#),
        ("1", "1", r#""bbox": ["2", "2", "9.5", "9"], "area": "85""#),
        (
            "1",
            "1",
            r#""segmentation": [[1, 2, 3, 4]], "ignore": false"#,
        ),
        ("9007199254740993", "1", r#""bbox": {"x": 1}"#),
    ] {
        let (classes, rows) = read(&file(image, category, more)).unwrap();
        assert_eq!(classes, ["cat"]);
        assert_eq!(rows, [("d/c.jpg".to_owned(), vec![0])], "{more}");
    }
    // 1 and "1" are the same id, "01" is a different one.
    let text = file("1", "1", r#""area": 4"#);
    assert!(read(&text.replacen(r#""image_id": 1"#, r#""image_id": "1""#, 1)).is_ok());
    assert!(read(&text.replacen(r#""image_id": 1"#, r#""image_id": "01""#, 1)).is_err());
    let error = read(&file("1", "1", r#""area": NaN"#))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("a.json:2: malformed JSON at column") && error.contains("NaN"),
        "{error}"
    );
}

#[test]
fn what_does_not_count_is_told_and_can_be_counted() {
    let (_, rows, reading) = read_all(FILE, Objects::Usable).unwrap();
    let facts = reading.account.facts();
    assert_eq!(facts.len(), 1);
    assert_eq!(
        (facts[0].count, facts[0].first[0].as_str()),
        (4, "seven.jpg")
    );
    assert!(
        facts[0].what.contains("4 annotations of 8 skipped"),
        "{}",
        facts[0].what
    );
    assert!(
        facts[0]
            .what
            .contains("area 0 or less: 1, side below 1: 2, flagged `ignore`: 1")
    );
    assert_eq!(rows[0].1, [1]);
    let (_, rows, reading) = read_all(FILE, Objects::All).unwrap();
    assert_eq!(rows[0].1, [1, 0]);
    assert!(reading.account.facts().is_empty());
    // An image that is left without labels is reported separately.
    let text = FILE.replacen(r#""area": 9.5"#, r#""area": 0"#, 1);
    let facts = read_all(&text, Objects::Usable).unwrap().2.account.facts();
    assert_eq!(
        (facts[1].count, facts[1].first[0].as_str()),
        (1, "seven.jpg")
    );
}

#[test]
fn an_unused_category_may_bear_the_name_of_another() {
    let with = |more: &str| {
        FILE.replacen(
            r#"{"id": 3, "name": "car"}"#,
            &format!(r#"{{"id": 3, "name": "car"}}, {more}"#),
            1,
        )
    };
    let (classes, _, reading) =
        read_all(&with(r#"{"id": 0, "name": " car"}"#), Objects::Usable).unwrap();
    assert_eq!(classes, ["car", "zebra", "a"]);
    assert_eq!(reading.account.facts()[1].first, ["car (id 0)"]);
    let error = read(&with(r#"{"id": 0, "name": "zebra"}"#).replacen(
        r#""category_id": 3"#,
        r#""category_id": 0"#,
        1,
    ));
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("categories 0 and 44") && error.contains("`zebra`"),
        "{error}"
    );
}

/// Errors give the file and the position in it.
#[test]
fn mistakes_are_located() {
    let error = |from: &str, to: &str| {
        let text = FILE.replacen(from, to, 1);
        read(&text).unwrap_err().to_string()
    };
    let text = error(
        r#""category_id": 44, "iscrowd""#,
        r#""category_id": 45, "iscrowd""#,
    );
    assert!(
        text.contains("number 1 (of the image `seven.jpg`)") && text.contains("category 45"),
        "{text}"
    );
    let text = error(r#""file_name": "seven.jpg""#, r#""name": "seven.jpg""#);
    assert!(
        text.contains("image 7") && text.contains("file_name"),
        "{text}"
    );
    let text = error(r#""image_id": 7"#, r#""image_id": 8"#);
    assert!(
        text.contains("1 annotations") && text.contains("`8`"),
        "{text}"
    );
    let text = error(r#""id": 9"#, r#""id": 7"#);
    assert!(text.contains("image id 7 occurs twice"), "{text}");
    let text = error(r#""id": 60"#, r#""id": 3"#);
    assert!(text.contains("category id 3 occurs twice"), "{text}");
    let text = error("[1.5, 2e0]", "[1.5, , 0]");
    assert!(
        text.starts_with("a.json:11: malformed JSON at column"),
        "{text}"
    );
    let text = error(r#""image_id": 5"#, r#""image_id": "five""#);
    assert!(
        text.contains("1 annotations") && text.contains("`five`"),
        "{text}"
    );
    let text = error(r#""image_id": 5"#, r#""image_id": null"#);
    assert!(
        text.starts_with("a.json:10: at column") && text.contains("an id"),
        "{text}"
    );
    let text = error("\"images\"", "\"pictures\"");
    assert!(text.contains("has no `images`"), "{text}");
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for end in 0..FILE.trim_end().len() {
        assert!(read(&FILE[..end]).is_err(), "{end}");
    }
    assert!(read(&format!("{FILE} x")).is_err());
    assert!(read("[]").is_err());
    assert!(read("{}").is_err());
}

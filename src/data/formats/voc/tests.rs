//! Tests with devkits, lists and annotations as tools write them.

use super::*;
use crate::io::write_text;

const XML: &str = "<annotation>\n <filename>1.jpg</filename>\n \
    <object><name>dog</name><difficult>0</difficult>\n  <part><name>head</name></part></object>\n \
    <object>\n  <name> person </name><difficult>1</difficult></object>\n</annotation>\n";

#[test]
fn difficult_objects_count_unless_ignored_and_parts_never() {
    let path = Path::new("1.xml");
    let read = |difficult| parse(XML, path, difficult).unwrap().names;
    assert_eq!(read(Difficult::Count), ["dog", "person"]);
    assert_eq!(read(Difficult::Ignore), ["dog"]);
}

#[test]
fn a_comment_or_quoted_text_in_a_name_cuts_nothing_off() {
    for name in [
        "big<!-- not small --> dog",
        "<![CDATA[big]]> dog",
        "big <![CDATA[dog]]>",
        "<!-- kind -->big dog",
    ] {
        let text = XML.replace("<name>dog</name>", &format!("<name>{name}</name>"));
        let read = parse(&text, Path::new("1.xml"), Difficult::Count).unwrap();
        assert_eq!(read.names, ["big dog", "person"], "{name}");
    }
}

#[test]
fn mistakes_name_file_and_line() {
    let error = |text: &str| {
        let error = parse(text, Path::new("1.xml"), Difficult::Count);
        error.unwrap_err().to_string()
    };
    let text = error(&XML.replace("</object>\n</annotation>", "</annotation>"));
    assert!(text.starts_with("1.xml:6: malformed XML"), "{text}");
    let text = error(&XML.replace("<name> person </name>", ""));
    assert!(
        text.starts_with("1.xml:5: ") && text.contains("`name`"),
        "{text}"
    );
    // The second name would be another class, and would be lost.
    let text = error(&XML.replace("<name> person </name>", "<name>cat</name><name>cow</name>"));
    assert!(
        text.starts_with("1.xml:5: ") && text.contains("several `name`s"),
        "{text}"
    );
    let text = error("<html/>");
    assert!(
        text.contains("`html`") && text.contains("`annotation`"),
        "{text}"
    );
}

#[test]
fn a_devkit_is_found_from_around_and_from_inside() {
    let folder = tempfile::tempdir().unwrap();
    let year = folder.path().join("VOCdevkit/VOC2007");
    write_text(&year.join("ImageSets/Main/train.txt"), "2  1\r\n1 -1\n\n").unwrap();
    for id in ["1", "2"] {
        write_text(&year.join(format!("Annotations/{id}.xml")), XML).unwrap();
    }
    for root in ["", "VOCdevkit", "VOCdevkit/VOC2007"] {
        let (base, name) = find_year(&folder.path().join(root), 2007).unwrap();
        assert_eq!(base, folder.path().join("VOCdevkit"), "{root}");
        let mut reading = Reading::over(None);
        let rows = read_rows(&base, &name, "train", Difficult::Count, &mut reading).unwrap();
        let [table] = reading.classes.tables([rows]);
        assert_eq!(
            table.images(),
            ["VOC2007/JPEGImages/2.jpg", "VOC2007/JPEGImages/1.jpg"]
        );
        assert_eq!(table.classes(), ["dog", "person"]);
    }
    let error = find_year(folder.path(), 2012).unwrap_err().to_string();
    assert!(error.contains("`VOC2012`"), "{error}");
    // An image of the list that has no annotation.
    fs_err::remove_file(year.join("Annotations/1.xml")).unwrap();
    let base = folder.path().join("VOCdevkit");
    let mut reading = Reading::over(None);
    let error = read_rows(&base, "VOC2007", "train", Difficult::Count, &mut reading);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("train.txt:2: image `1`"), "{error}");
}

#[test]
fn every_spelling_of_difficult_counts() {
    let read = |object: &str| {
        let text = format!("<annotation><object>{object}</object></annotation>");
        parse(&text, Path::new("1.xml"), Difficult::Ignore).map(|read| read.difficult)
    };
    for tag in ["difficult", "Difficult"] {
        for (value, difficult) in [
            ("1", 1),
            (" 1 ", 1),
            ("true", 1),
            ("True", 1),
            ("1.0", 1),
            ("yes", 1),
            ("0", 0),
            ("0.0", 0),
            ("false", 0),
            ("", 0),
            ("Unspecified", 0),
        ] {
            let object = format!("<Name>cat</Name><{tag}>{value}</{tag}>");
            assert_eq!(read(&object).unwrap(), difficult, "{object}");
        }
    }
    let error = read("<name>cat</name><difficult>maybe</difficult>").unwrap_err();
    assert!(error.to_string().contains("`maybe`"), "{error}");
}

#[test]
fn a_line_is_the_id_less_a_flag() {
    let id =
        |line, annotated: &[&str]| id_of(line, |id| annotated.contains(&id)).map(str::to_owned);
    let known = ["photo", "photo (1)", "photo 1", "a", "a b"];
    for (line, expected) in [
        ("photo (1)", "photo (1)"),
        ("a b", "a b"),
        ("a  -1", "a"),
        ("a 1", "a"),
        ("a\t0", "a"),
        ("a b 1", "a b"),
        ("unknown 1", "unknown"),
        ("x y", "x y"),
    ] {
        assert_eq!(id(line, &known).unwrap(), expected, "{line}");
    }
    assert_eq!(id("shot 1", &["shot 1"]).unwrap(), "shot 1");
    assert!(id("photo 1", &known).unwrap_err().contains("both"));
}

#[test]
fn pictures_are_named_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let year = folder.path().join("VOC2007");
    write_text(&year.join("ImageSets/Main/all.txt"), "1\n2\n3\n4\n").unwrap();
    for id in 1..5 {
        let xml = XML.replace("1.jpg", "4.png");
        write_text(&year.join(format!("Annotations/{id}.xml")), &xml).unwrap();
    }
    for picture in ["1.PNG", "2.jpeg", "2.jpg", "4.png", "4.bmp"] {
        write_text(&year.join("JPEGImages").join(picture), "x").unwrap();
    }
    let read = || {
        let mut reading = Reading::over(None);
        let rows = read_rows(
            folder.path(),
            "VOC2007",
            "all",
            Difficult::Count,
            &mut reading,
        );
        rows.map(|rows| rows.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
    };
    let expected = ["1.PNG", "2.jpg", "3.jpg", "4.png"].map(|n| format!("VOC2007/JPEGImages/{n}"));
    assert_eq!(read().unwrap(), expected);
    write_text(&year.join("JPEGImages/3.png"), "x").unwrap();
    write_text(&year.join("JPEGImages/3.bmp"), "x").unwrap();
    let error = read().unwrap_err().to_string();
    assert!(error.contains("`3.bmp`, `3.png`"), "{error}");
}

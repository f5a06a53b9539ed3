//! PASCAL VOC devkits: `VOC<year>/{Annotations,ImageSets/Main,JPEGImages}`.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::format::{CLASSES, ChangePath, Format, Info, Loaded, OptionValue, option};
use super::label_me;
use crate::data::class_index::{Reading, Rows};
use crate::data::picture_name::{Pictures, SeenImages};
use crate::data::text;
use crate::error::{Error, Result};

/// A PASCAL VOC devkit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voc {
    /// The devkit: the folder with `VOC<year>` inside.
    pub root: PathBuf,
    /// Year of the pool.
    #[serde(default = "year_2012")]
    pub year: u32,
    /// List of the pool's images, `ImageSets/Main/<train>.txt`.
    #[serde(default = "trainval")]
    pub train: String,
    /// List of the test images; none leaves the test set out.
    #[serde(default)]
    pub test: Option<String>,
    /// Year of the test set, if another.
    #[serde(default)]
    pub test_year: Option<u32>,
    /// Devkit of the test set, if another.
    #[serde(default)]
    pub test_root: Option<PathBuf>,
    /// Whether objects flagged `difficult` count.
    #[serde(default)]
    pub difficult: Difficult,
    /// Class list file.
    #[serde(default)]
    pub classes: Option<PathBuf>,
}

fn year_2012() -> u32 {
    2012
}
fn trainval() -> String {
    "trainval".into()
}

impl Format for Voc {
    const INFO: Info = Info {
        sources: &[option(
            "voc",
            "root",
            OptionValue::Path("DIR"),
            "A PASCAL VOC devkit: the folder with VOC2007 or VOC2012 inside",
        )],
        options: &[
            CLASSES,
            option(
                "year",
                "year",
                OptionValue::Whole("YEAR"),
                "VOC: year of the pool [default: 2012]",
            ),
            option(
                "train-list",
                "train",
                OptionValue::Text("NAME"),
                "VOC: list of the pool's images in ImageSets/Main [default: trainval]",
            ),
            option(
                "test-list",
                "test",
                OptionValue::Text("NAME"),
                "VOC: list of the test images in ImageSets/Main",
            ),
            option(
                "test-year",
                "test_year",
                OptionValue::Whole("YEAR"),
                "VOC: year of the test set [default: that of the pool]",
            ),
            option(
                "test-voc",
                "test_root",
                OptionValue::Path("DIR"),
                "VOC: devkit of the test set [default: that of the pool]",
            ),
            option(
                "voc-difficult",
                "difficult",
                OptionValue::Choice(&["count", "ignore"]),
                "VOC: whether objects flagged as difficult count [default: count]",
            ),
        ],
        as_is: false,
    };

    fn load(&self) -> Result<Loaded> {
        let mut reading = Reading::new(self.classes.as_deref())?;
        let (base, folder) = find_year(&self.root, self.year)?;
        let pool = read_rows(&base, &folder, &self.train, self.difficult, &mut reading)?;
        let Some(list) = &self.test else {
            if self.test_year.is_some() || self.test_root.is_some() {
                let problem =
                    "a year or a devkit of the test set is given, but no list of test images";
                return Err(Error::key("source.test", problem)
                    .hint("name the list: `test = \"test\"` (`--test-list test`)"));
            }
            let roots = [base.clone(), base.clone()];
            return Ok(Loaded::new(reading, &self.root, pool, None, roots));
        };
        let test_devkit = self.test_root.as_deref().unwrap_or(&self.root);
        let (test_base, test_folder) = find_year(test_devkit, self.test_year.unwrap_or(self.year))?;
        let test = read_rows(&test_base, &test_folder, list, self.difficult, &mut reading)?;
        Ok(Loaded::new(
            reading,
            &self.root,
            pool,
            Some(test),
            [base, test_base],
        ))
    }

    fn each_path(&mut self, change: ChangePath) {
        change("root", &mut self.root);
        for (key, path) in [
            ("test_root", &mut self.test_root),
            ("classes", &mut self.classes),
        ] {
            if let Some(path) = path {
                change(key, path);
            }
        }
    }

    fn has_test(&self) -> bool {
        self.test.is_some()
    }

    #[cfg(test)]
    fn samples() -> Vec<super::format::Sample> {
        vec![super::format::Sample {
            name: "voc",
            bytes: b"<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY e \"x\">]><annotation><object><name>cat&e;</name><difficult>1</difficult></object></annotation>",
            read: |bytes, path, reading| {
                let text = text::decode_xml(bytes.to_vec(), path)?;
                let read = parse(&text, path, Difficult::Count)?;
                let labels = read.names.iter().map(|name| reading.classes.number(name, path, None));
                Ok(vec![("a.jpg".to_owned(), labels.collect::<Result<_>>()?)])
            },
        }]
    }
}

/// What objects flagged `difficult` are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Difficult {
    /// They count like any other, as in the published benchmarks.
    #[default]
    Count,
    /// They give no label.
    Ignore,
}

/// The folder `VOC<year>` and the folder that holds it, found from `root`: a devkit, a folder
/// around one, or `VOC<year>` itself.
pub fn find_year(root: &Path, year: u32) -> Result<(PathBuf, String)> {
    let name = format!("VOC{year}");
    for base in [root.to_path_buf(), root.join("VOCdevkit")] {
        if base.join(&name).is_dir() {
            return Ok((base, name));
        }
    }
    if !root.is_dir() {
        return Err(Error::file(root, "there is no such folder")
            .hint("name the devkit's folder, the one with `VOC2007` or `VOC2012` inside"));
    }
    // `..` and links are resolved, so that the folder's name can be read.
    let itself = fs_err::canonicalize(root)?;
    if itself.file_name().is_some_and(|n| n == name.as_str())
        && let Some(parent) = itself.parent()
    {
        let base = match root.parent() {
            Some(p) if root.file_name().is_some() && !p.as_os_str().is_empty() => p,
            Some(_) if root.file_name().is_some() => Path::new("."),
            _ => parent,
        };
        return Ok((base.to_path_buf(), name));
    }
    Err(Error::file(root, format_args!("holds no folder `{name}`"))
        .hint("name the devkit's folder, the one with `VOC2007` or `VOC2012` inside, and the year"))
}

/// Reads the images of `ImageSets/Main/<list>.txt` with the labels of their XML annotations.
/// Image names are relative to the devkit: `VOC2007/JPEGImages/000001.jpg`.
fn read_rows(
    base: &Path,
    year_folder: &str,
    list: &str,
    difficult: Difficult,
    reading: &mut Reading,
) -> Result<Rows> {
    let folder = base.join(year_folder);
    let list = list.strip_suffix(".txt").unwrap_or(list);
    let list_path = folder.join("ImageSets/Main").join(format!("{list}.txt"));
    let text = text::read(&list_path)?;
    let xml_of = |id: &str| folder.join("Annotations").join(format!("{id}.xml"));
    let mut ids = Vec::new();
    for (line, text) in text::lines(&text).filter(|(_, text)| !text.trim().is_empty()) {
        ids.push((
            line,
            id_of(text.trim(), |id| xml_of(id).is_file())
                .map_err(|problem| Error::line(&list_path, line, problem))?,
        ));
    }
    if ids.is_empty() {
        return Err(Error::file(&list_path, "the list names no images"));
    }
    let mut seen = SeenImages::default();
    for (line, id) in &ids {
        seen.add(&list_path, *line, id)?;
    }
    let annotations: Vec<Annotation> = ids
        .par_iter()
        .map(|&(line, id)| {
            let xml = xml_of(id);
            if !xml.is_file() {
                let problem = format_args!("image `{id}` has no annotation {}", xml.display());
                return Err(Error::line(&list_path, line, problem));
            }
            parse(&text::read_xml(&xml)?, &xml, difficult)
        })
        .collect::<Result<_>>()?;
    let pictures = Pictures::of(&folder.join("JPEGImages"));
    let mut rows = Rows::with_capacity(ids.len());
    let (mut passed_over, mut bare) = (Vec::new(), Vec::new());
    for ((_, id), annotation) in ids.into_iter().zip(annotations) {
        let xml = xml_of(id);
        let labels = annotation.names.iter();
        let labels: Vec<u32> = labels
            .map(|name| reading.classes.number(name, &xml, None))
            .collect::<Result<_>>()?;
        if labels.is_empty() && annotation.difficult > 0 {
            bare.push(id);
        }
        passed_over.extend(std::iter::repeat_n(id, annotation.difficult));
        let picture = (pictures.file(id, annotation.file_name.as_deref()))
            .map_err(|several| label_me::several_pictures(&xml, &several))?;
        rows.push((format!("{year_folder}/JPEGImages/{picture}"), labels));
    }
    let account = &mut reading.account;
    account.tell(
        &list_path,
        ("object", "flagged difficult, giving no label"),
        passed_over,
    );
    account.warn(
        &list_path,
        ("image", "without a label left by that"),
        bare,
        "",
    );
    Ok(rows)
}

/// The image of a list's line: all of it, less a last column of -1, 0 or 1 as the lists of one
/// class have it. Blanks and numbers may also be part of a name: the annotations tell.
fn id_of(line: &str, is_annotated: impl Fn(&str) -> bool) -> Result<&str, String> {
    let flagged = line
        .rsplit_once(char::is_whitespace)
        .filter(|(_, flag)| matches!(*flag, "-1" | "0" | "1" | "+1"))
        .map(|(id, _)| id.trim_end());
    let Some(id) = flagged else {
        return Ok(line);
    };
    match (is_annotated(line), is_annotated(id)) {
        (true, true) => Err(format!(
            "`{line}` may be the image of that name or the image `{id}` with a flag: both have an annotation"
        )),
        (true, false) => Ok(line),
        (false, _) => Ok(id),
    }
}

/// What is read of an annotation file.
#[derive(Debug, PartialEq)]
struct Annotation {
    /// Class names, one an object that counts.
    names: Vec<String>,
    /// Objects passed over as difficult.
    difficult: usize,
    /// The picture's name, as the file has it.
    file_name: Option<String>,
}

/// Reads an annotation's text; `path` is named in errors.
fn parse(text: &str, path: &Path, difficult: Difficult) -> Result<Annotation> {
    let options = roxmltree::ParsingOptions {
        // Some annotation tools write a DOCTYPE; entities are bounded by the parser.
        allow_dtd: true,
        ..Default::default()
    };
    let document = roxmltree::Document::parse_with_options(text, options).map_err(|e| {
        let line = u64::from(e.pos().row);
        Error::line(path, line, format_args!("malformed XML: {e}"))
    })?;
    let root = document.root_element();
    if !is_tag(root, "annotation") {
        let problem = format_args!(
            "the root element is `{}`, expected `annotation`",
            root.tag_name().name()
        );
        return Err(Error::line(path, 1, problem));
    }
    let mut annotation = Annotation {
        names: Vec::new(),
        difficult: 0,
        file_name: text_of(root, "filename").map(str::to_owned),
    };
    for object in root.children().filter(|&node| is_tag(node, "object")) {
        let line = || u64::from(document.text_pos_at(object.range().start).row);
        if difficult == Difficult::Ignore
            && flag(text_of(object, "difficult").unwrap_or(""))
                .map_err(|problem| Error::line(path, line(), problem))?
        {
            annotation.difficult += 1;
            continue;
        }
        match text_of(object, "name").filter(|name| !name.is_empty()) {
            Some(name) => annotation.names.push(name.to_owned()),
            None => return Err(Error::line(path, line(), "an `object` has no `name`")),
        }
    }
    Ok(annotation)
}

/// True for an element of that name in any letter case.
fn is_tag(node: roxmltree::Node, name: &str) -> bool {
    node.is_element() && node.tag_name().name().eq_ignore_ascii_case(name)
}

/// The text of the child element of that name, without blanks around it.
fn text_of<'a>(node: roxmltree::Node<'a, '_>, name: &str) -> Option<&'a str> {
    let child = node.children().find(|&child| is_tag(child, name));
    child.and_then(|child| child.text()).map(str::trim)
}

/// `difficult` as tools write it.
fn flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "y" | "t" => Ok(true),
        "" | "false" | "no" | "n" | "f" | "unspecified" => Ok(false),
        number => match number.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number != 0.0),
            _ => Err(format!("`difficult` is `{text}`, expected 0 or 1")),
        },
    }
}

#[cfg(test)]
mod tests {
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
        // An image of the list without annotation.
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
        let expected =
            ["1.PNG", "2.jpg", "3.jpg", "4.png"].map(|n| format!("VOC2007/JPEGImages/{n}"));
        assert_eq!(read().unwrap(), expected);
        write_text(&year.join("JPEGImages/3.png"), "x").unwrap();
        write_text(&year.join("JPEGImages/3.bmp"), "x").unwrap();
        let error = read().unwrap_err().to_string();
        assert!(error.contains("`3.bmp`, `3.png`"), "{error}");
    }
}

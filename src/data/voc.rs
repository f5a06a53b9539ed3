//! PASCAL VOC devkits: `VOC<year>/{Annotations,ImageSets/Main,JPEGImages}`.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::class_index::{ClassIndex, Rows};
use crate::data::table::read_utf8;
use crate::error::{Error, Result};

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
pub(crate) fn read_rows(
    base: &Path,
    year_folder: &str,
    list: &str,
    difficult: Difficult,
    classes: &mut ClassIndex,
) -> Result<Rows> {
    let folder = base.join(year_folder);
    let list_path = folder.join("ImageSets/Main").join(format!("{list}.txt"));
    let text = read_utf8(&list_path)?;
    let ids: Vec<(u64, &str)> = (1u64..)
        .zip(text.lines())
        .filter_map(|(line, text)| Some((line, text.split_whitespace().next()?)))
        .collect();
    if ids.is_empty() {
        return Err(Error::file(&list_path, "the list names no images"));
    }
    let mut seen = super::table::SeenImages::default();
    for &(line, id) in &ids {
        seen.add(&list_path, line, id)?;
    }
    let objects: Vec<Vec<String>> = ids
        .par_iter()
        .map(|&(line, id)| {
            let xml = folder.join("Annotations").join(format!("{id}.xml"));
            if !xml.is_file() {
                let problem = format_args!("image `{id}` has no annotation {}", xml.display());
                return Err(Error::line(&list_path, line, problem));
            }
            read_objects(&xml, difficult)
        })
        .collect::<Result<_>>()?;
    let mut rows = Rows::with_capacity(ids.len());
    for ((_, id), names) in ids.into_iter().zip(objects) {
        let mut labels = Vec::with_capacity(names.len());
        for name in names {
            let class = classes.get(&name).ok_or_else(|| {
                let xml = folder.join("Annotations").join(format!("{id}.xml"));
                classes.unknown(xml.display(), &name)
            })?;
            labels.push(class);
        }
        rows.push((format!("{year_folder}/JPEGImages/{id}.jpg"), labels));
    }
    Ok(rows)
}

/// The class names of the objects in one annotation file, one an object.
pub fn read_objects(path: &Path, difficult: Difficult) -> Result<Vec<String>> {
    let text = read_utf8(path)?;
    parse_objects(&text, path, difficult)
}

/// [`read_objects`] on text; `path` is named in errors.
pub fn parse_objects(text: &str, path: &Path, difficult: Difficult) -> Result<Vec<String>> {
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
    if !root.has_tag_name("annotation") {
        let found = root.tag_name().name();
        return Err(Error::line(
            path,
            1,
            format_args!("the root element is `{found}`, expected `annotation`"),
        ));
    }
    let mut names = Vec::new();
    for object in root.children().filter(|n| n.has_tag_name("object")) {
        let child = |tag: &str| {
            let node = object.children().find(|n| n.has_tag_name(tag));
            node.and_then(|n| n.text()).map(str::trim)
        };
        if difficult == Difficult::Ignore && child("difficult") == Some("1") {
            continue;
        }
        match child("name") {
            Some(name) if !name.is_empty() => names.push(name.to_owned()),
            _ => {
                let line = u64::from(document.text_pos_at(object.range().start).row);
                return Err(Error::line(path, line, "an `object` has no `name`"));
            }
        }
    }
    Ok(names)
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
        let read = |difficult| parse_objects(XML, path, difficult).unwrap();
        assert_eq!(read(Difficult::Count), ["dog", "person"]);
        assert_eq!(read(Difficult::Ignore), ["dog"]);
    }

    #[test]
    fn mistakes_name_file_and_line() {
        let error = |text: &str| {
            let error = parse_objects(text, Path::new("1.xml"), Difficult::Count);
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
            let mut classes = ClassIndex::new(None);
            let rows = read_rows(&base, &name, "train", Difficult::Count, &mut classes).unwrap();
            let [table] = classes.tables([rows]);
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
        let mut classes = ClassIndex::new(None);
        let error = read_rows(&base, "VOC2007", "train", Difficult::Count, &mut classes);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("train.txt:2: image `1`"), "{error}");
    }
}

//! LabelMe: one JSON file per picture, in a folder and its subfolders.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rayon::prelude::*;
use serde::Deserialize;

use super::format::{
    ChangePath, Format, Info, Loaded, OptionValue, annotation_files, option, options_beside_files,
};
use crate::data::class_index::{Reading, Rows};
use crate::data::picture_name::{self, Pictures};
use crate::data::walk::Walk;
use crate::error::{Error, Result};
use crate::text::{self, json_error};

annotation_files! {
    /// Folders of LabelMe JSON files.
    #[derive(Default)]
    pub struct LabelMe {}
}

impl Format for LabelMe {
    const INFO: Info = Info {
        sources: &[option(
            "labelme",
            "train",
            OptionValue::Path("DIR"),
            "A folder of LabelMe JSON files, whose labels are those of the shapes and the flags that are true",
        )],
        options: options_beside_files!(),
        as_is: true,
    };

    fn load(&self) -> Result<Loaded> {
        let files = self.files();
        files.load(Reading::new(files.classes)?, Path::to_path_buf, read_rows)
    }

    fn each_path(&mut self, change: ChangePath) {
        self.each_file(change);
    }

    fn has_test(&self) -> bool {
        self.test.is_some()
    }
}

/// The parts of a file that are used.
#[derive(Deserialize)]
#[serde(expecting = "an object as LabelMe writes it")]
struct File {
    #[serde(rename = "imagePath", default)]
    image_path: Option<String>,
    shapes: Option<Vec<Shape>>,
    flags: Option<BTreeMap<String, Option<bool>>>,
}

#[derive(Deserialize)]
#[serde(expecting = "a shape with a label")]
struct Shape {
    label: String,
}

impl File {
    /// Returns the labels of the shapes and the flags that are set.
    fn labels(&self) -> impl Iterator<Item = &str> {
        let shapes = self
            .shapes
            .iter()
            .flatten()
            .map(|shape| shape.label.as_str());
        let flags = self.flags.iter().flatten();
        shapes.chain(
            flags
                .filter(|(_, set)| **set == Some(true))
                .map(|(name, _)| name.as_str()),
        )
    }
}

/// Parses the text of one file; `path` appears in errors.
fn parse(text: &str, path: &Path) -> Result<File> {
    let file: File =
        serde_json::from_str(text).map_err(|e| json_error(path, &e, text.as_bytes()))?;
    if file.shapes.is_none() && file.flags.is_none() {
        return Err(Error::file(path, "has neither `shapes` nor `flags`")
            .hint("expected JSON as LabelMe writes it; move other files elsewhere"));
    }
    Ok(file)
}

/// Reads every `.json` file below a folder, in order of name. The picture is the one named in the
/// file, or otherwise the one next to it with the same name.
fn read_rows(root: &Path, reading: &mut Reading) -> Result<Rows> {
    let mut names = Vec::new();
    for name in Walk::new(root, "") {
        let name = name?;
        if name.to_ascii_lowercase().ends_with(".json") {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Err(Error::file(root, "contains no LabelMe files (`.json`)"));
    }
    let parsed: Vec<File> = (names.par_iter())
        .map(|name| {
            let path = root.join(name);
            parse(&text::read(&path)?, &path)
        })
        .collect::<Result<_>>()?;
    let mut rows = Rows::with_capacity(names.len());
    let mut seen: HashMap<String, &String> = HashMap::new();
    let mut pictures: HashMap<&str, Pictures> = HashMap::new();
    for (name, file) in names.iter().zip(parsed) {
        let path = root.join(name);
        let (folder, stem) = name.rsplit_once('/').unwrap_or(("", name));
        let stem = &stem[..stem.len() - ".json".len()];
        let image = match file
            .image_path
            .as_deref()
            .filter(|image| !image.trim().is_empty())
        {
            Some(image) => picture_name::clean(image)
                .map_err(|problem| Error::file(&path, problem))?
                .into_owned(),
            None => {
                let beside = pictures
                    .entry(folder)
                    .or_insert_with(|| Pictures::of(&root.join(folder)));
                (beside.file(stem, None)).map_err(|several| several_pictures(&path, &several))?
            }
        };
        let image = match folder {
            "" => image,
            _ if image.starts_with('/') => image,
            folder => format!("{folder}/{image}"),
        };
        if let Some(other) = seen.insert(image.clone(), name) {
            let problem = format_args!("names the picture `{image}`, as does `{other}`");
            return Err(Error::file(&path, problem));
        }
        let labels = file
            .labels()
            .map(|label| reading.classes.number(label, &path, None));
        rows.push((image, labels.collect::<Result<_>>()?));
    }
    Ok(rows)
}

/// Returns the error for an annotation that could belong to several pictures.
pub(super) fn several_pictures(path: &Path, several: &[String]) -> Error {
    let problem = format_args!(
        "could belong to any of the pictures `{}`",
        several.join("`, `")
    );
    Error::file(path, problem).hint("remove all but one, or name it in the annotation")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::write_text;

    #[test]
    fn flags_that_are_set_are_labels_and_folders_below_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| write_text(&folder.path().join(name), text).unwrap();
        write(
            "a.json",
            r#"{"flags": {"cat": true, "dog": false, "cow": null}, "shapes": [], "imagePath": "a.jpg"}"#,
        );
        write(
            "b.JSON",
            r#"{"flags": null, "shapes": [{"label": "dog "}], "imagePath": ".\\b.jpg"}"#,
        );
        write(
            "more/c.json",
            r#"{"flags": {}, "shapes": [], "imagePath": null}"#,
        );
        write("more/c.png", "x");
        let mut reading = Reading::new(None).unwrap();
        let rows = read_rows(folder.path(), &mut reading).unwrap();
        let [table] = reading.classes.tables([rows]);
        assert_eq!(table.classes(), ["cat", "dog"]);
        assert_eq!(table.images(), ["a.jpg", "b.jpg", "more/c.png"]);
        assert_eq!(
            [table.labels(0), table.labels(1), table.labels(2)],
            [&[0][..], &[1], &[]]
        );
        write("d.json", r#"{"images": []}"#);
        let error = read_rows(folder.path(), &mut reading)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("d.json") && error.contains("`shapes`"),
            "{error}"
        );
    }
}

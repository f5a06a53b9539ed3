//! PASCAL VOC devkits: `VOC<year>/{Annotations,ImageSets/Main,JPEGImages}`.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::format::{CLASSES, ChangePath, Format, Info, Loaded, OptionValue, option};
use super::label_me;
use crate::data::class_index::{Reading, Rows};
use crate::data::picture_name::{Pictures, SeenImages};
use crate::error::{Error, Result};
use crate::text;

mod xml;

pub use xml::Difficult;
use xml::{Annotation, parse};

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
                return Err(Error::key("split.source.test", problem)
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
}

/// Finds the folder `VOC<year>` and its parent, starting from `root`: a devkit, a folder that
/// contains one, or `VOC<year>` itself.
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
    // Resolves `..` and links, so that the folder's name is known.
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
    Err(
        Error::file(root, format_args!("contains no folder `{name}`")).hint(
            "name the devkit's folder, the one with `VOC2007` or `VOC2012` inside, and the year",
        ),
    )
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
        ("object", "flagged as difficult, not counted as labels"),
        passed_over,
    );
    account.warn(
        &list_path,
        ("image", "left without a label by this"),
        bare,
        "",
    );
    Ok(rows)
}

/// Returns the image on a line of a list: the whole line, except for a last column of -1, 0 or 1 as
/// in the lists of a single class. Blanks and numbers may also be part of a name; which is the case
/// depends on which annotation exists.
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
            "`{line}` is ambiguous: the image of that name, or the image `{id}` with a flag; both have an annotation"
        )),
        (true, false) => Ok(line),
        (false, _) => Ok(id),
    }
}

#[cfg(test)]
mod tests;

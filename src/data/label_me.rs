//! LabelMe: one JSON file a picture, in one folder.

use std::path::Path;

use rayon::prelude::*;
use serde::Deserialize;

use crate::data::class_index::{ClassIndex, Rows};
use crate::data::table::{json_problem, read_utf8};
use crate::error::{Error, Result};

#[derive(Deserialize)]
pub(crate) struct File {
    #[serde(rename = "imagePath")]
    image_path: Option<String>,
    shapes: Vec<Shape>,
}

#[derive(Deserialize)]
struct Shape {
    label: String,
}

/// Reads one file's text; `path` is named in errors.
pub(crate) fn parse(text: &str, path: &Path) -> Result<File> {
    serde_json::from_str(text).map_err(|e| Error::line(path, e.line() as u64, json_problem(&e)))
}

/// Reads every `.json` file of a folder, by name; the picture is the one that the file names, or
/// else the JSON file's name with `.jpg`.
pub(crate) fn read_rows(folder: &Path, classes: &mut ClassIndex) -> Result<Rows> {
    let files: Vec<_> = (super::folder::entries(folder)?.into_iter())
        .filter(|(name, _, is_folder)| !is_folder && name.ends_with(".json"))
        .collect();
    if files.is_empty() {
        return Err(Error::file(folder, "holds no LabelMe files (`.json`)"));
    }
    let parsed: Vec<File> = files
        .par_iter()
        .map(|(_, path, _)| parse(&read_utf8(path)?, path))
        .collect::<Result<_>>()?;
    let mut rows = Rows::with_capacity(files.len());
    let mut seen = std::collections::HashMap::new();
    for ((name, path, _), file) in files.into_iter().zip(parsed) {
        let image = match file.image_path {
            // Windows writes backslashes.
            Some(image) if !image.is_empty() => image.replace('\\', "/"),
            _ => format!("{}.jpg", name.trim_end_matches(".json")),
        };
        if let Some(other) = seen.insert(image.clone(), name.clone()) {
            let problem = format_args!("names the picture `{image}`, as `{other}` does");
            return Err(Error::file(&path, problem));
        }
        let mut labels = Vec::new();
        for shape in file.shapes {
            labels.push(
                classes
                    .get(&shape.label)
                    .ok_or_else(|| classes.unknown(path.display(), &shape.label))?,
            );
        }
        rows.push((image, labels));
    }
    Ok(rows)
}

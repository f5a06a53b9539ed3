//! COCO and LVIS instances JSON.

use std::path::{Path, PathBuf};

use super::format::{
    ChangePath, Format, Info, Loaded, OptionValue, annotation_files, option, options_beside_files,
};
use crate::data::class_index::Reading;
use crate::error::Result;
use crate::io;

mod instances;
mod json;
mod lenient;

pub(crate) use instances::Instances;
pub use instances::Objects;

annotation_files! {
    /// COCO or LVIS instances JSON. Without `root` the pictures are looked for in the usual
    /// places, `<set>` and `images/<set>` beside the annotations' folder.
    #[derive(Default)]
    pub struct Coco {
        /// Which objects give their image a label.
        #[serde(default, skip_serializing_if = "is_default")]
        pub objects: Objects,
    }
}

fn is_default(objects: &Objects) -> bool {
    *objects == Objects::default()
}

impl Format for Coco {
    const INFO: Info = Info {
        sources: &[
            option(
                "coco",
                "train",
                OptionValue::Path("FILE"),
                "A COCO instances JSON file",
            ),
            option(
                "lvis",
                "train",
                OptionValue::Path("FILE"),
                "An LVIS JSON file",
            ),
        ],
        options: options_beside_files!(option(
            "coco-objects",
            "objects",
            OptionValue::Choice(&["usable", "all"]),
            "COCO, LVIS: which objects count: those that the benchmarks use, or also those flagged `ignore`, with area 0 or with a side below 1 [default: usable]",
        )),
        as_is: false,
    };

    fn load(&self) -> Result<Loaded> {
        let files = self.files();
        let mut pool = Some(Instances::read(files.train)?);
        let reading = match files.classes {
            Some(list) => Reading::new(Some(list))?,
            None => Reading::over(pool.as_ref().map(Instances::classes)),
        };
        files.load(reading, guess_images, |path, reading| {
            // The pool has already been read to determine its classes.
            let instances = pool.take().map_or_else(|| Instances::read(path), Ok)?;
            instances.into_rows(self.objects, reading)
        })
    }

    fn each_path(&mut self, change: ChangePath) {
        self.each_file(change);
    }

    fn has_test(&self) -> bool {
        self.test.is_some()
    }
}

/// Guesses the folder of the pictures of an annotation file: `<set>` or `images/<set>` next to the
/// folder that contains `instances_<set>.json`, otherwise the annotation file's own folder.
pub fn guess_images(annotations: &Path) -> PathBuf {
    let folder = io::folder_of(annotations);
    let stem = annotations.file_stem().and_then(|s| s.to_str());
    let set = stem.and_then(|s| s.strip_prefix("instances_"));
    let beside = match folder.file_name() {
        Some(name) if name == "annotations" => io::folder_of(folder),
        _ => folder,
    };
    if let Some(set) = set {
        for candidate in [beside.join(set), beside.join("images").join(set)] {
            if candidate.is_dir() {
                return candidate;
            }
        }
    }
    // LVIS includes the folder in picture names.
    match stem {
        Some(stem) if stem.starts_with("lvis") => beside.to_path_buf(),
        _ => folder.to_path_buf(),
    }
}

#[cfg(test)]
mod tests;

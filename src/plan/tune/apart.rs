//! Proof that no test picture was used for training or choosing: compares sets by content.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::data::image::ImageRoot;
use crate::data::labels::LabelTable;
use crate::data::picture_hashes::PictureHashes;
use crate::data::split::Split;
use crate::error::{Error, Result};
use crate::wording::{counted, first_named};

/// A set of pictures, a row of `sets.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetRow {
    /// The subset, or the fold of the first subset, and which of its sets this is.
    pub set: String,
    /// Number of its images.
    pub images: usize,
    /// blake3 hash over the sorted hashes of its picture files: equal pictures give equal hashes.
    pub pictures: String,
    /// The hash of the split that it belongs to.
    pub split: String,
}

/// Returns for each image of a set the index of the first image with the same bytes, which is
/// usually its own.
pub(super) fn together(
    root: &ImageRoot,
    table: &LabelTable,
    hashes: &mut PictureHashes,
) -> Result<Vec<usize>> {
    let mut first: HashMap<String, usize> = HashMap::new();
    let places = hashes.of(root, table)?.into_iter().enumerate();
    Ok(places
        .map(|(image, hash)| *first.entry(hash).or_insert(image))
        .collect())
}

/// The pictures of a set, by hash.
struct Pictures<'a>(HashMap<String, &'a str>);

impl<'a> Pictures<'a> {
    fn of(root: &ImageRoot, table: &'a LabelTable, hashes: &mut PictureHashes) -> Result<Self> {
        let names = table.images().iter().map(String::as_str);
        Ok(Pictures(
            hashes.of(root, table)?.into_iter().zip(names).collect(),
        ))
    }

    /// Returns the hash of the set.
    fn hash(&self) -> String {
        let mut hashes: Vec<&str> = self.0.keys().map(String::as_str).collect();
        hashes.sort_unstable();
        blake3::hash(hashes.join("\n").as_bytes())
            .to_hex()
            .to_string()
    }
}

/// Compares the pictures that `split` trains and validates on with its test pictures, by the hashes
/// of their bytes, and returns a row for each set, named after `name`.
///
/// # Errors
/// Fails if a test picture is in another set too, under any name, unless the split allows that.
pub(super) fn check(split: &Split, name: &str, hashes: &mut PictureHashes) -> Result<Vec<SetRow>> {
    let test = Pictures::of(&split.test_root, &split.test, hashes)?;
    let mut rows = Vec::new();
    let row = |set: &str, pictures: &Pictures, table: &LabelTable| SetRow {
        set: format!("{name} {set}"),
        images: table.len(),
        pictures: pictures.hash(),
        split: split.hash.clone(),
    };
    let others = [
        ("train", Some(&split.train)),
        ("validation", split.validation.as_ref()),
    ];
    for (set, table) in others {
        let Some(table) = table else { continue };
        let pictures = Pictures::of(&split.train_root, table, hashes)?;
        let mut shared: Vec<String> = (pictures.0.iter())
            .filter_map(|(hash, name)| Some(format!("{name} = {}", test.0.get(hash)?)))
            .collect();
        shared.sort_unstable();
        if !shared.is_empty() {
            let problem = format!(
                "the {set} set has {} of the test set, byte for byte: {}",
                counted(shared.len(), "picture"),
                first_named(shared.iter().map(String::as_str))
            );
            if !split.manifest.config.allow_overlap {
                return Err(Error::input(name, problem).hint(
                    "remove them from one of the two, or accept them with `split.allow_overlap = true`",
                ));
            }
            tracing::warn!("{name}: {problem}");
        }
        rows.push(row(set, &pictures, table));
    }
    rows.push(row("test", &test, &split.test));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::write_text;

    #[test]
    fn a_picture_that_is_there_twice_is_known_by_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let mut table = LabelTable::new(vec!["a".into()]);
        for (name, bytes) in [
            ("x.jpg", "1"),
            ("y.jpg", "2"),
            ("z.jpg", "1"),
            ("w.jpg", "1"),
        ] {
            write_text(&folder.path().join(name), bytes).unwrap();
            table.push(name, [0]);
        }
        table.push("missing.jpg", [0]);
        let root = ImageRoot::Folder {
            path: folder.path().to_owned(),
        };
        let mut hashes = PictureHashes::default();
        assert_eq!(
            together(&root, &table, &mut hashes).unwrap(),
            [0, 1, 0, 0, 4]
        );
    }
}

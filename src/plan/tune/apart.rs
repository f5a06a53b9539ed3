//! Proof that no test picture was there for training or choosing: sets compared by content.

use std::collections::HashMap;
use std::path::PathBuf;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::image::ImageRoot;
use crate::data::labels::LabelTable;
use crate::data::split::Split;
use crate::error::{Error, Result};
use crate::wording::{counted, first_named};

/// A set of pictures, a row of `sets.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetRow {
    /// Which subset, or which fold of the first, and which set of it.
    pub set: String,
    /// Its images.
    pub images: usize,
    /// blake3 over the sorted hashes of its picture files: the same pictures give the same.
    pub pictures: String,
    /// The hash of the split that it belongs to.
    pub split: String,
}

/// Hashes of the bytes of pictures: a picture that is in several folds, or in the test set of
/// several subsets, is read once.
#[derive(Default)]
pub(super) struct Hashes(HashMap<PathBuf, String>);

impl Hashes {
    /// The pictures of a set by their hashes. One that is drawn or missing counts by its name.
    fn of<'a>(&mut self, root: &ImageRoot, table: &'a LabelTable) -> Result<Pictures<'a>> {
        self.read(root, table)?;
        let names = table.images().iter();
        let pictures = names.map(|name| (self.0[&place(root, name)].clone(), name.as_str()));
        Ok(Pictures(pictures.collect()))
    }

    /// For each image of a set the place of the first with the same bytes: its own, mostly.
    pub(super) fn together(&mut self, root: &ImageRoot, table: &LabelTable) -> Result<Vec<usize>> {
        self.read(root, table)?;
        let mut first: HashMap<&str, usize> = HashMap::new();
        let places = table.images().iter().enumerate().map(|(image, name)| {
            let hash = self.0[&place(root, name)].as_str();
            *first.entry(hash).or_insert(image)
        });
        Ok(places.collect())
    }

    /// Reads the pictures of a set that were not read yet.
    fn read(&mut self, root: &ImageRoot, table: &LabelTable) -> Result<()> {
        let unknown: Vec<&String> = (table.images().iter())
            .filter(|name| !self.0.contains_key(&place(root, name)))
            .collect();
        let hashed: Vec<Result<(PathBuf, String)>> = (unknown.into_par_iter())
            .map(|name| {
                let hash = root.hash(name)?.unwrap_or_else(|| name.clone());
                Ok((place(root, name), hash))
            })
            .collect();
        for found in hashed {
            let (place, hash) = found?;
            self.0.insert(place, hash);
        }
        Ok(())
    }
}

/// The file of a picture, or its name where it is drawn.
fn place(root: &ImageRoot, name: &str) -> PathBuf {
    root.file(name).unwrap_or_else(|| PathBuf::from(name))
}

/// The pictures of a set by their hashes.
struct Pictures<'a>(HashMap<String, &'a str>);

impl Pictures<'_> {
    /// Hash of the set.
    fn hash(&self) -> String {
        let mut hashes: Vec<&str> = self.0.keys().map(String::as_str).collect();
        hashes.sort_unstable();
        blake3::hash(hashes.join("\n").as_bytes())
            .to_hex()
            .to_string()
    }
}

/// Compares what `split` trains and validates on with its test pictures, byte by byte as their
/// hashes tell them apart, and gives a row for each set, named after `name`.
///
/// # Errors
/// A test picture lies in another set too, under whatever name, unless the split allows that.
pub(super) fn check(split: &Split, name: &str, hashes: &mut Hashes) -> Result<Vec<SetRow>> {
    let test = hashes.of(&split.test_root, &split.test)?;
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
        let pictures = hashes.of(&split.train_root, table)?;
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
                    "take them out of one of the two; `split.allow_overlap = true` accepts them",
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
        let mut hashes = Hashes::default();
        assert_eq!(hashes.together(&root, &table).unwrap(), [0, 1, 0, 0, 4]);
    }
}

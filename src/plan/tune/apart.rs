//! Proof that no test picture was there for training or choosing: sets compared by content.

use std::collections::HashMap;

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

/// The pictures of a set by the hash of their bytes. A picture that is missing counts by its name.
struct Pictures<'a>(HashMap<String, &'a str>);

impl<'a> Pictures<'a> {
    fn of(root: &ImageRoot, table: &'a LabelTable) -> Result<Self> {
        let hashed: Vec<Result<(String, &str)>> = (table.images().par_iter())
            .map(|name| {
                let hash = root.hash(name)?.unwrap_or_else(|| name.clone());
                Ok((hash, name.as_str()))
            })
            .collect();
        Ok(Pictures(hashed.into_iter().collect::<Result<_>>()?))
    }

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
pub(super) fn check(split: &Split, name: &str) -> Result<Vec<SetRow>> {
    let test = Pictures::of(&split.test_root, &split.test)?;
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
        let pictures = Pictures::of(&split.train_root, table)?;
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

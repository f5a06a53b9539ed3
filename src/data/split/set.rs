//! The sets of a split, by name.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::data::image::ImageRoot;
use crate::data::labels::LabelTable;
use crate::error::{Error, Result};

use super::Split;

/// A set of images within a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Set {
    /// The training images.
    Train,
    /// The images held out for choosing checkpoints and thresholds.
    Validation,
    /// The test images.
    Test,
}

impl Set {
    /// All sets, in the order of the command line's help.
    pub const ALL: [Set; 3] = [Set::Train, Set::Validation, Set::Test];

    /// Returns the name of the set, which is also the name of its folder in a run's `eval/`.
    pub fn name(self) -> &'static str {
        match self {
            Set::Train => "train",
            Set::Validation => "validation",
            Set::Test => "test",
        }
    }

    /// Returns the set with that name.
    pub fn from_name(name: &str) -> Option<Set> {
        Set::ALL.into_iter().find(|set| set.name() == name)
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Split {
    /// Returns the labels of a set and the root of its pictures. `folder`, where the split is
    /// stored, appears in the error.
    ///
    /// # Errors
    /// Returns an error if the set is empty or the split has no such set.
    pub fn set(&self, set: Set, folder: &Path) -> Result<(&Arc<LabelTable>, &ImageRoot)> {
        let (table, root) = match set {
            Set::Train => (Some(&self.train), &self.train_root),
            Set::Validation => (self.validation.as_ref(), &self.train_root),
            Set::Test => (Some(&self.test), &self.test_root),
        };
        match table {
            Some(table) if !table.is_empty() => Ok((table, root)),
            _ => Err(
                Error::file(folder, format_args!("has no {set} images")).hint(match set {
                    Set::Train => "build it from a source with images",
                    Set::Validation => "build it with `validation` set (`--validation`)",
                    Set::Test => {
                        "name a test set (`--test`), or set part of the pool apart for it (`--test-part`)"
                    }
                }),
            ),
        }
    }
}

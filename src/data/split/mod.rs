//! The split: a long-tailed training set, its test set, and the folder that holds both.

mod build;
mod config;
mod folder;
mod open;
mod set;

use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::labels::{ClassFrequency, Group, GroupThresholds, LabelTable};
use crate::error::{Error, Result};

pub use crate::data::class_index::read_class_list;
pub use crate::data::source::{Difficult, Files, ImageRoot, Loaded, Source};
pub use config::{Distribution, EmptyClasses, Preset, SplitConfig, ValidationFrom};
pub use set::Set;

/// A training set with its test set over the same classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// The training images. The tables are shared with the loaders of their pictures.
    pub train: Arc<LabelTable>,
    /// The test images; empty where the source has none.
    pub test: Arc<LabelTable>,
    /// Images held out for choosing checkpoints and thresholds.
    pub validation: Option<Arc<LabelTable>>,
    /// The group of each class, by its training images.
    pub groups: Vec<Group>,
    /// The bounds that the groups were made with.
    pub thresholds: GroupThresholds,
    /// Where the training and the validation pictures lie.
    pub train_root: ImageRoot,
    /// Where the test pictures lie.
    pub test_root: ImageRoot,
    /// What `split.toml` says.
    pub manifest: Manifest,
    /// The hash of the tables, in hexadecimal.
    pub hash: String,
}

/// The contents of `split.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the folder's layout; 1.
    pub format: u32,
    /// The program's version that wrote it.
    pub dbloss: String,
    /// blake3 over the names and bytes of the CSV files.
    pub hash: String,
    /// Roots of the pictures. A root that was given as a relative path is kept relative to the
    /// split folder, so that both can be moved together; an absolute one stays absolute.
    pub images: ImageRoots,
    /// What the training set was drawn from.
    pub pool: PoolFacts,
    /// Every parameter. Paths in here are as they were given.
    pub config: SplitConfig,
}

/// Where the pictures lie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRoots {
    /// Of the training and the validation images.
    pub train: ImageRoot,
    /// Of the test images.
    pub test: ImageRoot,
}

/// The pool before the drawing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolFacts {
    /// Images in the pool.
    pub images: usize,
    /// blake3 of the pool's label table, written as CSV: the same annotations give the same.
    pub hash: String,
}

impl Split {
    /// n_c and N of the training set.
    pub fn class_frequency(&self) -> ClassFrequency {
        self.train.class_frequency()
    }

    /// Class names, in index order.
    pub fn classes(&self) -> &[String] {
        self.train.classes()
    }

    /// The split in one line: images of each part, classes of each group.
    pub fn summary(&self) -> String {
        let of = |group| self.groups.iter().filter(|&&g| g == group).count();
        let [head, medium, tail] = Group::ALL.map(of);
        let held_out = match &self.validation {
            Some(table) => format!(", {} for validation", table.len()),
            None => String::new(),
        };
        format!(
            "{} training images{held_out}, {} test images, {} classes: {head} head, {medium} medium, {tail} tail",
            self.train.len(),
            self.test.len(),
            self.groups.len(),
        )
    }

    /// Looks for every picture of some sets on disk.
    pub fn check_pictures(&self, sets: &[Set]) -> PictureCheck {
        let mut paths: Vec<PathBuf> = Vec::new();
        for set in sets {
            let (table, root) = match set {
                Set::Train => (Some(&self.train), &self.train_root),
                Set::Validation => (self.validation.as_ref(), &self.train_root),
                Set::Test => (Some(&self.test), &self.test_root),
            };
            let images = table.into_iter().flat_map(|table| table.images());
            paths.extend(images.filter_map(|image| root.file(image)));
        }
        let found: Vec<bool> = paths.par_iter().map(|path| path.is_file()).collect();
        let mut missing = (paths.iter().zip(&found)).filter_map(|(p, found)| (!found).then_some(p));
        let first: Vec<PathBuf> = missing.by_ref().take(FIRST_NAMED).cloned().collect();
        PictureCheck {
            pictures: paths.len(),
            missing: first.len() + missing.count(),
            first,
        }
    }
}

/// How many of several wrong things an error names.
pub(crate) const FIRST_NAMED: usize = 5;

/// What [`Split::check_pictures`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureCheck {
    /// Pictures looked for.
    pub pictures: usize,
    /// Pictures that are not there.
    pub missing: usize,
    /// The first of them.
    pub first: Vec<PathBuf>,
}

impl PictureCheck {
    /// The missing pictures in words, or `None` if all are there.
    pub fn problem(&self) -> Option<String> {
        (self.missing > 0).then(|| {
            let first: Vec<_> = (self.first.iter())
                .map(|path| format!("`{}`", path.display()))
                .collect();
            let more = if self.missing > first.len() {
                ", ..."
            } else {
                ""
            };
            format!(
                "{} of {} pictures are missing: {}{more}",
                self.missing,
                self.pictures,
                first.join(", ")
            )
        })
    }

    /// An error at `place` if a picture is missing.
    pub fn require_all(&self, place: impl std::fmt::Display) -> Result<()> {
        match self.problem() {
            None => Ok(()),
            Some(problem) => Err(Error::input(place, problem).hint(
                "put the pictures there, or build the split again with the folder they lie in",
            )),
        }
    }
}

/// The first few of `names`, quoted, for an error.
pub(crate) fn first_named<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let first: Vec<String> = (names.by_ref().take(FIRST_NAMED))
        .map(|name| format!("`{name}`"))
        .collect();
    let more = if names.next().is_some() { ", ..." } else { "" };
    format!("{}{more}", first.join(", "))
}

#[cfg(test)]
mod tests;

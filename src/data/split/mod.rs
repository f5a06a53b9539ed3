//! The split: a long-tailed training set, its test set, and the folder that holds both.

mod build;
mod config;
mod folder;
mod folds;
mod hints;
mod ids;
mod open;
mod pictures;
mod set;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::data::image::ToldPictures;
use crate::data::labels::{ClassFrequency, Group, GroupThresholds, LabelTable};

pub use crate::data::account::LeftOut;
pub use crate::data::class_index::read_class_list;
pub use crate::data::formats::{
    FORMATS, FormatOption, ImageRoot, Loaded, OptionValue, Source, Table,
};
pub use config::{Distribution, EmptyClasses, Preset, SplitConfig, ValidationFrom};
pub use pictures::{BadPicture, PictureCheck};
pub use set::Set;

/// A training set and its test set, over the same classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// The training images. The tables are shared with the loaders of the pictures.
    pub train: Arc<LabelTable>,
    /// The test images; empty if the source has none.
    pub test: Arc<LabelTable>,
    /// Images held out for choosing checkpoints and thresholds.
    pub validation: Option<Arc<LabelTable>>,
    /// The group of each class, by its number of training images.
    pub groups: Vec<Group>,
    /// The bounds that define the groups.
    pub thresholds: GroupThresholds,
    /// The root of the training and validation pictures.
    pub train_root: ImageRoot,
    /// The root of the test pictures.
    pub test_root: ImageRoot,
    /// The contents of `split.toml`.
    pub manifest: Manifest,
    /// The hash of the tables, in hexadecimal.
    pub hash: String,
    /// Bad pictures that have already been reported for this split.
    pub told: ToldPictures,
}

/// The contents of `split.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the folder layout, currently 1.
    pub format: u32,
    /// The version of dbloss that wrote the folder.
    pub dbloss: String,
    /// blake3 over the names and bytes of the CSV files.
    pub hash: String,
    /// Roots of the pictures. A root given as a relative path is stored relative to the split
    /// folder, so that both can be moved together; an absolute root stays absolute.
    pub images: ImageRoots,
    /// What the training set was drawn from.
    pub pool: PoolFacts,
    /// Every parameter. Paths are stored as they were given.
    pub config: SplitConfig,
    /// What was left out of the source, merged or assumed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// For a balanced training set: the set that the distribution alone would have drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterpart: Option<Counterpart>,
    /// For a fold of a training set: where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fold: Option<Fold>,
}

/// The training set that a balanced one replaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counterpart {
    /// Number of images.
    pub images: usize,
    /// Number of images per class; the head, medium and tail groups are based on it.
    pub class_counts: Vec<usize>,
}

impl Manifest {
    /// Returns the group of each class, given the number of training images per class.
    fn groups(&self, class_counts: &[usize]) -> Vec<Group> {
        let counts = match &self.counterpart {
            Some(counterpart) => &counterpart.class_counts,
            None => class_counts,
        };
        let thresholds = self.config.groups;
        counts.iter().map(|&n| thresholds.group(n)).collect()
    }
}

/// The origin of a fold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fold {
    /// The hash of the split whose training images were divided.
    pub of: String,
    /// How many folds there are.
    pub folds: usize,
    /// Which of them is held out, counted from 0.
    pub held_out: usize,
    /// The seed of the stratification.
    pub seed: u64,
}

/// The roots of the pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRoots {
    /// Root of the training and validation images.
    pub train: ImageRoot,
    /// Root of the test images.
    pub test: ImageRoot,
}

/// The pool before the draw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolFacts {
    /// Number of images in the pool.
    pub images: usize,
    /// blake3 hash of the pool's label table, written as CSV: equal annotations have equal hashes.
    pub hash: String,
}

impl Split {
    /// Returns n_c and N of the training set.
    pub fn class_frequency(&self) -> ClassFrequency {
        self.train.class_frequency()
    }

    /// Returns the class names, in index order.
    pub fn classes(&self) -> &[String] {
        self.train.classes()
    }

    /// Summarises the split in one line: images per set, classes per group.
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
}

#[cfg(test)]
mod tests;

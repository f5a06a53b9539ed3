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
    /// Bad pictures that have been told of since this was read or built.
    pub told: ToldPictures,
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
    /// What was left out of the source, merged or assumed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// For a balanced training set: the one that the distribution alone would have drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterpart: Option<Counterpart>,
    /// For a fold of a training set: what it was cut from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fold: Option<Fold>,
}

/// The training set whose place a balanced one takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counterpart {
    /// Its images.
    pub images: usize,
    /// Those of each class, which head, medium and tail are made of.
    pub class_counts: Vec<usize>,
}

impl Manifest {
    /// The group of each class of a training set with these images a class.
    fn groups(&self, class_counts: &[usize]) -> Vec<Group> {
        let counts = match &self.counterpart {
            Some(counterpart) => &counterpart.class_counts,
            None => class_counts,
        };
        let thresholds = self.config.groups;
        counts.iter().map(|&n| thresholds.group(n)).collect()
    }
}

/// What a fold was cut from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fold {
    /// The hash of the split whose training images these are.
    pub of: String,
    /// How many folds there are.
    pub folds: usize,
    /// Which of them is held out, from 0.
    pub held_out: usize,
    /// The seed of the stratification.
    pub seed: u64,
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
}

#[cfg(test)]
mod tests;

//! Precomputed features in place of a backbone.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::split::Set;

/// The `[model.features]` table: files of features that another program made, which take the place
/// of the backbone. Each is a `.npy` file of `[pictures, features]`, or a `.safetensors` file with
/// such a tensor called `features`, or one called `train`, `validation` and `test` for each set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenFeatures {
    /// Features of the training pictures, and of those of the sets that name no file.
    pub train: PathBuf,
    /// Features of the pictures of the validation part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<PathBuf>,
    /// Features of the test pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<PathBuf>,
    /// Names of the pictures of `train`, row by row: one per line, or the column `image` of a CSV
    /// file. If left out, they are in the file of features, or in a `.txt` or `.csv` file beside
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_names: Option<PathBuf>,
    /// The same for `validation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_names: Option<PathBuf>,
    /// The same for `test`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_names: Option<PathBuf>,
}

impl GivenFeatures {
    /// Returns the feature file of a set, and the file of its names if one is given.
    pub fn of(&self, set: Set) -> (&Path, Option<&Path>) {
        let own = match set {
            Set::Train => None,
            Set::Validation => self
                .validation
                .as_ref()
                .map(|file| (file, &self.validation_names)),
            Set::Test => self.test.as_ref().map(|file| (file, &self.test_names)),
        };
        let (file, names) = own.unwrap_or((&self.train, &self.train_names));
        (file, names.as_deref())
    }

    /// Returns the key of a file of names that belongs to a set without a feature file, where it
    /// has no effect.
    pub(super) fn idle_names(&self) -> Option<&'static str> {
        let idle =
            |file: &Option<PathBuf>, names: &Option<PathBuf>| file.is_none() && names.is_some();
        match (
            idle(&self.validation, &self.validation_names),
            idle(&self.test, &self.test_names),
        ) {
            (true, _) => Some("validation_names"),
            (_, true) => Some("test_names"),
            _ => None,
        }
    }

    /// Returns every path with its key.
    pub fn paths(&mut self) -> Vec<(&'static str, &mut PathBuf)> {
        let mut paths = vec![("train", &mut self.train)];
        for (key, path) in [
            ("validation", &mut self.validation),
            ("test", &mut self.test),
            ("train_names", &mut self.train_names),
            ("validation_names", &mut self.validation_names),
            ("test_names", &mut self.test_names),
        ] {
            paths.extend(path.as_mut().map(|path| (key, path)));
        }
        paths
    }
}

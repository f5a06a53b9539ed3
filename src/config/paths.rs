//! The paths of an experiment: relative to the file that names them, absolute once resolved.

use std::path::{Path, PathBuf};

use super::Experiment;
use crate::error::KeyPath;
use crate::model::weights;

impl Experiment {
    /// Replaces every path by what `resolve` makes of it and of its key.
    pub(super) fn resolve_paths(&mut self, resolve: impl Fn(&KeyPath, &Path) -> PathBuf) {
        if let Some(folder) = &mut self.split_folder {
            *folder = resolve(&KeyPath::from("split_folder"), folder);
        }
        if let Some(split) = &mut self.split {
            split.resolve_paths(&KeyPath::from("split"), &resolve);
        }
        if let Some(start) = &mut self.start {
            start.run = resolve(&KeyPath::from("start.run"), &start.run);
        }
        let head = KeyPath::from("model.head");
        for (key, path) in self.model.head.0.settings_mut().paths() {
            *path = resolve(&head.child(key), path);
        }
        let features = KeyPath::from("model.features");
        for (key, path) in (self.model.features.iter_mut()).flat_map(|given| given.paths()) {
            *path = resolve(&features.child(key), path);
        }
        let source = &mut self.model.weights;
        if !source.is_empty() && weights::is_path(source) {
            let path = resolve(&KeyPath::from("model.weights"), Path::new(source.as_str()));
            *source = path.to_string_lossy().into_owned();
        }
    }
}

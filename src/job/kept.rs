//! What a process has of features that are kept, and of the backbones that made them.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::features::{FeatureTable, Store};
use crate::model::Model;

/// Settings of kept features, and what this process has of them; clones share it.
#[derive(Debug, Clone, Default)]
pub struct KeptFeatures {
    /// True: no features are kept or taken from where they are kept.
    pub off: bool,
    /// The folder; `None` for `features` in the folder of the split.
    pub folder: Option<PathBuf>,
    pub(super) store: Store,
    /// The backbones that were looked at, by what they were made from.
    pub(super) backbones: Arc<Mutex<Backbones>>,
    /// Features that are given, by what names them.
    pub(super) given: Arc<Mutex<HashMap<String, Arc<FeatureTable>>>>,
}

/// Backbones by what they were made from.
pub(super) type Backbones = Vec<(String, Arc<Fixed>)>;

impl KeptFeatures {
    /// Name of the folder of features in that of a split.
    pub const FOLDER: &str = "features";

    /// Features kept in `folder`, where one is named, unless they are `off`.
    pub fn new(off: bool, folder: Option<PathBuf>) -> Self {
        KeptFeatures {
            off,
            folder,
            ..Self::default()
        }
    }
}

/// A backbone that no training changes.
#[derive(Debug)]
pub(super) struct Fixed {
    /// The hash of its tensors.
    pub hash: String,
    /// Scalars of its parameters.
    pub scalars: usize,
    /// The hash of the file that its weights came from.
    pub weights_hash: Option<String>,
    /// The network, until the features of the test set are known.
    pub model: Held,
}

/// A network that may be let go of.
#[derive(Default)]
pub(super) struct Held(pub Mutex<Option<Arc<Model>>>);

impl Held {
    /// The network, if it has not been let go of.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Arc<Model>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.lock().is_some() {
            "held"
        } else {
            "let go"
        })
    }
}

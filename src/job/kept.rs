//! What a process has loaded of stored features, and of the backbones that computed them.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::features::{FeatureTable, Store};
use crate::model::Model;

/// Settings of stored features, and what this process has loaded of them; clones share it.
#[derive(Debug, Clone, Default)]
pub struct KeptFeatures {
    /// If true, features are neither stored nor read from the store.
    pub off: bool,
    /// The folder; `None` means `features` in the folder of the split.
    pub folder: Option<PathBuf>,
    pub(super) store: Store,
    /// The backbones used so far, by their origin.
    pub(super) backbones: Arc<Mutex<Backbones>>,
    /// Features given as files, by the key that identifies them.
    pub(super) given: Arc<Mutex<HashMap<String, Arc<FeatureTable>>>>,
}

/// Backbones by their origin.
pub(super) type Backbones = Vec<(String, Arc<Fixed>)>;

impl KeptFeatures {
    /// Name of the folder of features within that of a split.
    pub const FOLDER: &str = "features";

    /// Stores features in `folder`, if one is given, unless `off` is set.
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
    /// Number of scalars in its parameters.
    pub scalars: usize,
    /// The hash of the file its weights came from.
    pub weights_hash: Option<String>,
    /// The network, until the features of the test set are known.
    pub model: Held,
}

/// A network that can be dropped to free its memory.
#[derive(Default)]
pub(super) struct Held(pub Mutex<Option<Arc<Model>>>);

impl Held {
    /// Locks the network, which is `None` once it has been dropped.
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

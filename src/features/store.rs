//! The folder in which features are kept, and the feature files this process has opened.

use std::collections::HashMap;
use std::fs::TryLockError;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::extract::Work;
use super::file;
use super::key::Key;
use super::table::FeatureTable;
use crate::data::image::OnBadImage;
use crate::data::loader::Loader;
use crate::data::picture_hashes::PictureHashes;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::model::Model;

/// The file in a features folder that stores the hashes of the pictures.
const PICTURES: &str = "pictures.csv";

/// Caches what this process knows about features folders; clones share the cache.
#[derive(Debug, Clone, Default)]
pub struct Store(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// The tables opened so far, by file.
    tables: HashMap<PathBuf, Arc<FeatureTable>>,
    /// The picture hashes stored in each folder.
    hashes: HashMap<PathBuf, PictureHashes>,
}

impl Store {
    /// Returns the features of `key`, kept in `folder`. They are read from there if possible,
    /// otherwise computed by the network from `model` on the pictures from `loader`. If several
    /// processes need the same features, one computes them and the others wait. `label` names the
    /// work on the progress bar.
    ///
    /// # Errors
    /// Returns an error if a picture cannot be read and `on_bad_image` does not say to leave it
    /// out, if the work is interrupted, or if the file cannot be written.
    pub fn get(
        &self,
        folder: &Path,
        key: &Key,
        on_bad_image: OnBadImage,
        label: &str,
        loader: impl FnOnce() -> Result<Loader>,
        model: impl FnOnce() -> Result<Arc<Model>>,
    ) -> Result<Arc<FeatureTable>> {
        let hash = self.hash(folder, key)?;
        let path = folder.join(format!("{}.features", &hash[..40]));
        if let Some(known) = self.lock().tables.get(&path) {
            return Ok(known.clone());
        }
        let open = || open(&path, &hash, on_bad_image);
        let table = match open() {
            Some(table) => table,
            None => {
                let _one_at_a_time = lock(&path)?;
                // Another process may have written it in the meantime.
                match open() {
                    Some(table) => table,
                    None => {
                        let (loader, model) = (loader()?, model()?);
                        let work = Work {
                            loader: &loader,
                            shown: key.shown,
                            maps: key.maps,
                            label,
                        };
                        file::write(&path, |put| work.run(&model, &hash, put))?;
                        let written = file::read(&path, &hash);
                        written.map_err(|problem| unreadable(&path, problem))?
                    }
                }
            }
        };
        let table = Arc::new(table);
        self.lock().tables.insert(path, table.clone());
        Ok(table)
    }

    /// Returns the hash of the key, using the picture hashes stored in `folder`.
    fn hash(&self, folder: &Path, key: &Key) -> Result<String> {
        let file = folder.join(PICTURES);
        let mut known = self.lock();
        let read = || PictureHashes::read(&file);
        let hashes = (known.hashes.entry(folder.to_owned())).or_insert_with(read);
        let hash = key.hash(hashes)?;
        if let Err(error) = hashes.keep(&file) {
            // Existing features can be used even from a folder that is not writable.
            tracing::debug!("{error}");
        }
        Ok(hash)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the table in a file; returns `None` if there is no usable one.
fn open(path: &Path, hash: &str, on_bad_image: OnBadImage) -> Option<FeatureTable> {
    if !path.is_file() {
        return None;
    }
    match file::read(path, hash) {
        // The missing pictures may exist by now; if they do not, computing reports the error.
        Ok(table) if on_bad_image == OnBadImage::Error && table.first_missing().is_some() => None,
        Ok(table) => Some(table),
        Err(problem) => {
            tracing::warn!("{}: {problem}; it is computed again", path.display());
            None
        }
    }
}

fn unreadable(path: &Path, problem: String) -> Error {
    Error::file(path, problem).hint(
        "the disk may be failing: choose another folder with `--features-folder`, or keep no \
         features with `--no-features`",
    )
}

/// Waits for the lock on a file that is about to be computed and returns it. If the file system
/// does not support locks, several processes may compute the same features.
fn lock(path: &Path) -> Result<Option<fs_err::File>> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let made = fs_err::create_dir_all(folder).and_then(|()| {
        (fs_err::OpenOptions::new().create(true).append(true)).open(folder.join(".lock"))
    });
    let file = made.map_err(|error| {
        Error::file(folder, format_args!("cannot keep features: {error}")).hint(
            "choose a writable folder with `--features-folder`, or keep no features with \
             `--no-features`",
        )
    })?;
    let mut told = false;
    loop {
        match file.file().try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => {
                if !told {
                    tracing::info!(
                        "{}: another process is computing features",
                        folder.display()
                    );
                    told = true;
                }
                interrupt::check("there are no features yet")?;
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(TryLockError::Error(_)) => return Ok(None),
        }
    }
}

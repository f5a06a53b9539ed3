//! The folder that features are kept in, and those that this process has opened.

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

/// The file in a folder of features that keeps the hashes of the pictures.
const PICTURES: &str = "pictures.csv";

/// What this process knows of folders of features; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Store(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// The tables that were opened, by their files.
    tables: HashMap<PathBuf, Arc<FeatureTable>>,
    /// The pictures' hashes that each folder keeps.
    hashes: HashMap<PathBuf, PictureHashes>,
}

impl Store {
    /// The features of `key`, kept in `folder`: opened, or computed by the network that `model`
    /// gives from the pictures that `loader` gives. Of several processes that want the same, one
    /// computes and the others wait. `label` names the work on the progress bar.
    ///
    /// # Errors
    /// A picture cannot be read and `on_bad_image` does not say to leave it out, the work is
    /// interrupted, or the file cannot be written.
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

    /// The key's hash, with the help of the pictures' hashes that `folder` keeps.
    fn hash(&self, folder: &Path, key: &Key) -> Result<String> {
        let file = folder.join(PICTURES);
        let mut known = self.lock();
        let read = || PictureHashes::read(&file);
        let hashes = (known.hashes.entry(folder.to_owned())).or_insert_with(read);
        let hash = key.hash(hashes)?;
        if let Err(error) = hashes.keep(&file) {
            // Features that are there already can be had from a folder that nobody may write to.
            tracing::debug!("{error}");
        }
        Ok(hash)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The table of a file; `None` if there is none that can be taken.
fn open(path: &Path, hash: &str, on_bad_image: OnBadImage) -> Option<FeatureTable> {
    if !path.is_file() {
        return None;
    }
    match file::read(path, hash) {
        // The pictures that it lacks may be there by now; if not, that is the error to tell.
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

/// The lock of a file that is about to be computed, for as long as it is held. Where the file
/// system knows no locks, several processes may compute the same.
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

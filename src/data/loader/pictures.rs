//! The pictures of a label table: decoded on first use and cached as far as there is room.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use super::lock::lock;
use super::options::LoaderOptions;
use crate::data::augment::{InputConfig, Transformer};
use crate::data::cache::{Cache, DiskCache, Form};
use crate::data::image::{ImageRoot, OnBadImage, ToldPictures};
use crate::data::labels::LabelTable;
use crate::data::picture::Rgb8;
use crate::error::{Error, Result};

/// The pictures, with their cache and the ones known to be bad.
#[derive(Debug)]
pub(super) struct Pictures {
    pub table: Arc<LabelTable>,
    root: ImageRoot,
    on_bad_image: OnBadImage,
    told: ToldPictures,
    cache: Cache,
    folder: Option<DiskCache>,
    bad: Mutex<BTreeSet<u32>>,
    /// Distinguishes pictures resized in different ways.
    resized_form: String,
}

impl Pictures {
    /// Creates the pictures of `table`, which are found under `root`.
    pub(super) fn new(
        table: Arc<LabelTable>,
        root: ImageRoot,
        config: &InputConfig,
        options: &LoaderOptions,
    ) -> Self {
        let folder = options.cache_folder.as_ref().map(DiskCache::new);
        Pictures {
            cache: Cache::new(table.len(), options.cache_bytes, folder.is_some()),
            table,
            root,
            on_bad_image: options.on_bad_image,
            told: options.told.clone(),
            folder,
            bad: Mutex::default(),
            resized_form: format!("{:?} {}", config.resize, config.size),
        }
    }

    /// Returns the images that could not be decoded so far, ascending.
    pub(super) fn bad(&self) -> Vec<u32> {
        lock(&self.bad).iter().copied().collect()
    }

    fn name(&self, index: u32) -> Result<&str> {
        (self.table.images().get(index as usize))
            .map(String::as_str)
            .ok_or_else(|| {
                let images = self.table.len();
                let problem = format!("is {index}, but the label table has {images} images");
                Error::input("image index", problem)
            })
    }

    /// Returns the decoded picture.
    pub(super) fn decoded(&self, index: u32) -> Result<Arc<Rgb8>> {
        if let Some(picture) = self.cache.get(index, Form::Decoded) {
            return Ok(picture);
        }
        self.check_known(index)?;
        let name = self.name(index)?;
        let picture = self.through_folder(name, "decoded", || self.root.decode(name))?;
        Ok(self.cache.put(index, Form::Decoded, picture))
    }

    /// Returns the picture resized as in testing.
    pub(super) fn resized(&self, index: u32, transformer: &Transformer) -> Result<Arc<Rgb8>> {
        if let Some(picture) = self.cache.get(index, Form::Resized) {
            return Ok(picture);
        }
        self.check_known(index)?;
        let picture = match self.cache.get(index, Form::Decoded) {
            Some(picture) => transformer.resize(&picture),
            None => {
                let name = self.name(index)?;
                self.through_folder(name, &self.resized_form, || {
                    Ok(transformer.resize(&self.root.decode(name)?))
                })?
            }
        };
        Ok(self.cache.put(index, Form::Resized, picture))
    }

    /// Reads a picture from the cache folder, or makes it and stores it there for all processes.
    fn through_folder(
        &self,
        name: &str,
        form: &str,
        make: impl FnOnce() -> Result<Rgb8>,
    ) -> Result<Rgb8> {
        let (Some(cache), Some(file)) = (&self.folder, self.root.file(name)) else {
            return make();
        };
        let Some(path) = cache.path(&file, form) else {
            return make();
        };
        if let Some(picture) = cache.get(&path) {
            return Ok(picture);
        }
        let picture = make()?;
        cache.put(&path, &picture);
        Ok(cache.get(&path).unwrap_or(picture))
    }

    /// Returns an error for a picture known to be bad, so that it is not read again.
    fn check_known(&self, index: u32) -> Result<()> {
        if self.on_bad_image == OnBadImage::Skip && lock(&self.bad).contains(&index) {
            return Err(Error::input(self.name(index)?, "cannot be decoded"));
        }
        Ok(())
    }

    /// Leaves a picture out, with a warning if it has not been reported yet, or returns its error.
    pub(super) fn leave_out(&self, index: u32, error: Error) -> Result<()> {
        let name = match (self.on_bad_image, self.name(index)) {
            (OnBadImage::Skip, Ok(name)) => name,
            _ => return Err(error),
        };
        let file = self.root.file(name).unwrap_or_else(|| name.into());
        if lock(&self.bad).insert(index) && self.told.add(file) {
            tracing::warn!("{error}; left out");
        }
        Ok(())
    }
}

//! Options of the loader.

use std::path::PathBuf;

use crate::data::image::{OnBadImage, ToldPictures};

/// Options of the loader. Only `batch_size`, `drop_last` and `on_bad_image` affect the content of
/// batches.
#[derive(Debug, Clone)]
pub struct LoaderOptions {
    /// Images per batch, at least 1.
    pub batch_size: usize,
    /// Whether to leave out the last batch of a training epoch if it is not full. Testing never
    /// does.
    pub drop_last: bool,
    /// Worker threads; with 0, each batch is made on request in the caller's thread.
    pub workers: usize,
    /// Maximum number of batches finished ahead or in progress, at least one per worker. Bounds
    /// memory use.
    pub prefetch: usize,
    /// What to do with a picture that cannot be decoded.
    pub on_bad_image: OnBadImage,
    /// Bad pictures that have already been reported.
    pub told: ToldPictures,
    /// Maximum bytes of decoded pictures kept in memory; 0 keeps none.
    pub cache_bytes: u64,
    /// Folder that keeps decoded pictures from one run to the next; see
    /// [`DiskCache`](crate::data::cache::DiskCache). Worth the disk space if the pictures do not
    /// fit into memory, are large, or are used by several runs at once.
    pub cache_folder: Option<PathBuf>,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        LoaderOptions {
            batch_size: 32,
            drop_last: true,
            workers: 2,
            prefetch: 4,
            on_bad_image: OnBadImage::Error,
            told: ToldPictures::default(),
            cache_bytes: 1 << 30,
            cache_folder: None,
        }
    }
}

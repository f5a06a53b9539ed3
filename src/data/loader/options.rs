//! How batches are made.

use std::path::PathBuf;

use crate::data::image::{OnBadImage, ToldPictures};

/// How batches are made; none of it but the batch size changes what is in them.
#[derive(Debug, Clone)]
pub struct LoaderOptions {
    /// Images a batch, at least 1.
    pub batch_size: usize,
    /// Leave out the last batch of a training epoch if it is not full. Testing never does.
    pub drop_last: bool,
    /// Worker threads; 0 makes each batch when it is asked for, on the caller's thread.
    pub workers: usize,
    /// Batches that may be made ahead or being made, at least one a worker. Bounds the memory.
    pub prefetch: usize,
    /// What to do with a picture that cannot be decoded.
    pub on_bad_image: OnBadImage,
    /// Bad pictures that need not be told of again.
    pub told: ToldPictures,
    /// Most bytes of decoded pictures that are kept in memory; 0 keeps none.
    pub cache_bytes: u64,
    /// Folder that keeps decoded pictures from one run to the next; see
    /// [`DiskCache`](crate::data::cache::DiskCache). Worth its room where the pictures do not fit
    /// into memory, are large, or are wanted by several runs at once.
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

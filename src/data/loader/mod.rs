//! Makes batches of augmented pictures, ahead of time in worker threads.
//!
//! A batch is a pure function of the order, its position in it, and the seed: batches come in order
//! and are byte for byte the same for any number of workers, even when an epoch is resumed in the
//! middle.
//!
//! With [`OnBadImage::Skip`](crate::data::image::OnBadImage::Skip), a picture that cannot be
//! decoded causes one warning, or none if it has already been reported ([`LoaderOptions::told`]).
//! In training, it is replaced by the next picture in the epoch's order that can be decoded
//! (wrapping around at the end), so that the sizes of batches and epochs do not change. In testing,
//! its row is left out of the batch; a batch without any row is left out altogether.

mod batch;
mod epoch;
mod inputs;
mod lock;
mod options;
mod pictures;
mod work;

use std::path::PathBuf;
use std::sync::Arc;

use pictures::Pictures;
use work::{Shared, Showing, Work};

pub use batch::{Batch, Form};
pub use epoch::Epoch;
pub use inputs::{Batches, Inputs};
pub use options::LoaderOptions;
pub use work::next_good;

use crate::data::augment::{InputConfig, View};
use crate::data::image::ImageRoot;
use crate::data::labels::LabelTable;
use crate::error::{Error, KeyPath, Result};

/// Makes batches of the pictures of a label table.
#[derive(Debug)]
pub struct Loader {
    shared: Arc<Shared>,
}

impl Loader {
    /// Creates a loader for the pictures of `table`, which are found under `root`. If that is the
    /// empty path, the names themselves are paths.
    ///
    /// # Errors
    /// Returns an error if `config` has a value out of range, the folder of the pictures does not
    /// exist, or the cache folder cannot be created.
    pub fn new(
        table: Arc<LabelTable>,
        root: ImageRoot,
        config: InputConfig,
        options: LoaderOptions,
    ) -> Result<Self> {
        config.check(&KeyPath::from("input"))?;
        if let ImageRoot::Folder { path } = &root
            && !path.as_os_str().is_empty()
            && !path.is_dir()
        {
            return Err(Error::file(path, "is not a folder, expected the pictures")
                .hint("was the folder of the pictures moved after the split was made?"));
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "what is said of it names the folder"
        )]
        let make = std::fs::create_dir_all::<&PathBuf>;
        if let Some(folder) = &options.cache_folder
            && let Err(problem) = make(folder)
        {
            let problem = format_args!("cannot be the cache folder: {problem}");
            return Err(Error::file(folder, problem).hint(
                "name a folder that can be created and written to, or leave `--cache-folder` out",
            ));
        }
        let options = LoaderOptions {
            batch_size: options.batch_size.max(1),
            prefetch: options.prefetch.max(options.workers).max(1),
            ..options
        };
        let shared = Shared {
            pictures: Pictures::new(table, root, &config, &options),
            config,
            options,
            pool: Arc::default(),
        };
        Ok(Loader {
            shared: Arc::new(shared),
        })
    }

    /// Returns the label table whose pictures are loaded.
    pub fn table(&self) -> &LabelTable {
        &self.shared.pictures.table
    }

    /// Returns the number of batches that workers may prepare ahead.
    pub fn prefetch(&self) -> usize {
        self.shared.options.prefetch
    }

    /// Returns the settings by which pictures become the network's input.
    pub fn config(&self) -> &InputConfig {
        &self.shared.config
    }

    /// Returns the number of batches in an epoch over `images` images.
    pub fn num_batches(&self, images: usize, train: bool) -> usize {
        let options = &self.shared.options;
        if train && options.drop_last {
            images / options.batch_size
        } else {
            images.div_ceil(options.batch_size)
        }
    }

    /// Returns the images that could not be decoded so far, ascending.
    pub fn bad_images(&self) -> Vec<u32> {
        self.shared.pictures.bad()
    }

    /// Returns the batches of one epoch in order, starting at batch `start_batch`. `order` contains
    /// image indices. `train` is the seed and the epoch: pictures are augmented with the stream
    /// `augment` of (seed, epoch, position in `order`), or shown in one of their
    /// [views](crate::data::augment::AugmentConfig::views). If it is `None`, they are only resized
    /// and normalised.
    ///
    /// No batches follow after an error. Dropping the iterator stops the workers.
    ///
    /// # Errors
    /// A batch is an error if one of its pictures cannot be decoded and
    /// [`LoaderOptions::on_bad_image`] is `Error`, or if it is `Skip` and no picture can be decoded
    /// at all.
    pub fn epoch(&self, order: &[u32], train: Option<(u64, u64)>, start_batch: usize) -> Epoch {
        let showing = match train {
            Some((seed, epoch)) => Showing::Training { seed, epoch },
            None => Showing::Test,
        };
        self.start(order, showing, start_batch)
    }

    /// Returns the views of test-time augmentation ([`InputConfig::test_time`]), at least one.
    pub fn views(&self) -> Vec<View> {
        self.shared.config.test_time.views()
    }

    /// Returns the batches of `order` with the pictures shown in `view` and no other augmentation.
    /// All views yield the same rows, so that scores can be averaged row by row.
    pub fn view(&self, order: &[u32], view: View) -> Epoch {
        let plain = view.crop.is_none() && !view.flip;
        let showing = if plain {
            Showing::Test
        } else {
            Showing::View(view)
        };
        self.start(order, showing, 0)
    }

    /// Returns the batches of `order` with the pictures shown in one of their
    /// [versions](crate::data::augment::AugmentConfig::versions) in training. Unreadable pictures
    /// are left out of their batch, as in testing.
    pub fn version(&self, order: &[u32], version: usize) -> Epoch {
        self.start(order, Showing::Version(version), 0)
    }

    fn start(&self, order: &[u32], showing: Showing, start_batch: usize) -> Epoch {
        let train = matches!(showing, Showing::Training { .. });
        let work = Arc::new(Work {
            shared: self.shared.clone(),
            order: order.to_vec(),
            showing,
            num_batches: self.num_batches(order.len(), train),
        });
        Epoch::new(work, start_batch, self.shared.options.workers)
    }
}

impl Inputs for Loader {
    fn training(&self, order: &[u32], (seed, epoch): (u64, u64), start: usize) -> Batches<'_> {
        Box::new(self.epoch(order, Some((seed, epoch)), start))
    }

    fn num_views(&self) -> usize {
        self.views().len()
    }

    fn testing(&self, order: &[u32], view: usize) -> Batches<'_> {
        let views = self.views();
        Box::new(self.view(order, views[view.min(views.len() - 1)]))
    }
}

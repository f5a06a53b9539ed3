//! Batches of augmented pictures, made ahead by worker threads.
//!
//! A batch is a pure function of the order, its position in it, and the seed: batches come in
//! order and byte for byte the same whatever the number of workers, also when an epoch is taken
//! up in its middle.
//!
//! With [`OnBadImage::Skip`](crate::data::image::OnBadImage::Skip), a picture that cannot be decoded
//! is warned of once, and not at all if it was told of before ([`LoaderOptions::told`]). In
//! training, the next picture of the epoch's order that can be decoded takes its place (after the
//! last comes the first), so that batches keep their size and epochs their length. In testing its
//! row is left out of the batch; a batch that has no row left is left out whole.

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
    /// A loader of the pictures of `table`, which lie at `root`. Where that is the empty path the
    /// names are paths by themselves.
    ///
    /// # Errors
    /// `config` holds a value out of its range, the folder of the pictures is missing, or the
    /// cache folder cannot be made.
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

    /// The label table whose pictures this loads.
    pub fn table(&self) -> &LabelTable {
        &self.shared.pictures.table
    }

    /// Batches that workers may make ahead.
    pub fn prefetch(&self) -> usize {
        self.shared.options.prefetch
    }

    /// How pictures become the network's input.
    pub fn config(&self) -> &InputConfig {
        &self.shared.config
    }

    /// Number of batches of an epoch over `images` images.
    pub fn num_batches(&self, images: usize, train: bool) -> usize {
        let options = &self.shared.options;
        if train && options.drop_last {
            images / options.batch_size
        } else {
            images.div_ceil(options.batch_size)
        }
    }

    /// The images that could not be decoded so far, ascending.
    pub fn bad_images(&self) -> Vec<u32> {
        self.shared.pictures.bad()
    }

    /// The batches of one epoch from batch `start_batch` on, in order. `order` holds image
    /// indices. `train` is the seed and the epoch: pictures are augmented with the stream
    /// `augment` of (seed, epoch, position in `order`), or shown in one of their
    /// [views](crate::data::augment::AugmentConfig::views). With `None` they are only resized and
    /// normalised.
    ///
    /// After an error no more batches follow. Dropping the iterator stops the workers.
    ///
    /// # Errors
    /// A batch is an error if one of its pictures cannot be decoded and
    /// [`LoaderOptions::on_bad_image`] is `Error`, or if `Skip` finds no picture at all.
    pub fn epoch(&self, order: &[u32], train: Option<(u64, u64)>, start_batch: usize) -> Epoch {
        let showing = match train {
            Some((seed, epoch)) => Showing::Training { seed, epoch },
            None => Showing::Test,
        };
        self.start(order, showing, start_batch)
    }

    /// The views of test-time augmentation ([`InputConfig::test_time`]), at least one.
    pub fn views(&self) -> Vec<View> {
        self.shared.config.test_time.views()
    }

    /// The batches of `order` as `view` shows the pictures, without augmentation otherwise. All
    /// views give the same rows, so that scores can be averaged row by row.
    pub fn view(&self, order: &[u32], view: View) -> Epoch {
        let plain = view.crop.is_none() && !view.flip;
        let showing = if plain {
            Showing::Test
        } else {
            Showing::View(view)
        };
        self.start(order, showing, 0)
    }

    /// The batches of `order` as training shows the pictures in one of their
    /// [versions](crate::data::augment::AugmentConfig::versions). What cannot be read is left out
    /// of its batch, as in testing.
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

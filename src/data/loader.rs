//! Batches of augmented pictures, made ahead by worker threads.
//!
//! A batch is a pure function of the order, its position in it, and the seed: batches come in
//! order and byte for byte the same whatever the number of workers, also when an epoch is taken
//! up in its middle.
//!
//! With [`OnBadImage::Skip`], a picture that cannot be decoded is warned of once. In training,
//! the next picture of the epoch's order that can be decoded takes its place (after the last
//! comes the first), so that batches keep their size and epochs their length. In testing its row
//! is left out of the batch; a batch that has no row left is left out whole.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

use crate::data::augment::{InputConfig, Plan, Transformer, View, mixup};
use crate::data::cache::{Cache, DiskCache, Form};
use crate::data::image::{ImageRoot, OnBadImage, Rgb8};
use crate::data::labels::LabelTable;
use crate::error::{Error, Result};
use crate::rng::Stream;

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
    /// Most bytes of decoded pictures that are kept in memory; 0 keeps none.
    pub cache_bytes: u64,
    /// Folder that keeps decoded pictures from one run to the next; see [`DiskCache`]. Worth its
    /// room where the pictures do not fit into memory, or are large.
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
            cache_bytes: 1 << 30,
            cache_folder: None,
        }
    }
}

/// A batch of N pictures of H x W pixels with their labels over C classes. Its buffers go back to
/// the loader when it is dropped; take them (`std::mem::take`) to keep them.
#[derive(Debug, Default)]
pub struct Batch {
    /// Normalised pictures, `[N, H, W, 3]`, channels last.
    pub images: Vec<f32>,
    /// Labels as 0 and 1 (between them after mixup), `[N, C]`.
    pub targets: Vec<f32>,
    /// Which images of the label table these are, `[N]`.
    pub indices: Vec<u32>,
    /// N, at least 1.
    pub num_images: usize,
    pool: Weak<Pool>,
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        (&self.images, &self.targets, &self.indices)
            == (&other.images, &other.targets, &other.indices)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            let buffers = Buffers {
                images: std::mem::take(&mut self.images),
                targets: std::mem::take(&mut self.targets),
                indices: std::mem::take(&mut self.indices),
            };
            let mut free = lock(&pool.0);
            if buffers.images.capacity() > 0 && free.len() < MOST_FREE_BUFFERS {
                free.push(buffers);
            }
        }
    }
}

/// Buffers beyond this many that come back are freed: the consumer has kept batches for a while.
const MOST_FREE_BUFFERS: usize = 64;

#[derive(Debug, Default)]
struct Buffers {
    images: Vec<f32>,
    targets: Vec<f32>,
    indices: Vec<u32>,
}

#[derive(Debug, Default)]
struct Pool(Mutex<Vec<Buffers>>);

/// A panic elsewhere does not make what a lock guards here inconsistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes batches of the pictures of a label table.
#[derive(Debug)]
pub struct Loader {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    table: Arc<LabelTable>,
    root: ImageRoot,
    config: InputConfig,
    options: LoaderOptions,
    cache: Cache,
    bad: Mutex<BTreeSet<u32>>,
    pool: Arc<Pool>,
}

impl Loader {
    /// A loader of the pictures of `table`, which lie at `root`.
    ///
    /// # Errors
    /// `config` holds a value out of its range, or the folder of the pictures is missing.
    pub fn new(
        table: Arc<LabelTable>,
        root: ImageRoot,
        config: InputConfig,
        options: LoaderOptions,
    ) -> Result<Self> {
        config.check()?;
        if let ImageRoot::Folder { path } = &root
            && !path.is_dir()
        {
            return Err(Error::file(path, "is not a folder, expected the pictures")
                .hint("was the folder of the pictures moved after the split was made?"));
        }
        let options = LoaderOptions {
            batch_size: options.batch_size.max(1),
            prefetch: options.prefetch.max(options.workers).max(1),
            ..options
        };
        let shared = Shared {
            cache: Cache::new(table.len(), options.cache_bytes),
            table,
            root,
            config,
            options,
            bad: Mutex::default(),
            pool: Arc::default(),
        };
        Ok(Loader {
            shared: Arc::new(shared),
        })
    }

    /// The label table whose pictures this loads.
    pub fn table(&self) -> &LabelTable {
        &self.shared.table
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
        lock(&self.shared.bad).iter().copied().collect()
    }

    /// The batches of one epoch from batch `start_batch` on, in order. `order` holds image
    /// indices. `train` is the seed and the epoch: pictures are augmented with the stream
    /// `augment` of (seed, epoch, position in `order`). With `None` they are only resized and
    /// normalised.
    ///
    /// After an error no more batches follow. Dropping the iterator stops the workers.
    ///
    /// # Errors
    /// A batch is an error if one of its pictures cannot be decoded and
    /// [`LoaderOptions::on_bad_image`] is `Error`, or if `Skip` finds no picture at all.
    pub fn epoch(&self, order: &[u32], train: Option<(u64, u64)>, start_batch: usize) -> Epoch {
        self.start(order, train, None, start_batch)
    }

    /// The views of test-time augmentation ([`InputConfig::test_time`]), at least one.
    pub fn views(&self) -> Vec<View> {
        self.shared.config.test_time.views()
    }

    /// The batches of `order` as `view` shows the pictures, without augmentation otherwise. All
    /// views give the same rows, so that scores can be averaged row by row.
    pub fn view(&self, order: &[u32], view: View) -> Epoch {
        let plain = view.crop.is_none() && !view.flip;
        self.start(order, None, (!plain).then_some(view), 0)
    }

    fn start(
        &self,
        order: &[u32],
        train: Option<(u64, u64)>,
        view: Option<View>,
        start_batch: usize,
    ) -> Epoch {
        let work = Arc::new(Work {
            shared: self.shared.clone(),
            order: order.to_vec(),
            train,
            view,
            num_batches: self.num_batches(order.len(), train.is_some()),
        });
        Epoch::new(work, start_batch, self.shared.options.workers)
    }
}

/// What one epoch consists of.
struct Work {
    shared: Arc<Shared>,
    order: Vec<u32>,
    train: Option<(u64, u64)>,
    /// A view other than the plain one.
    view: Option<View>,
    num_batches: usize,
}

impl Work {
    fn make(&self, batch: usize, transformer: &mut Transformer) -> Result<Batch> {
        let shared = &*self.shared;
        let size = shared.options.batch_size;
        let first = batch * size;
        let end = (first + size).min(self.order.len());
        let (input, classes) = (transformer.input_len(), shared.table.num_classes());
        let Buffers {
            mut images,
            mut targets,
            mut indices,
        } = lock(&shared.pool.0).pop().unwrap_or_default();
        // Every value is written below, or cut off.
        images.resize((end - first) * input, 0.0);
        targets.resize((end - first) * classes, 0.0);
        indices.clear();
        for position in first..end {
            let row = indices.len();
            let output = &mut images[row * input..(row + 1) * input];
            let index = match self.train {
                Some((seed, epoch)) => {
                    let mut stream = Stream::new(seed, "augment", epoch, position as u64);
                    let (index, picture) = self.training_picture(position)?;
                    let (width, height) = (picture.width(), picture.height());
                    let plan = Plan::draw(&shared.config, width, height, &mut stream);
                    transformer.apply(&picture, &plan, output);
                    index
                }
                None => {
                    let index = self.order[position];
                    let made = match self.view {
                        None => (shared.resized(index, transformer))
                            .map(|picture| transformer.normalise(&picture, output)),
                        Some(view) => (shared.decoded(index))
                            .map(|picture| transformer.view(&picture, view, output)),
                    };
                    match made {
                        Ok(()) => {}
                        Err(error) => {
                            shared.handle(index, error)?;
                            continue;
                        }
                    }
                    index
                }
            };
            let target = &mut targets[row * classes..(row + 1) * classes];
            shared.table.fill_targets(index as usize, target);
            indices.push(index);
        }
        images.truncate(indices.len() * input);
        targets.truncate(indices.len() * classes);
        if let (Some((seed, epoch)), Some(config)) = (self.train, &shared.config.augment.mixup) {
            let mut stream = Stream::new(seed, "mixup", epoch, batch as u64);
            let count = indices.len();
            mixup(config, &mut images, &mut targets, count, &mut stream);
        }
        Ok(Batch {
            num_images: indices.len(),
            images,
            targets,
            indices,
            pool: Arc::downgrade(&shared.pool),
        })
    }

    /// The picture at `position`, or the next good one after it.
    fn training_picture(&self, position: usize) -> Result<(u32, Arc<Rgb8>)> {
        for step in 0..self.order.len() {
            let index = self.order[(position + step) % self.order.len()];
            match self.shared.decoded(index) {
                Ok(picture) => return Ok((index, picture)),
                Err(error) => self.shared.handle(index, error)?,
            }
        }
        Err(Error::input(
            "pictures",
            "none of this epoch can be decoded",
        ))
    }
}

impl Shared {
    fn name(&self, index: u32) -> Result<&str> {
        (self.table.images().get(index as usize))
            .map(String::as_str)
            .ok_or_else(|| {
                let images = self.table.len();
                let problem = format!("is {index}, but the label table has {images} images");
                Error::input("image index", problem)
            })
    }

    fn decoded(&self, index: u32) -> Result<Arc<Rgb8>> {
        if let Some(picture) = self.cache.get(index, Form::Decoded) {
            return Ok(picture);
        }
        self.check_known(index)?;
        let name = self.name(index)?;
        let picture = self.through_folder(name, "decoded", || self.root.decode(name))?;
        Ok(self.cache.put(index, Form::Decoded, picture))
    }

    fn resized(&self, index: u32, transformer: &Transformer) -> Result<Arc<Rgb8>> {
        if let Some(picture) = self.cache.get(index, Form::Resized) {
            return Ok(picture);
        }
        self.check_known(index)?;
        let picture = match self.cache.get(index, Form::Decoded) {
            Some(picture) => transformer.resize(&picture),
            None => {
                let name = self.name(index)?;
                let form = format!("{:?} {}", self.config.resize, self.config.size);
                self.through_folder(name, &form, || {
                    Ok(transformer.resize(&self.root.decode(name)?))
                })?
            }
        };
        Ok(self.cache.put(index, Form::Resized, picture))
    }

    /// From the cache folder, or made and put there.
    fn through_folder(
        &self,
        name: &str,
        form: &str,
        make: impl FnOnce() -> Result<Rgb8>,
    ) -> Result<Rgb8> {
        let folder = self.options.cache_folder.as_ref().map(DiskCache::new);
        let (Some(cache), Some(file)) = (folder, self.root.file(name)) else {
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
        Ok(picture)
    }

    /// A picture known to be bad is not read again.
    fn check_known(&self, index: u32) -> Result<()> {
        if self.options.on_bad_image == OnBadImage::Skip && lock(&self.bad).contains(&index) {
            return Err(Error::input(self.name(index)?, "cannot be decoded"));
        }
        Ok(())
    }

    /// Passes the error on, or warns of it once.
    fn handle(&self, index: u32, error: Error) -> Result<()> {
        if self.options.on_bad_image == OnBadImage::Error || self.name(index).is_err() {
            return Err(error);
        }
        if lock(&self.bad).insert(index) {
            tracing::warn!("{error}; left out");
        }
        Ok(())
    }
}

/// The batches of one epoch, see [`Loader::epoch`].
pub struct Epoch {
    work: Arc<Work>,
    /// The next batch to give out.
    next: usize,
    maker: Maker,
}

enum Maker {
    Inline(Box<Transformer>),
    Threads {
        queue: Arc<Queue>,
        threads: Vec<JoinHandle<()>>,
    },
}

struct Queue {
    state: Mutex<State>,
    /// A batch was finished.
    finished: Condvar,
    /// A batch was taken out, or the epoch was dropped.
    taken: Condvar,
}

struct State {
    /// The next batch that no worker has begun.
    unclaimed: usize,
    /// Batches before this one may be begun.
    limit: usize,
    ready: BTreeMap<usize, Result<Batch>>,
    stop: bool,
}

impl Epoch {
    fn new(work: Arc<Work>, start: usize, workers: usize) -> Self {
        let left = work.num_batches.saturating_sub(start);
        let workers = workers.min(left);
        let inline = |work: &Work| {
            let transformer = Transformer::new(&work.shared.config);
            Maker::Inline(Box::new(transformer))
        };
        if workers == 0 {
            let maker = inline(&work);
            return Epoch {
                work,
                next: start,
                maker,
            };
        }
        let queue = Arc::new(Queue {
            state: Mutex::new(State {
                unclaimed: start,
                limit: start.saturating_add(work.shared.options.prefetch),
                ready: BTreeMap::new(),
                stop: false,
            }),
            finished: Condvar::new(),
            taken: Condvar::new(),
        });
        let threads: Vec<_> = (0..workers)
            .map_while(|worker| {
                let (work, queue) = (work.clone(), queue.clone());
                std::thread::Builder::new()
                    .name(format!("loader-{worker}"))
                    .spawn(move || run_worker(&work, &queue))
                    .ok()
            })
            .collect();
        let maker = if threads.is_empty() {
            // The system gives no threads: slower, but the same.
            inline(&work)
        } else {
            Maker::Threads { queue, threads }
        };
        Epoch {
            work,
            next: start,
            maker,
        }
    }

    /// Batches that are still to come, if none is an error or left out.
    pub fn remaining(&self) -> usize {
        self.work.num_batches.saturating_sub(self.next)
    }
}

fn run_worker(work: &Work, queue: &Queue) {
    let mut transformer = Transformer::new(&work.shared.config);
    loop {
        let batch = {
            let mut state = lock(&queue.state);
            while !state.stop && state.unclaimed >= state.limit {
                state = (queue.taken.wait(state)).unwrap_or_else(PoisonError::into_inner);
            }
            if state.stop || state.unclaimed >= work.num_batches {
                return;
            }
            state.unclaimed += 1;
            state.unclaimed - 1
        };
        // The consumer waits for this batch: it must hear of a panic.
        let made = catch_unwind(AssertUnwindSafe(|| work.make(batch, &mut transformer)))
            .unwrap_or_else(|_| {
                let message = format!("the loader failed on batch {batch}");
                Err(Error::Io(std::io::Error::other(message)))
            });
        lock(&queue.state).ready.insert(batch, made);
        queue.finished.notify_all();
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.work.num_batches {
            let batch = self.next;
            self.next += 1;
            let made = match &mut self.maker {
                Maker::Inline(transformer) => self.work.make(batch, transformer),
                Maker::Threads { queue, .. } => {
                    let mut state = lock(&queue.state);
                    let made = loop {
                        match state.ready.remove(&batch) {
                            Some(made) => break made,
                            None => {
                                state = (queue.finished.wait(state))
                                    .unwrap_or_else(PoisonError::into_inner);
                            }
                        }
                    };
                    state.limit += 1;
                    drop(state);
                    queue.taken.notify_one();
                    made
                }
            };
            match made {
                Ok(batch) if batch.num_images == 0 => {}
                Ok(batch) => return Some(Ok(batch)),
                Err(error) => {
                    self.next = self.work.num_batches;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        if let Maker::Threads { queue, threads } = &mut self.maker {
            lock(&queue.state).stop = true;
            queue.taken.notify_all();
            for thread in threads.drain(..) {
                // Panics were caught.
                let _ = thread.join();
            }
        }
    }
}

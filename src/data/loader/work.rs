//! The contents of an epoch, and how each of its batches is made.

use std::sync::Arc;

use super::batch::{Batch, Buffers, Form, Pool};
use super::options::LoaderOptions;
use super::pictures::Pictures;
use crate::data::augment::{AugmentConfig, InputConfig, Plan, Transformer, View, mixup};
use crate::data::picture::Rgb8;
use crate::error::{Error, Result};
use crate::rng::Stream;

/// State shared by all epochs.
#[derive(Debug)]
pub(super) struct Shared {
    pub pictures: Pictures,
    pub config: InputConfig,
    pub options: LoaderOptions,
    pub pool: Arc<Pool>,
}

/// How pictures are presented.
#[derive(Debug, Clone, Copy)]
pub(super) enum Showing {
    /// As in training, at a position of an epoch.
    Training { seed: u64, epoch: u64 },
    /// As in training, in one of their versions, see [`AugmentConfig::versions`].
    Version(usize),
    /// As in testing.
    Test,
    /// As in test-time augmentation.
    View(View),
}

/// The contents of one epoch.
pub(super) struct Work {
    pub shared: Arc<Shared>,
    /// The images, as indices of the label table.
    pub order: Vec<u32>,
    pub showing: Showing,
    pub num_batches: usize,
}

impl Work {
    /// Makes batch number `batch`.
    pub(super) fn make(&self, batch: usize, transformer: &mut Transformer) -> Result<Batch> {
        let shared = &*self.shared;
        let size = shared.options.batch_size;
        let first = batch * size;
        let end = (first + size).min(self.order.len());
        let (input, classes) = (transformer.input_len(), shared.pictures.table.num_classes());
        let Buffers {
            mut inputs,
            mut targets,
            mut indices,
        } = shared.pool.take();
        // Every value is overwritten below or cut off.
        inputs.resize((end - first) * input, 0.0);
        targets.resize((end - first) * classes, 0.0);
        indices.clear();
        for position in first..end {
            let row = indices.len();
            let output = &mut inputs[row * input..(row + 1) * input];
            let index = match self.showing {
                Showing::Training { seed, epoch } => {
                    let (index, picture) = self.training_picture(position)?;
                    let name = shared.pictures.table.image(index as usize);
                    let augment = &shared.config.augment;
                    let stream = augment.stream(seed, epoch, position as u64, name);
                    self.augment(&picture, stream, transformer, output);
                    index
                }
                _ => {
                    let index = self.order[position];
                    if let Err(error) = self.show(index, transformer, output) {
                        shared.pictures.leave_out(index, error)?;
                        continue;
                    }
                    index
                }
            };
            let target = &mut targets[row * classes..(row + 1) * classes];
            shared.pictures.table.fill_targets(index as usize, target);
            indices.push(index);
        }
        inputs.truncate(indices.len() * input);
        targets.truncate(indices.len() * classes);
        if let (Showing::Training { seed, epoch }, Some(config)) =
            (self.showing, &shared.config.augment.mixup)
        {
            let mut stream = Stream::new(seed, "mixup", epoch, batch as u64);
            let count = indices.len();
            mixup(config, &mut inputs, &mut targets, count, &mut stream);
        }
        Ok(Batch {
            form: Form::Pixels {
                side: shared.config.size as usize,
            },
            num_images: indices.len(),
            inputs,
            targets,
            indices,
            pool: Arc::downgrade(&shared.pool),
        })
    }

    /// Writes the picture `index` outside of a training epoch.
    fn show(&self, index: u32, transformer: &mut Transformer, output: &mut [f32]) -> Result<()> {
        let pictures = &self.shared.pictures;
        match self.showing {
            Showing::Version(version) => {
                let picture = pictures.decoded(index)?;
                let name = pictures.table.image(index as usize);
                let stream = AugmentConfig::stream_of(version, name);
                self.augment(&picture, stream, transformer, output);
            }
            Showing::View(view) => transformer.view(&*pictures.decoded(index)?, view, output),
            Showing::Test | Showing::Training { .. } => {
                let picture = pictures.resized(index, transformer)?;
                transformer.normalise(&picture, output);
            }
        }
        Ok(())
    }

    /// Augments `picture` with random choices from `stream`.
    fn augment(
        &self,
        picture: &Rgb8,
        mut stream: Stream,
        transformer: &mut Transformer,
        output: &mut [f32],
    ) {
        let (width, height) = (picture.width(), picture.height());
        let plan = Plan::draw(&self.shared.config, width, height, &mut stream);
        transformer.apply(picture, &plan, output);
    }

    /// Returns the picture at `position`, or the next good one after it.
    fn training_picture(&self, position: usize) -> Result<(u32, Arc<Rgb8>)> {
        next_good(&self.order, position, |index| {
            match self.shared.pictures.decoded(index) {
                Ok(picture) => Ok(Some((index, picture))),
                Err(error) => {
                    self.shared.pictures.leave_out(index, error)?;
                    Ok(None)
                }
            }
        })
    }
}

/// Returns what `find` returns for the first image of `order` for which it finds anything, starting
/// at `position` and wrapping around.
///
/// # Errors
/// Returns the error of `find`, or an error if it finds nothing for any image.
pub fn next_good<T>(
    order: &[u32],
    position: usize,
    find: impl Fn(u32) -> Result<Option<T>>,
) -> Result<T> {
    for step in 0..order.len() {
        if let Some(found) = find(order[(position + step) % order.len()])? {
            return Ok(found);
        }
    }
    Err(Error::input(
        "pictures",
        "none of this epoch can be decoded",
    ))
}

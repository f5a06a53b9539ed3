//! What an epoch consists of, and how each of its batches is made.

use std::sync::Arc;

use super::batch::{Batch, Buffers, Pool};
use super::options::LoaderOptions;
use super::pictures::Pictures;
use crate::data::augment::{InputConfig, Plan, Transformer, View, mixup};
use crate::data::picture::Rgb8;
use crate::error::{Error, Result};
use crate::rng::Stream;

/// What all epochs share.
#[derive(Debug)]
pub(super) struct Shared {
    pub pictures: Pictures,
    pub config: InputConfig,
    pub options: LoaderOptions,
    pub pool: Arc<Pool>,
}

/// What one epoch consists of.
pub(super) struct Work {
    pub shared: Arc<Shared>,
    /// The images, as indices of the label table.
    pub order: Vec<u32>,
    /// Seed and epoch of training.
    pub train: Option<(u64, u64)>,
    /// A view other than the plain one.
    pub view: Option<View>,
    pub num_batches: usize,
}

impl Work {
    /// Batch number `batch`.
    pub(super) fn make(&self, batch: usize, transformer: &mut Transformer) -> Result<Batch> {
        let shared = &*self.shared;
        let size = shared.options.batch_size;
        let first = batch * size;
        let end = (first + size).min(self.order.len());
        let (input, classes) = (transformer.input_len(), shared.pictures.table.num_classes());
        let Buffers {
            mut images,
            mut targets,
            mut indices,
        } = shared.pool.take();
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
                        None => (shared.pictures.resized(index, transformer))
                            .map(|picture| transformer.normalise(&picture, output)),
                        Some(view) => (shared.pictures.decoded(index))
                            .map(|picture| transformer.view(&picture, view, output)),
                    };
                    match made {
                        Ok(()) => {}
                        Err(error) => {
                            shared.pictures.leave_out(index, error)?;
                            continue;
                        }
                    }
                    index
                }
            };
            let target = &mut targets[row * classes..(row + 1) * classes];
            shared.pictures.table.fill_targets(index as usize, target);
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
            match self.shared.pictures.decoded(index) {
                Ok(picture) => return Ok((index, picture)),
                Err(error) => self.shared.pictures.leave_out(index, error)?,
            }
        }
        Err(Error::input(
            "pictures",
            "none of this epoch can be decoded",
        ))
    }
}

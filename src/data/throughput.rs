//! Measures how fast pictures are prepared, stage by stage.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use crate::data::augment::{InputConfig, Plan, Transformer};
use crate::data::image::{self, ImageRoot};
use crate::data::labels::LabelTable;
use crate::data::loader::{Loader, LoaderOptions};
use crate::error::{Error, KeyPath, Result};
use crate::memory;
use crate::rng::Stream;

/// One stage of the input pipeline on one core.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// The name of the stage.
    pub name: &'static str,
    /// Seconds per picture.
    pub seconds: f64,
    /// Whether training includes it; the test transform is listed for comparison.
    pub of_training: bool,
}

/// Times the stages for the images `indices`, one after the other in the caller's thread.
///
/// Each picture is timed once in every stage, after an untimed warm-up on the first picture.
///
/// # Errors
/// Returns an error if a picture cannot be read or decoded, or if there are no pictures.
pub fn stages(
    table: &LabelTable,
    root: &ImageRoot,
    config: &InputConfig,
    indices: &[u32],
) -> Result<Vec<Stage>> {
    config.check(&KeyPath::from("input"))?;
    let mut transformer = Transformer::new(config);
    let mut output = vec![0.0; transformer.input_len()];
    let mut stages = match root {
        ImageRoot::Folder { .. } => vec![("read", true), ("decode", true)],
        ImageRoot::Shapes { .. } => vec![("draw", true)],
    };
    stages.extend([("augment and resize", true), ("test transform", false)]);
    let mut seconds = vec![0.0; stages.len()];
    let Some(first) = indices.first() else {
        return Err(Error::input("pictures", "there is none to time"));
    };
    for (round, &index) in std::iter::once(first).chain(indices).enumerate() {
        let Some(name) = table.images().get(index as usize) else {
            continue;
        };
        let mut times = Vec::with_capacity(seconds.len());
        let mut last = Instant::now();
        let mut lap = || {
            let now = Instant::now();
            times.push((now - last).as_secs_f64());
            last = now;
        };
        let picture = match root.file(name) {
            Some(path) => {
                let bytes = image::read_bytes(&path)?;
                lap();
                image::decode(&bytes).map_err(|problem| Error::file(&path, problem))?
            }
            None => root.decode(name)?,
        };
        lap();
        let mut stream = Stream::new(0, "augment", 0, round as u64);
        let plan = Plan::draw(config, picture.width(), picture.height(), &mut stream);
        transformer.apply(black_box(&picture), &plan, &mut output);
        black_box(&output);
        lap();
        transformer.test(black_box(&picture), &mut output);
        black_box(&output);
        lap();
        if round > 0 {
            for (sum, time) in seconds.iter_mut().zip(times) {
                *sum += time / indices.len() as f64;
            }
        }
    }
    Ok((stages.into_iter().zip(seconds))
        .map(|((name, of_training), seconds)| Stage {
            name,
            seconds,
            of_training,
        })
        .collect())
}

/// One epoch of the loader, with nothing else running.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoaderEpoch {
    /// Pictures per second.
    pub pictures_per_second: f64,
    /// The largest amount of memory in bytes that the process held after any batch of the epoch
    /// ([`memory::own`]), if the system reports it.
    pub memory: Option<u64>,
}

/// Runs the loader over `indices` in training, for `epochs` epochs. In the first one the memory
/// cache is empty.
///
/// # Errors
/// Returns the errors of [`Loader::new`] and [`Loader::epoch`].
pub fn loader(
    table: &Arc<LabelTable>,
    root: &ImageRoot,
    config: &InputConfig,
    options: &LoaderOptions,
    indices: &[u32],
    epochs: u64,
) -> Result<Vec<LoaderEpoch>> {
    let options = LoaderOptions {
        drop_last: false,
        ..options.clone()
    };
    let loader = Loader::new(table.clone(), root.clone(), config.clone(), options)?;
    (0..epochs)
        .map(|epoch| {
            let start = Instant::now();
            let (mut images, mut most) = (0, None);
            for batch in loader.epoch(indices, Some((0, epoch)), 0) {
                images += black_box(batch?).num_images;
                most = most.max(memory::own());
            }
            Ok(LoaderEpoch {
                pictures_per_second: images as f64 / start.elapsed().as_secs_f64(),
                memory: most,
            })
        })
        .collect()
}

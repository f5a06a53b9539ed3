//! Whether the input pipeline keeps a network fed: training on the loader's batches beside training
//! on one batch that stays in memory.

use std::time::Instant;

use candle_core::{Device, Tensor};

use crate::data::loader::{Batch, Loader};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::model::Parameters;
use crate::model::backbone::profile::training_step;
use crate::model::backbone::{Backbone, BackboneConfig};
use crate::predict::tensors;
use crate::progress::Progress;
use crate::rng::Stream;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    /// Pictures a step; the loader's batch size.
    pub batch: usize,
    /// Timed steps of each kind in a round, at least 1.
    pub steps: usize,
    /// Rounds, at least 1, each of both kinds.
    pub rounds: usize,
}

impl Amount {
    /// Whether the loader has enough pictures for a batch.
    ///
    /// # Errors
    /// If it has not.
    pub fn check(&self, loader: &Loader) -> Result<()> {
        let (pictures, batch) = (loader.table().len(), self.batch);
        if pictures < batch {
            let problem = format!("has {pictures} pictures, a batch needs {batch}");
            return Err(Error::input("split", problem));
        }
        Ok(())
    }
}

/// Pictures a second by round.
#[derive(Debug, Clone, Default)]
pub struct Feeding {
    /// On one batch that stays in memory.
    pub fixed: Vec<f64>,
    /// On the loader's batches, once its cache is filled.
    pub fed: Vec<f64>,
}

impl Feeding {
    /// The medians over the rounds: pictures a second on the fixed batch and on the loader's, and
    /// the second over the first in the same round, 1 where the pipeline costs nothing.
    pub fn medians(&self) -> [f64; 3] {
        let ratios = self
            .fed
            .iter()
            .zip(&self.fixed)
            .map(|(fed, fixed)| fed / fixed);
        [self.fixed.clone(), self.fed.clone(), ratios.collect()].map(|mut values| {
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        })
    }
}

/// Trains a freshly made backbone (forward and backward pass) on what `loader` gives.
///
/// Every round takes the loader's batches and then the fixed one, while no loader is at work. Not
/// timed are as many of the loader's batches as it may have made ahead, and one more.
///
/// # Errors
/// If the loader has fewer pictures than a batch, cannot read one, or the backbone's settings are
/// wrong.
pub fn feeding(
    config: &BackboneConfig,
    device: &Device,
    loader: &Loader,
    amount: Amount,
) -> Result<Feeding> {
    amount.check(loader)?;
    let table = loader.table();
    let mut parameters = Parameters::new();
    let backbone = Backbone::new(config, &mut parameters, device, 0)?;
    let steps = amount.steps.max(1);
    let images = (steps * amount.batch) as f64;
    let tensor = |batch: Result<Batch>| -> Result<Tensor> {
        interrupt::check("nothing was measured")?;
        Ok(tensors(&batch?, table.num_classes(), device)?.0)
    };
    let mut indices: Vec<u32> = (0..table.len() as u32).collect();
    // Whole batches: a training epoch leaves out what does not fill one.
    let order = |indices: &[u32], batches: usize| -> Vec<u32> {
        let order = indices.iter().cycle().copied();
        order.take(batches * amount.batch).collect()
    };

    // One epoch over all pictures fills the cache.
    let all = order(&indices, table.len().div_ceil(amount.batch));
    let mut progress = Progress::new("filling the cache", all.len() as u64);
    let mut fixed = None;
    for batch in loader.epoch(&all, Some((0, 0)), 0) {
        let images = tensor(batch)?;
        progress.advance(amount.batch as u64);
        fixed.get_or_insert(images);
    }
    drop(progress);
    let Some(fixed) = fixed else {
        return Ok(Feeding::default());
    };

    let ahead = loader.prefetch() + 1;
    let mut feeding = Feeding::default();
    for round in 1..=amount.rounds.max(1) as u64 {
        Stream::new(0, "bench", round, 0).shuffle(&mut indices);
        let mut batches = loader.epoch(&order(&indices, ahead + steps), Some((round, 0)), 0);
        for batch in batches.by_ref().take(ahead) {
            training_step(&backbone, &tensor(batch)?)?;
        }
        device.synchronize()?;
        let start = Instant::now();
        for batch in batches {
            training_step(&backbone, &tensor(batch)?)?;
        }
        device.synchronize()?;
        feeding.fed.push(images / start.elapsed().as_secs_f64());

        training_step(&backbone, &fixed)?;
        device.synchronize()?;
        let start = Instant::now();
        for _ in 0..steps {
            interrupt::check("nothing was measured")?;
            training_step(&backbone, &fixed)?;
        }
        device.synchronize()?;
        feeding.fixed.push(images / start.elapsed().as_secs_f64());
    }
    Ok(feeding)
}

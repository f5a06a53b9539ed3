//! Measures whether the input pipeline keeps up with the network: compares training on the loader's
//! batches with training on one batch that stays in memory.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};

use crate::data::loader::{Batch, Loader};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::model::backbone::profile::training_step;
use crate::model::backbone::{self, BackboneConfig};
use crate::model::builder::Builder;
use crate::predict;
use crate::progress::Progress;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    /// Pictures per step, which is the loader's batch size.
    pub batch: usize,
    /// Timed steps of each kind per round, at least 1.
    pub steps: usize,
    /// Number of rounds, at least 1; each round measures both kinds.
    pub rounds: usize,
}

impl Amount {
    /// Checks that the loader has enough pictures for a batch.
    ///
    /// # Errors
    /// Fails if it has not.
    pub fn check(&self, loader: &Loader) -> Result<()> {
        let (pictures, batch) = (loader.table().len(), self.batch);
        if pictures < batch {
            let problem = format!("has {pictures} pictures, a batch needs {batch}");
            return Err(Error::input("split", problem));
        }
        Ok(())
    }
}

/// Pictures per second, by round.
#[derive(Debug, Clone, Default)]
pub struct Feeding {
    /// With one batch that stays in memory.
    pub fixed: Vec<f64>,
    /// With the loader's batches, once its cache is filled.
    pub fed: Vec<f64>,
}

impl Feeding {
    /// Returns the medians over the rounds: pictures per second with the fixed batch and with the
    /// loader.
    pub fn medians(&self) -> [f64; 2] {
        [&self.fixed, &self.fed].map(|values| quartiles(values.clone())[1])
    }

    /// Returns the speed with the loader relative to the fixed batch, 1 if the pipeline costs
    /// nothing: the first, second and third quartile over the rounds.
    pub fn ratios(&self) -> [f64; 3] {
        let pairs = self.fed.iter().zip(&self.fixed);
        quartiles(pairs.map(|(fed, fixed)| fed / fixed).collect())
    }
}

/// Returns the first, second and third quartile; NaN without values.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [0.25, 0.5, 0.75].map(|share| quantile(&values, share))
}

/// Returns a quantile of ascending values, interpolated linearly; NaN without values.
fn quantile(values: &[f64], share: f64) -> f64 {
    let Some(last) = values.len().checked_sub(1) else {
        return f64::NAN;
    };
    let position = share * last as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    values[below] + (values[above] - values[below]) * (position - below as f64)
}

/// Trains a new backbone (forward and backward pass) on the output of `loader`.
///
/// Every round uses both the loader's batches and the fixed one, alternating which comes first: on
/// a shared machine both are affected by the same disturbances. Each begins with untimed steps, one
/// more than the number of batches that fit in the loader's queue: until then the loader's steps
/// may use batches prepared earlier, and the fixed ones run while the loader fills its queue.
///
/// # Errors
/// Fails if the loader has fewer pictures than a batch or cannot read one, or if the backbone's
/// settings are wrong.
pub fn feeding(
    config: &BackboneConfig,
    device: &Device,
    loader: &Loader,
    amount: Amount,
) -> Result<Feeding> {
    amount.check(loader)?;
    let table = loader.table();
    let builder = Builder::new(device, DType::F32, 0);
    let backbone = backbone::build(config, &builder)?;
    let steps = amount.steps.max(1);
    let tensor = |batch: Result<Batch>| -> Result<Tensor> { predict::tensor(&mut batch?, device) };
    let indices: Vec<u32> = (0..table.len() as u32).collect();
    // Only full batches: a training epoch drops the incomplete one.
    let order = |batches: usize| -> Vec<u32> {
        let order = indices.iter().cycle().copied();
        order.take(batches * amount.batch).collect()
    };

    // One epoch over all pictures fills the cache.
    let all = order(table.len().div_ceil(amount.batch));
    let mut progress = Progress::new("filling the cache", all.len() as u64);
    let mut fixed = None;
    for batch in loader.epoch(&all, Some((0, 0)), 0) {
        interrupt::check("nothing was measured")?;
        let images = tensor(batch)?;
        progress.advance(amount.batch as u64);
        fixed.get_or_insert(images);
    }
    drop(progress);
    let Some(fixed) = fixed else {
        return Ok(Feeding::default());
    };

    let rounds = amount.rounds.max(1);
    let untimed = loader.prefetch() + 1;
    let needed = order(rounds * (untimed + steps) + untimed);
    let mut batches = loader.epoch(&needed, Some((0, 1)), 0);
    let mut block = |fed: bool| -> Result<f64> {
        let mut start = Instant::now();
        for step in 1..=untimed + steps {
            let images = match fed.then(|| batches.next()).flatten() {
                Some(batch) => tensor(batch)?,
                None => fixed.clone(),
            };
            interrupt::check("nothing was measured")?;
            training_step(&*backbone, &images)?;
            device.synchronize()?;
            if step == untimed {
                start = Instant::now();
            }
        }
        Ok((steps * amount.batch) as f64 / start.elapsed().as_secs_f64())
    };
    block(false)?;
    let mut progress = Progress::new("training", 2 * rounds as u64);
    let mut feeding = Feeding::default();
    for round in 0..rounds {
        for fed in [round % 2 == 0, round % 2 != 0] {
            let speed = block(fed)?;
            let speeds = if fed {
                &mut feeding.fed
            } else {
                &mut feeding.fixed
            };
            speeds.push(speed);
            progress.advance(1);
        }
    }
    Ok(feeding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_rounds() {
        // Speeds differ tenfold between rounds; in every round the loader costs a tenth.
        let feeding = Feeding {
            fixed: vec![100.0, 10.0, 1.0],
            fed: vec![90.0, 9.0, 0.9],
        };
        assert_eq!(feeding.medians(), [10.0, 9.0]);
        for ratio in feeding.ratios() {
            assert!((ratio - 0.9).abs() < 1e-12);
        }
    }

    #[test]
    fn quartiles_lie_between_neighbours() {
        assert_eq!(quartiles(vec![4.0, 2.0, 1.0, 3.0]), [1.75, 2.5, 3.25]);
        assert_eq!(quartiles(vec![7.0]), [7.0; 3]);
        assert!(quartiles(vec![]).iter().all(|value| value.is_nan()));
    }
}

//! Benchmarks of a backbone: images per second, and time per operation.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};

use super::config::BackboneConfig;
use super::interface::NodeTime;
use super::{Backbone, build};
use crate::error::Result;
use crate::memory;
use crate::model::builder::Builder;
use crate::model::parameters::Gradients;

/// The measurements of [`profile`].
#[derive(Debug, Clone)]
pub struct Profile {
    /// Images per second in evaluation mode, the median of the rounds.
    pub inference: f64,
    /// Images per second of forward and backward pass, the median of the rounds.
    pub training: f64,
    /// Processor time of one training step by operation (`conv 3x3`, `depthwise 3x3`): forward,
    /// weight gradient, input gradient; the mean of the rounds. Empty without the CPU engine.
    pub operations: Vec<(String, [Duration; 3])>,
    /// The same per node, in the order of the network.
    pub nodes: Vec<NodeTime>,
    /// The largest resident memory of the process so far in bytes, if the system reports it.
    pub peak_memory: Option<u64>,
}

/// Runs a newly created backbone on `batch` random images of `size` x `size` pixels: one round to
/// warm up, then `rounds` (at least one) of inference and training each.
///
/// # Errors
/// If the settings are wrong or a tensor operation fails.
pub fn profile(
    config: &BackboneConfig,
    device: &Device,
    batch: usize,
    size: usize,
    rounds: usize,
) -> Result<Profile> {
    let builder = Builder::new(device, DType::F32, 0);
    let backbone = build(config, &builder)?;
    let images = Tensor::rand(-1f32, 1f32, (batch, size, size, 3), device)?;
    let (mut inference, mut training) = (Vec::new(), Vec::new());
    let mut nodes: Vec<NodeTime> = Vec::new();
    let rounds = rounds.max(1);
    for round in 0..=rounds {
        let start = Instant::now();
        backbone.features(&images)?.pooled()?;
        // A GPU may still be computing after its operations have been submitted.
        device.synchronize()?;
        let inferred = start.elapsed();
        backbone.take_times();
        let start = Instant::now();
        training_step(&*backbone, &images)?;
        device.synchronize()?;
        let trained = start.elapsed();
        let times = backbone.take_times();
        if round == 0 {
            continue;
        }
        inference.push(inferred);
        training.push(trained);
        if nodes.is_empty() {
            nodes = times;
        } else {
            for (node, new) in nodes.iter_mut().zip(times) {
                for (total, time) in node.times.iter_mut().zip(new.times) {
                    *total += time;
                }
            }
        }
    }
    let mut operations: BTreeMap<String, [Duration; 3]> = BTreeMap::new();
    for node in &mut nodes {
        node.times = node.times.map(|time| time / rounds as u32);
        let total = operations.entry(node.operation.clone()).or_default();
        for (total, time) in total.iter_mut().zip(node.times) {
            *total += time;
        }
    }
    let per_second = |times: &mut Vec<Duration>| {
        times.sort();
        batch as f64 / times[times.len() / 2].as_secs_f64()
    };
    Ok(Profile {
        inference: per_second(&mut inference),
        training: per_second(&mut training),
        operations: operations.into_iter().collect(),
        nodes,
        peak_memory: memory::peak(),
    })
}

/// Runs the forward and backward pass with a loss that stands in for any other, the mean square of
/// the pooled features. Returns the gradients of the trainable parameters.
///
/// # Errors
/// If a tensor operation fails.
pub fn training_step(backbone: &dyn Backbone, images: &Tensor) -> Result<Gradients> {
    let (features, tape) = backbone.forward_train(images)?;
    let loss = features.pooled()?.sqr()?.mean_all()?;
    let mut gradients = Gradients::default();
    tape.backward(&loss.backward()?, &mut gradients)?;
    Ok(gradients)
}

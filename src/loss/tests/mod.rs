//! Helpers for the tests; each file below covers one subject.

use std::sync::Arc;

use super::*;
use crate::data::labels::ClassFrequency;
use crate::error::{Error, Result};
use crate::rng::Stream;

mod config;
mod formulas;
mod graph;
mod numerics;
mod pages;
mod power_focal;
mod recipe;

/// Class counts that include a class without training images, one with a single image, and one
/// present in every image.
fn frequency() -> ClassFrequency {
    ClassFrequency {
        counts: vec![0, 1, 6, 34, 571, 775, 1142],
        num_images: 1142,
    }
}

/// Logits and labels of five images; the third has no positives, the last has all of them.
fn batch(seed: u64, spread: f64) -> (Vec<f64>, Vec<f32>) {
    let mut stream = Stream::new(seed, "loss tests", 0, 0);
    let logits = (0..35).map(|_| spread * stream.normal()).collect();
    let targets = (0..35)
        .map(|i| match i / 7 {
            2 => 0.0,
            4 => 1.0,
            image => f32::from(u8::from(i % 7 == image || stream.chance(0.3))),
        })
        .collect();
    (logits, targets)
}

fn evaluate(
    loss: &Arc<dyn Loss>,
    logits: &[f64],
    targets: &[f32],
    epoch: usize,
) -> (f64, Vec<f64>) {
    let classes = loss.num_classes().unwrap_or(7);
    let batch = Batch::new(logits, targets, classes, epoch).unwrap();
    let mut gradient = vec![f64::NAN; logits.len()];
    let value = loss.evaluate(&batch, &mut gradient).unwrap();
    (value, gradient)
}

fn parse(text: &str) -> Result<LossConfig> {
    let table: toml::Table = text.parse().unwrap();
    LossConfig::from_table(&table, &"loss".into())
}

/// Every named loss with its defaults, and combinations that have no name. Focusing weights are
/// differentiated, so that gradients are true derivatives.
fn all() -> Vec<LossConfig> {
    let mut configs: Vec<LossConfig> = (names().into_iter())
        .map(|name| {
            let mut table = LossConfig::named(name).unwrap().to_table();
            if let Some(detached) = table.get_mut("detach_focusing") {
                *detached = false.into();
            }
            LossConfig::from_table(&table, &"loss".into()).unwrap()
        })
        .collect();
    for parts in [
        "tolerance = { bias = \"paper\" }\nweight = { kind = \"inverse\", power = 0.5 }\nfocal = { gamma = 0.5 }",
        "normalisation = \"instance\"\nreduction = \"image-mean\"\nweight = { kind = \"rebalanced\" }\nmargin = { kind = \"class-frequency\", logit_scale = 3.0 }\nadjustment = { tau = 0.5 }",
        "kernel = { kind = \"asymmetric\", gamma_negative = 1.5, clip = 0.0 }\nweight = { kind = \"class-balanced\", mode = \"min-n\" }\nscale = 3.0",
        "kernel = { kind = \"hill\", limit = 2.0 }\nrelabel = { tau = 0.7 }\nnormalisation = \"batch\"\nweight = { kind = \"class-balanced\", mode = \"average-n\" }",
    ] {
        configs.push(parse(&format!("name = \"composed\"\n{parts}")).unwrap());
    }
    configs
}

//! Selects the training images of an epoch and their order.
//!
//! A sampler is a pure function of the labels, the seed and the epoch.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use super::labels::LabelTable;
use crate::error::{Error, KeyPath, Result};
use crate::range::Range;
use crate::rng::Stream;

mod frequency;

pub use frequency::{LabelFrequency, expected_label_frequency};

/// Maximum number of images in an epoch, since images are numbered with 32 bits.
pub const MOST_IMAGES: i64 = 1 << 31;

/// How the images of an epoch are drawn, by `kind` in TOML.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum SamplerConfig {
    /// Every image once, shuffled.
    Uniform {
        /// Images per epoch; all of them if left out. A longer epoch continues with a new shuffle.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch_length: Option<EpochLength>,
    },
    /// A shuffled cycle over the classes, and out of each class drawn some consecutive images of
    /// that class's own shuffled cycle (ECCV 2020 paper, section 4.2, as its public code does it).
    ClassAware {
        /// Images drawn from a class each time it is chosen; 3 as published.
        #[serde(default = "default_samples_per_class")]
        samples_per_class: usize,
        /// An epoch has max_c n_c * C / `reduce` images; 4 as published.
        #[serde(default = "default_reduce")]
        reduce: usize,
        /// Images per epoch, instead of max_c n_c * C / `reduce`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch_length: Option<EpochLength>,
    },
    /// Repeat-factor sampling (LVIS): an image is repeated max(1, sqrt(t / f_c)) times for the
    /// rarest of its classes, f_c = n_c / N; fractions are rounded at random, epoch by epoch.
    RepeatFactor {
        /// t: the class frequency below which images are repeated, in (0, 1]; 0.001 for LVIS.
        #[serde(default = "default_threshold")]
        threshold: f64,
        /// Images per epoch; if left out, as many as the repeats give on average.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch_length: Option<EpochLength>,
    },
    /// A class with probability proportional to sqrt(n_c), then an image of that class.
    SquareRoot {
        /// Images per epoch; N if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch_length: Option<EpochLength>,
    },
}

/// The length of an epoch: a number of images, or that of the published class-aware sampler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum EpochLength {
    /// So many images.
    Images(usize),
    /// `"class-aware"`: max_c n_c * C / 4, so that methods without re-sampling see as many images.
    Like(SamplerName),
}

/// The one sampler whose epoch length others can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SamplerName {
    /// The published class-aware sampler.
    ClassAware,
}

impl<'de> Deserialize<'de> for EpochLength {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EpochLengthVisitor)
    }
}

struct EpochLengthVisitor;

impl Visitor<'_> for EpochLengthVisitor {
    type Value = EpochLength;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a number of images, at least 1, or \"class-aware\"")
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<EpochLength, E> {
        match usize::try_from(n) {
            Ok(images) => Ok(EpochLength::Images(images)),
            Err(_) => Err(E::invalid_value(de::Unexpected::Signed(n), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<EpochLength, E> {
        match usize::try_from(n) {
            Ok(images) => Ok(EpochLength::Images(images)),
            Err(_) => Err(E::invalid_value(de::Unexpected::Unsigned(n), &self)),
        }
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<EpochLength, E> {
        match name {
            "class-aware" => Ok(EpochLength::Like(SamplerName::ClassAware)),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }
}

fn default_samples_per_class() -> usize {
    3
}
fn default_reduce() -> usize {
    4
}
fn default_threshold() -> f64 {
    0.001
}

impl Default for SamplerConfig {
    fn default() -> Self {
        SamplerConfig::Uniform { epoch_length: None }
    }
}

impl SamplerConfig {
    /// The accepted values of `kind` in TOML.
    pub const KINDS: [&'static str; 4] = ["uniform", "class-aware", "repeat-factor", "square-root"];

    /// Returns class-aware sampling with the published settings.
    pub fn class_aware() -> Self {
        SamplerConfig::ClassAware {
            samples_per_class: default_samples_per_class(),
            reduce: default_reduce(),
            epoch_length: None,
        }
    }

    /// Returns the name of the kind in TOML.
    pub fn kind(&self) -> &'static str {
        match self {
            SamplerConfig::Uniform { .. } => "uniform",
            SamplerConfig::ClassAware { .. } => "class-aware",
            SamplerConfig::RepeatFactor { .. } => "repeat-factor",
            SamplerConfig::SquareRoot { .. } => "square-root",
        }
    }

    /// Checks the ranges; `at` is the key of this table.
    pub fn check(&self, at: &KeyPath) -> Result<()> {
        match *self {
            SamplerConfig::ClassAware {
                samples_per_class,
                reduce,
                ..
            } => {
                Range::AtLeast(1).check_whole(&at.join("samples_per_class"), samples_per_class)?;
                Range::AtLeast(1).check_whole(&at.join("reduce"), reduce)?;
            }
            SamplerConfig::RepeatFactor { threshold, .. } => {
                Range::Above(0.0, 1.0).check(&at.join("threshold"), threshold)?;
            }
            SamplerConfig::Uniform { .. } | SamplerConfig::SquareRoot { .. } => {}
        }
        match self.epoch_length_setting() {
            Some(EpochLength::Images(images)) => {
                let range = Range::WholeWithin(1, MOST_IMAGES);
                range.check_whole(&at.join("epoch_length"), images)
            }
            _ => Ok(()),
        }
    }

    fn epoch_length_setting(&self) -> Option<EpochLength> {
        match *self {
            SamplerConfig::Uniform { epoch_length }
            | SamplerConfig::ClassAware { epoch_length, .. }
            | SamplerConfig::RepeatFactor { epoch_length, .. }
            | SamplerConfig::SquareRoot { epoch_length } => epoch_length,
        }
    }

    /// Returns the number of images in an epoch. Repeat-factor sampling without `epoch_length`
    /// yields this many or one more: its expected number rounded down or up.
    pub fn epoch_length(&self, labels: &LabelTable) -> usize {
        match (self.epoch_length_setting(), self) {
            (Some(EpochLength::Images(images)), _) => images,
            (Some(EpochLength::Like(SamplerName::ClassAware)), _) => {
                class_aware_length(labels, default_reduce())
            }
            (None, SamplerConfig::ClassAware { reduce, .. }) => class_aware_length(labels, *reduce),
            (None, SamplerConfig::RepeatFactor { threshold, .. }) => {
                let total: f64 = repeat_factors(labels, *threshold).iter().sum();
                total.floor() as usize
            }
            (None, SamplerConfig::Uniform { .. } | SamplerConfig::SquareRoot { .. }) => {
                labels.len()
            }
        }
    }

    /// Returns the images of an epoch in the order in which they are shown. An empty table is an
    /// error, and for the class-aware sampler so is a class without images.
    pub fn epoch_indices(&self, labels: &LabelTable, seed: u64, epoch: u64) -> Result<Vec<u32>> {
        self.check(&KeyPath::from("sampler"))?;
        if labels.is_empty() {
            return Err(Error::key("sampler", "has no training image to draw"));
        }
        let length = self.epoch_length(labels);
        match self {
            SamplerConfig::Uniform { .. } => {
                let mut stream = Stream::new(seed, "sampler", epoch, 0);
                let all: Vec<u32> = (0..labels.len() as u32).collect();
                Ok(shuffled_passes(&all, length, &mut stream))
            }
            SamplerConfig::ClassAware {
                samples_per_class, ..
            } => class_aware(labels, *samples_per_class, length, seed, epoch),
            SamplerConfig::RepeatFactor {
                threshold,
                epoch_length,
            } => {
                let mut stream = Stream::new(seed, "sampler", epoch, 0);
                let factors = repeat_factors(labels, *threshold);
                let mut images = repeated(&factors, &mut stream);
                while images.len() < length {
                    images.extend(repeated(&factors, &mut stream));
                }
                if epoch_length.is_some() {
                    images.truncate(length);
                }
                Ok(images)
            }
            SamplerConfig::SquareRoot { .. } => {
                square_root(labels, length, &mut Stream::new(seed, "sampler", epoch, 0))
            }
        }
    }
}

/// Returns max_c n_c * C / reduce, rounded down, but at least 1 if there is a label.
fn class_aware_length(labels: &LabelTable, reduce: usize) -> usize {
    let largest = labels.class_counts().into_iter().max().unwrap_or(0);
    (largest * labels.num_classes() / reduce.max(1)).max(usize::from(largest > 0))
}

/// Returns every image as often as its factor says, rounded down or up at random, in shuffled
/// order. Systematic sampling keeps the total within one of its expected value, since training
/// needs a known length.
fn repeated(factors: &[f64], stream: &mut Stream) -> Vec<u32> {
    let mut order: Vec<u32> = (0..factors.len() as u32).collect();
    stream.shuffle(&mut order);
    let mut reached = stream.uniform();
    let mut images = Vec::new();
    for image in order {
        let before = reached.floor();
        reached += factors[image as usize];
        let count = (reached.floor() - before) as usize;
        images.extend(std::iter::repeat_n(image, count));
    }
    stream.shuffle(&mut images);
    images
}

/// Returns the repeat factor of every image: the maximum over its classes of max(1, sqrt(t / f_c)).
pub(crate) fn repeat_factors(labels: &LabelTable, threshold: f64) -> Vec<f64> {
    let by_class: Vec<f64> = (labels.class_counts().iter())
        .map(|&n| {
            let frequency = n as f64 / labels.len() as f64;
            (threshold / frequency).sqrt().max(1.0)
        })
        .collect();
    (0..labels.len())
        .map(|image| {
            let classes = labels.labels(image).iter();
            classes.map(|&c| by_class[c as usize]).fold(1.0, f64::max)
        })
        .collect()
}

/// Returns `length` items from consecutive shuffles of `items`.
fn shuffled_passes(items: &[u32], length: usize, stream: &mut Stream) -> Vec<u32> {
    let mut cycle = Cycle::new(items.to_vec(), stream);
    (0..length).map(|_| cycle.next(stream)).collect()
}

/// Items in shuffled order, reshuffled whenever all have been seen. Never empty.
struct Cycle {
    items: Vec<u32>,
    position: usize,
}

impl Cycle {
    fn new(mut items: Vec<u32>, stream: &mut Stream) -> Self {
        stream.shuffle(&mut items);
        Cycle { items, position: 0 }
    }

    fn next(&mut self, stream: &mut Stream) -> u32 {
        if self.position == self.items.len() {
            self.position = 0;
            stream.shuffle(&mut self.items);
        }
        self.position += 1;
        self.items[self.position - 1]
    }
}

fn class_aware(
    labels: &LabelTable,
    samples_per_class: usize,
    length: usize,
    seed: u64,
    epoch: u64,
) -> Result<Vec<u32>> {
    let images = labels.images_by_class();
    if let Some(class) = images.iter().position(Vec::is_empty) {
        return Err(Error::key(
            "sampler",
            format_args!(
                "class-aware sampling draws every class, and `{}` has no training image",
                labels.classes()[class]
            ),
        )
        .hint(
            "remove the class from the split, add images of it, or use `kind = \"repeat-factor\"`",
        ));
    }
    // Each class has its own stream, so that the images of one class do not depend on the number of
    // images of another.
    let mut streams: Vec<Stream> = (0..images.len())
        .map(|class| Stream::new(seed, "sampler/images", epoch, class as u64))
        .collect();
    let mut cycles: Vec<Cycle> = (images.into_iter().zip(&mut streams))
        .map(|(images, stream)| Cycle::new(images, stream))
        .collect();
    let mut class_stream = Stream::new(seed, "sampler/classes", epoch, 0);
    let mut classes = Cycle::new((0..cycles.len() as u32).collect(), &mut class_stream);
    let mut indices = Vec::with_capacity(length + samples_per_class);
    while indices.len() < length {
        let class = classes.next(&mut class_stream) as usize;
        for _ in 0..samples_per_class {
            indices.push(cycles[class].next(&mut streams[class]));
        }
    }
    indices.truncate(length);
    Ok(indices)
}

fn square_root(labels: &LabelTable, length: usize, stream: &mut Stream) -> Result<Vec<u32>> {
    let images = labels.images_by_class();
    let mut cumulative = Vec::with_capacity(images.len());
    let mut total = 0.0;
    for images in &images {
        total += (images.len() as f64).sqrt();
        cumulative.push(total);
    }
    if total == 0.0 {
        return Err(Error::key(
            "sampler",
            "has nothing to draw: no training image has a label",
        )
        .hint("square-root sampling draws classes; use `kind = \"uniform\"`"));
    }
    Ok((0..length)
        .map(|_| {
            let draw = stream.uniform() * total;
            // Classes without images have zero width, so the draw cannot hit them.
            let class = cumulative.partition_point(|&sum| sum <= draw);
            let images = &images[class.min(images.len() - 1)];
            images[stream.below(images.len())]
        })
        .collect())
}

#[cfg(test)]
mod tests;

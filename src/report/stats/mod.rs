//! Statistics of a split: counts, co-occurrence, tables, pictures, one page.

mod files;
mod page;
mod plots;
mod text;

use serde::{Deserialize, Serialize};

use crate::data::labels::{Group, LabelTable};
use crate::data::longtail;
use crate::data::sampler::{SamplerConfig, expected_label_frequency};
use crate::data::split::{Split, SplitConfig};
use crate::error::Result;

pub use files::{LabelsRow, Quantity, write_report};
pub use text::{class_table, summary};

/// Statistics of a class, a row of `classes.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassRow {
    /// Name.
    pub class: String,
    /// Index in the split's class list.
    pub index: usize,
    /// The class's group by training count.
    pub group: Group,
    /// Number of training images, n_c.
    pub train: usize,
    /// Number of validation images; `None` without a validation set.
    pub validation: Option<usize>,
    /// Number of test images.
    pub test: usize,
    /// Share of the training images that show the class, n_c / N.
    pub share: f64,
    /// Mean number of labels of the training images that show the class; `None` if there are none.
    pub labels_per_image: Option<f64>,
}

/// Statistics of a class group, a row of `groups.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupRow {
    /// The group.
    pub group: Group,
    /// Number of classes in the group.
    pub classes: usize,
    /// Number of training images with at least one of its classes.
    pub train_images: usize,
    /// Number of training labels of its classes.
    pub train_labels: usize,
    /// Number of test images with at least one of its classes.
    pub test_images: usize,
    /// Number of test labels of its classes.
    pub test_labels: usize,
}

/// A pair of co-occurring classes, a row of `pairs.csv`; the most probable pair comes first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// The class that the probability is conditioned on.
    pub given: String,
    /// The class that occurs with it.
    pub class: String,
    /// Number of training images with both.
    pub images: u32,
    /// P(class | given).
    pub probability: f64,
}

/// The expected class frequencies under a sampler.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SamplerRow {
    /// The sampler's name in a configuration.
    pub sampler: String,
    /// Number of images in an epoch.
    pub epoch_length: usize,
    /// Expected share of the drawn images that show each class, in class index order.
    pub frequency: Vec<f64>,
    /// Frequency of the most frequent class divided by that of the rarest; `None` if a class is
    /// never drawn.
    pub imbalance: Option<f64>,
    /// Mean frequency over the head, medium and tail classes; `None` for an empty group.
    pub group_mean: Vec<Option<f64>>,
}

/// Statistics of a split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SplitStatistics {
    /// Number of training images, N.
    pub train_images: usize,
    /// Number of test images.
    pub test_images: usize,
    /// Number of validation images, if there is a validation set.
    pub validation_images: Option<usize>,
    /// Largest training count divided by the smallest; `None` if a class has no image.
    pub imbalance_ratio: Option<f64>,
    /// Mean number of labels of a training image (label cardinality).
    pub labels_per_image: f64,
    /// The same over the test images; `None` if there are none.
    pub test_labels_per_image: Option<f64>,
    /// Largest number of labels of a training image.
    pub most_labels: usize,
    /// Number of training images without any label.
    pub unlabelled: usize,
    /// Number of distinct label sets among the training images.
    pub label_sets: usize,
    /// All classes, by descending training count.
    pub classes: Vec<ClassRow>,
    /// Head, medium, tail.
    pub groups: Vec<GroupRow>,
    /// Number of training images by number of labels, from 0.
    pub train_histogram: Vec<usize>,
    /// Number of test images by number of labels, from 0.
    pub test_histogram: Vec<usize>,
    /// The class counts that the construction aimed at, in descending order; `None` if it had no
    /// such target.
    pub reference: Option<Vec<usize>>,
    /// Pairs of classes with the highest conditional probability.
    pub pairs: Vec<Pair>,
    /// The samplers with their default settings.
    pub samplers: Vec<SamplerRow>,
}

/// Number of pairs listed, and the smallest number of images with both classes for a pair to be
/// listed.
const PAIRS: usize = 20;
const FEWEST_TOGETHER: u32 = 5;
/// Classes below this share of the images are repeated. It is ten times the value of LVIS, which
/// would leave sets of a few thousand images unchanged.
const REPEAT_THRESHOLD: f64 = 0.01;

impl SplitStatistics {
    /// Computes the statistics of `split`.
    pub fn new(split: &Split) -> Result<Self> {
        let train = &split.train;
        let (n, c) = (train.len(), train.num_classes());
        let train_counts = train.class_counts();
        let test_counts = split.test.class_counts();
        let validation_counts = split.validation.as_deref().map(LabelTable::class_counts);
        let mut labels_with = vec![0usize; c];
        for i in 0..n {
            for &class in train.labels(i) {
                labels_with[class as usize] += train.labels(i).len();
            }
        }
        let mut classes: Vec<ClassRow> = (0..c)
            .map(|index| ClassRow {
                class: train.classes()[index].clone(),
                index,
                group: split.groups[index],
                train: train_counts[index],
                validation: validation_counts.as_ref().map(|v| v[index]),
                test: test_counts[index],
                share: train_counts[index] as f64 / n.max(1) as f64,
                labels_per_image: mean(labels_with[index], train_counts[index]),
            })
            .collect();
        classes.sort_by_key(|row| std::cmp::Reverse(row.train));
        let smallest = train_counts.iter().min().copied().unwrap_or(0);
        let largest = train_counts.iter().max().copied().unwrap_or(0);
        let label_sets: std::collections::HashSet<&[u32]> =
            (0..n).map(|i| train.labels(i)).collect();
        let train_histogram = histogram(train);
        Ok(SplitStatistics {
            train_images: n,
            test_images: split.test.len(),
            validation_images: split.validation.as_deref().map(LabelTable::len),
            imbalance_ratio: mean(largest, smallest),
            labels_per_image: train.num_labels() as f64 / n.max(1) as f64,
            test_labels_per_image: mean(split.test.num_labels(), split.test.len()),
            most_labels: train_histogram.len().saturating_sub(1),
            unlabelled: train_histogram.first().copied().unwrap_or(0),
            label_sets: label_sets.len(),
            classes,
            groups: Group::ALL.map(|group| group_row(split, group)).to_vec(),
            train_histogram,
            test_histogram: histogram(&split.test),
            reference: reference(&split.manifest.config, train)?,
            pairs: pairs(train),
            samplers: samplers(split),
        })
    }
}

/// Returns `sum / count`, or `None` if `count` is 0.
fn mean(sum: usize, count: usize) -> Option<f64> {
    (count > 0).then(|| sum as f64 / count as f64)
}

/// Counts the images by number of labels.
fn histogram(table: &LabelTable) -> Vec<usize> {
    let mut histogram = Vec::new();
    for i in 0..table.len() {
        let labels = table.labels(i).len();
        if histogram.len() <= labels {
            histogram.resize(labels + 1, 0);
        }
        histogram[labels] += 1;
    }
    histogram
}

fn group_row(split: &Split, group: Group) -> GroupRow {
    let count = |table: &LabelTable| {
        let (mut images, mut labels) = (0, 0);
        for i in 0..table.len() {
            let here = (table.labels(i).iter())
                .filter(|&&c| split.groups[c as usize] == group)
                .count();
            images += usize::from(here > 0);
            labels += here;
        }
        (images, labels)
    };
    let (train_images, train_labels) = count(&split.train);
    let (test_images, test_labels) = count(&split.test);
    GroupRow {
        group,
        classes: split.groups.iter().filter(|g| **g == group).count(),
        train_images,
        train_labels,
        test_images,
        test_labels,
    }
}

/// Returns the target counts in descending order; none for a balanced set, whose distribution only
/// gives its size. Counts given by class are looked up by name.
fn reference(config: &SplitConfig, train: &LabelTable) -> Result<Option<Vec<usize>>> {
    if config.balanced {
        return Ok(None);
    }
    let names: Vec<&str> = train.classes().iter().map(String::as_str).collect();
    let mut counts = config.reference_counts(names.len(), &names)?;
    if let Some(counts) = &mut counts {
        counts.sort_unstable_by(|a, b| b.cmp(a));
    }
    Ok(counts)
}

/// Returns the samplers that can draw from the training set, and logs the others.
fn samplers(split: &Split) -> Vec<SamplerRow> {
    let configs = [
        SamplerConfig::default(),
        SamplerConfig::class_aware(),
        SamplerConfig::SquareRoot { epoch_length: None },
        SamplerConfig::RepeatFactor {
            threshold: REPEAT_THRESHOLD,
            epoch_length: None,
        },
    ];
    let mut rows = Vec::new();
    for config in configs {
        let shown = match expected_label_frequency(&config, &split.train) {
            Ok(shown) => shown,
            Err(error) => {
                tracing::warn!("the {} sampler is left out: {error}", config.kind());
                continue;
            }
        };
        let group_mean = Group::ALL.map(|group| {
            let of_group: Vec<f64> = (shown.frequency.iter().zip(&split.groups))
                .filter_map(|(&f, &g)| (g == group).then_some(f))
                .collect();
            (!of_group.is_empty()).then(|| of_group.iter().sum::<f64>() / of_group.len() as f64)
        });
        rows.push(SamplerRow {
            sampler: config.kind().to_owned(),
            epoch_length: shown.epoch_length,
            imbalance: shown.imbalance(),
            frequency: shown.frequency,
            group_mean: group_mean.to_vec(),
        });
    }
    rows
}

fn pairs(table: &LabelTable) -> Vec<Pair> {
    let c = table.num_classes();
    let together = longtail::co_occurrence(table);
    let mut pairs: Vec<(usize, usize, f64)> = (0..c * c)
        .map(|at| (at / c, at % c))
        .filter(|&(a, b)| a != b && together[a * c + b] >= FEWEST_TOGETHER)
        .map(|(a, b)| {
            let given = f64::from(together[a * c + a]);
            (a, b, f64::from(together[a * c + b]) / given)
        })
        .collect();
    pairs.sort_by(|x, y| y.2.total_cmp(&x.2));
    (pairs.into_iter().take(PAIRS))
        .map(|(a, b, probability)| Pair {
            given: table.classes()[a].clone(),
            class: table.classes()[b].clone(),
            images: together[a * c + b],
            probability,
        })
        .collect()
}

#[cfg(test)]
mod tests;

//! The long-tailed construction (paper, section 4.1): wanted counts, order of the classes, and the
//! drawing of images that brings every class close to its count.

use serde::{Deserialize, Serialize};

use crate::data::labels::LabelTable;
use crate::error::{Error, KeyPath, Result};
use crate::range::Range;
use crate::rng::Stream;

/// The Pareto curve of the published benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pareto {
    /// Shape of the Pareto density, b in the paper's code; higher is steeper.
    pub alpha: f64,
    /// Images wanted of the first class: 800 for VOC-MLT, 1200 for COCO-MLT.
    pub max: usize,
    /// The curve's floor.
    pub min: usize,
    /// Quantile of the density at which the last class is placed, in (0, 1).
    pub tail: f64,
}

impl Default for Pareto {
    fn default() -> Self {
        Pareto {
            alpha: 6.0,
            max: 800,
            min: 1,
            tail: 0.99,
        }
    }
}

impl Pareto {
    /// Checks the ranges; `at` is the key of this table.
    pub fn check(&self, at: &KeyPath) -> Result<()> {
        Range::Positive.check(&at.join("alpha"), self.alpha)?;
        Range::Between(0.0, 1.0).check(&at.join("tail"), self.tail)?;
        check_bounds(at, ("min", self.min), ("max", self.max))
    }

    /// Returns the wanted counts of `num_classes` classes, descending: with x_k evenly spaced from
    /// 1 to (1 - tail)^(-1/alpha), d_k = trunc(x_k^(-alpha-1) (max - min) + min).
    pub fn counts(&self, num_classes: usize) -> Result<Vec<usize>> {
        self.check(&KeyPath::from("split.distribution"))?;
        let last = (1.0 - self.tail).powf(-1.0 / self.alpha);
        let step = (last - 1.0) / num_classes.saturating_sub(1).max(1) as f64;
        let spread = (self.max - self.min) as f64;
        Ok((0..num_classes)
            .map(|k| {
                // In the order in which SciPy and NumPy compute it, so that the truncated values
                // agree.
                let x = if k + 1 == num_classes && k > 0 {
                    last
                } else {
                    1.0 + k as f64 * step
                };
                let density = self.alpha / x.powf(self.alpha + 1.0);
                (density * spread / self.alpha + self.min as f64) as usize
            })
            .collect())
    }
}

/// Returns wanted counts that fall exponentially (Cui et al., «Class-Balanced Loss», CVPR 2019):
/// d_k = trunc(max factor^(-k / (C - 1))), so that the first is `imbalance_factor` times the last.
pub fn exponential_counts(
    num_classes: usize,
    max: usize,
    imbalance_factor: f64,
) -> Result<Vec<usize>> {
    check_exponential(&KeyPath::from("split.distribution"), max, imbalance_factor)?;
    let steps = num_classes.saturating_sub(1).max(1) as f64;
    Ok((0..num_classes)
        .map(|k| (max as f64 * imbalance_factor.powf(-(k as f64) / steps)) as usize)
        .collect())
}

/// Checks the settings of [`exponential_counts`]; `at` is the key of their table.
pub(crate) fn check_exponential(at: &KeyPath, max: usize, imbalance_factor: f64) -> Result<()> {
    Range::AtLeast(1).check_whole(&at.join("max"), max)?;
    let at = at.join("imbalance_factor");
    match imbalance_factor >= 1.0 && imbalance_factor.is_finite() {
        true => Ok(()),
        false => Err(Error::key(
            at,
            format_args!(
                "is {imbalance_factor}, expected a number at or above 1: the largest class over \
                 the smallest"
            ),
        )),
    }
}

/// Rejects a value of the key `most` below that of the key `least`, both in the table `at`.
pub(crate) fn check_bounds(
    at: &KeyPath,
    (least, min): (&str, usize),
    (most, max): (&str, usize),
) -> Result<()> {
    let least = at.join(least);
    match max < min {
        true => Err(Error::key(
            at.join(most),
            format_args!("is {max}, expected at least `{least}`, which is {min}"),
        )),
        false => Ok(()),
    }
}

/// Returns the number of images with both classes, C x C row-major; the diagonal is n_c.
pub fn co_occurrence(table: &LabelTable) -> Vec<u32> {
    let c = table.num_classes();
    let mut counts = vec![0u32; c * c];
    for i in 0..table.len() {
        let labels = table.labels(i);
        for &a in labels {
            for &b in labels {
                counts[a as usize * c + b as usize] += 1;
            }
        }
    }
    counts
}

/// Returns P(column | row): the fraction of the row class's images that also show the column class,
/// C x C row-major. `None` if the row class has no images.
pub fn conditional_probability(table: &LabelTable) -> Vec<Option<f64>> {
    let c = table.num_classes();
    let counts = co_occurrence(table);
    (0..c * c)
        .map(|at| {
            let given = counts[at / c * c + at / c];
            (given > 0).then(|| f64::from(counts[at]) / f64::from(given))
        })
        .collect()
}

/// Returns the classes in decreasing order of s_j = sum over i of P(j | i), ties in index order.
pub fn class_order(table: &LabelTable) -> Vec<usize> {
    let c = table.num_classes();
    let probability = conditional_probability(table);
    let mut sums = vec![0.0f64; c];
    for row in probability.chunks(c.max(1)) {
        for (sum, p) in sums.iter_mut().zip(row) {
            *sum += p.unwrap_or(0.0);
        }
    }
    let mut order: Vec<usize> = (0..c).collect();
    order.sort_by(|&a, &b| sums[b].total_cmp(&sums[a]));
    order
}

/// What the construction did for one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The class.
    pub class: usize,
    /// The number of its images already selected when its turn came.
    pub selected: usize,
    /// The wanted number of images.
    pub wanted: usize,
}

/// A drawn subset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subset {
    /// Selected images, ascending (or, in the replay of a released list, in the order of the list).
    pub images: Vec<usize>,
    /// The steps of the construction, in class order.
    pub steps: Vec<Step>,
}

/// Draws the subset: for the k-th class of `order`, random images are added or removed until
/// `wanted[k]` are selected or none is left. Every image counts for all its classes.
///
/// An image is not removed if that would leave one of its classes with fewer than `keep_at_least`
/// images; 0 is the published construction.
/// published construction.
pub fn draw(
    table: &LabelTable,
    order: &[usize],
    wanted: &[usize],
    keep_at_least: usize,
    seed: u64,
) -> Subset {
    let by_class = table.images_by_class();
    let mut selected = vec![false; table.len()];
    let mut counts = vec![0usize; table.num_classes()];
    let mut steps = Vec::with_capacity(order.len());
    for (k, (&class, &wanted)) in order.iter().zip(wanted).enumerate() {
        let have = counts[class];
        steps.push(Step {
            class,
            selected: have,
            wanted,
        });
        let mut stream = Stream::new(seed, "longtail", 0, k as u64);
        let adding = have < wanted;
        let mut candidates: Vec<u32> = (by_class[class].iter().copied())
            .filter(|&i| selected[i as usize] != adding)
            .collect();
        let mut missing = have.abs_diff(wanted);
        // A shuffle that stops as soon as enough images are drawn.
        let mut end = candidates.len();
        while missing > 0 && end > 0 {
            let at = stream.below(end);
            end -= 1;
            candidates.swap(at, end);
            let image = candidates[end] as usize;
            let labels = table.labels(image);
            if adding {
                labels.iter().for_each(|&c| counts[c as usize] += 1);
            } else {
                if labels.iter().any(|&c| counts[c as usize] <= keep_at_least) {
                    continue;
                }
                labels.iter().for_each(|&c| counts[c as usize] -= 1);
            }
            selected[image] = adding;
            missing -= 1;
        }
    }
    let images = (0..table.len()).filter(|&i| selected[i]).collect();
    Subset { images, steps }
}

#[cfg(test)]
mod tests;

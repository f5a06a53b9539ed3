//! Confidence by resampling the test images.

use rayon::prelude::*;
use serde::Serialize;

use super::groups::GroupScores;
use super::order::{self, Entry};
use super::table::{Score, ScoreTable};
use crate::data::labels::Group;
use crate::error::{Error, Result};
use crate::rng::Stream;

/// Resamples that are worked through together, one a lane.
const LANES: usize = 16;

/// How a bootstrap is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// Number of resamples; 1,000 is usual.
    pub resamples: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// Coverage of the interval, in (0, 1); 0.95 is usual.
    pub level: f64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Bootstrap {
            resamples: 1_000,
            seed: 0,
            level: 0.95,
        }
    }
}

/// An estimate with its bootstrap distribution in short.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The value on the test set itself.
    pub estimate: f64,
    /// Lower end of the percentile interval.
    pub low: f64,
    /// Upper end of the percentile interval.
    pub high: f64,
    /// Standard deviation over the resamples.
    pub standard_error: f64,
    /// Resamples in which the value was defined.
    pub resamples: usize,
    /// Two-sided p-value of the hypothesis that the value is 0: of use for differences only.
    pub p_value: f64,
}

/// Intervals of the mAP over all classes (total), head, medium and tail, in that order; `None`
/// where the mAP is undefined.
///
/// Images are drawn with replacement, as many as there are. A class that has no positive in a
/// resample is left out of that resample's mean. The result depends on the seed and not on the
/// number of threads.
pub fn bootstrap_map<S: Score>(
    table: &ScoreTable<S>,
    groups: &[Group],
    bootstrap: &Bootstrap,
) -> Result<[Option<Interval>; 4]> {
    check(table, groups, bootstrap)?;
    let order = Order::new(table);
    let estimate = order.estimate(groups);
    let samples = resample(table.num_images(), bootstrap, |weights| {
        order.means(weights, groups)
    });
    Ok(intervals(estimate, &samples, bootstrap.level))
}

/// Intervals of the difference in mAP, second minus first, over the same resamples of the images
/// for both; in the order and with the conventions of [`bootstrap_map`]. Both tables must hold the
/// same targets.
pub fn paired_bootstrap_map<S: Score, T: Score>(
    first: &ScoreTable<S>,
    second: &ScoreTable<T>,
    groups: &[Group],
    bootstrap: &Bootstrap,
) -> Result<[Option<Interval>; 4]> {
    check(first, groups, bootstrap)?;
    check(second, groups, bootstrap)?;
    if first.targets() != second.targets() {
        return Err(Error::input(
            "paired bootstrap",
            "the two sets of predictions have different targets",
        )
        .hint("compare runs on the same test set, with the images in the same order"));
    }
    let (a, b) = (Order::new(first), Order::new(second));
    let minus = |b: [Option<f64>; 4], a: [Option<f64>; 4]| {
        std::array::from_fn(|slot| Some(b[slot]? - a[slot]?))
    };
    let estimate = minus(b.estimate(groups), a.estimate(groups));
    let samples = resample(first.num_images(), bootstrap, |weights| {
        let (a, b) = (a.means(weights, groups), b.means(weights, groups));
        std::array::from_fn(|lane| minus(b[lane], a[lane]))
    });
    Ok(intervals(estimate, &samples, bootstrap.level))
}

fn check<S: Score>(table: &ScoreTable<S>, groups: &[Group], bootstrap: &Bootstrap) -> Result<()> {
    if groups.len() != table.num_classes() {
        return Err(Error::input(
            "bootstrap",
            format_args!(
                "{} groups for {} classes",
                groups.len(),
                table.num_classes()
            ),
        ));
    }
    if table.num_images() >= 1 << 31 {
        return Err(Error::input("bootstrap", "more than 2,147,483,647 images"));
    }
    if bootstrap.resamples == 0 {
        return Err(Error::input("resamples", "is 0, expected at least 1"));
    }
    if !(bootstrap.level > 0.0 && bootstrap.level < 1.0) {
        return Err(Error::input(
            "level",
            format_args!("is {}, expected a number between 0 and 1", bootstrap.level),
        ));
    }
    Ok(())
}

/// The test images of every class by descending score: sorted once, resampled many times.
struct Order {
    classes: Vec<Vec<Step>>,
}

/// An image of a class's ranking, packed: the image's index, whether it is a positive, and whether
/// the next image has another score.
#[derive(Clone, Copy)]
struct Step {
    image: u32,
    positive: bool,
    ends_tie: bool,
}

/// Multiplicities of the images in LANES resamples, images x LANES.
type Multiplicities = [[u32; LANES]];

impl Order {
    fn new<S: Score>(table: &ScoreTable<S>) -> Self {
        let num_classes = table.num_classes();
        let classes = order::for_each_class(
            table,
            |image, target| (image as u32) << 1 | u32::from(target),
            |entries| {
                (0..entries.len())
                    .map(|k| Step {
                        image: entries[k].payload() >> 1,
                        positive: entries[k].payload() & 1 == 1,
                        ends_tie: (entries.get(k + 1)).is_none_or(|e| e.key() != entries[k].key()),
                    })
                    .collect()
            },
        );
        debug_assert_eq!(classes.len(), num_classes);
        Order { classes }
    }

    /// The means on the images as they are.
    fn estimate(&self, groups: &[Group]) -> [Option<f64>; 4] {
        let images = self.classes.first().map_or(0, Vec::len);
        self.means(&vec![[1; LANES]; images], groups)[0]
    }

    /// Total, head, medium and tail mAP of each lane's resample.
    fn means(&self, weights: &Multiplicities, groups: &[Group]) -> [[Option<f64>; 4]; LANES] {
        let per_class: Vec<[Option<f64>; LANES]> = (self.classes.iter())
            .map(|steps| average_precisions(steps, weights))
            .collect();
        std::array::from_fn(|lane| {
            let values: Vec<Option<f64>> = per_class.iter().map(|class| class[lane]).collect();
            GroupScores::new(&values, groups).means()
        })
    }
}

/// AP of one class in every lane: images count as often as the lane has drawn them.
fn average_precisions(steps: &[Step], weights: &Multiplicities) -> [Option<f64>; LANES] {
    let mut drawn = [0u32; LANES];
    let mut found = [0u32; LANES];
    let mut counted = [0u32; LANES];
    let mut sum = [0.0f64; LANES];
    let mut new = false;
    for step in steps {
        let weights = &weights[step.image as usize];
        for lane in 0..LANES {
            drawn[lane] += weights[lane];
        }
        if step.positive {
            for lane in 0..LANES {
                found[lane] += weights[lane];
            }
            new = true;
        }
        if new && step.ends_tie {
            for lane in 0..LANES {
                // With nothing drawn yet nothing is found either, and the term is 0.
                let precision = f64::from(found[lane]) / f64::from(drawn[lane].max(1));
                sum[lane] += f64::from(found[lane] - counted[lane]) * precision;
            }
            counted = found;
            new = false;
        }
    }
    std::array::from_fn(|lane| (found[lane] > 0).then(|| sum[lane] / f64::from(found[lane])))
}

/// The value of every resample, in order.
fn resample(
    num_images: usize,
    bootstrap: &Bootstrap,
    value: impl Fn(&Multiplicities) -> [[Option<f64>; 4]; LANES] + Sync,
) -> Vec<[Option<f64>; 4]> {
    let blocks: Vec<usize> = (0..bootstrap.resamples).step_by(LANES).collect();
    let values: Vec<_> = blocks
        .into_par_iter()
        .map(|start| {
            let mut weights = vec![[0u32; LANES]; num_images];
            for (lane, index) in (start..start + LANES).enumerate() {
                let mut stream = Stream::new(bootstrap.seed, "bootstrap", 0, index as u64);
                for _ in 0..num_images {
                    weights[stream.below(num_images)][lane] += 1;
                }
            }
            value(&weights)
        })
        .collect();
    let mut values: Vec<_> = values.into_iter().flatten().collect();
    values.truncate(bootstrap.resamples);
    values
}

fn intervals(
    estimate: [Option<f64>; 4],
    samples: &[[Option<f64>; 4]],
    level: f64,
) -> [Option<Interval>; 4] {
    std::array::from_fn(|slot| {
        let estimate = estimate[slot]?;
        let mut values: Vec<f64> = samples.iter().filter_map(|sample| sample[slot]).collect();
        if values.is_empty() {
            return None;
        }
        values.sort_by(f64::total_cmp);
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        let share = |side: &dyn Fn(f64) -> bool| {
            // One is added to both, so that no finite number of resamples gives certainty.
            let beyond = values.iter().filter(|&&v| side(v)).count();
            (beyond as f64 + 1.0) / (count + 1.0)
        };
        let one_sided = share(&|v| v <= 0.0).min(share(&|v| v >= 0.0));
        Some(Interval {
            estimate,
            low: quantile(&values, (1.0 - level) / 2.0),
            high: quantile(&values, (1.0 + level) / 2.0),
            standard_error: (squares / (count - 1.0).max(1.0)).sqrt(),
            resamples: values.len(),
            p_value: (2.0 * one_sided).min(1.0),
        })
    })
}

/// The quantile of ascending values, linear between neighbours.
fn quantile(values: &[f64], share: f64) -> f64 {
    let position = share * (values.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(values.len() - 1);
    values[below] + (values[above] - values[below]) * (position - below as f64)
}

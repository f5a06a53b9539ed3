//! Confidence by resampling the test images.

use std::ops::{AddAssign, Sub};

use rayon::prelude::*;
use serde::Serialize;

use super::groups::{GroupScores, PerGroup, Scope};
use super::order::{self, Entry};
use super::table::{Score, ScoreTable};
use crate::data::labels::Group;
use crate::error::{Error, Result};
use crate::rng::Stream;

/// Resamples that are worked through together, one a lane.
const LANES: usize = 32;

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

/// Intervals of the mAP over all classes and over each group; `None`
/// where the mAP is undefined.
///
/// Images are drawn with replacement, as many as there are. A class that has no positive in a
/// resample is left out of that resample's mean. The result depends on the seed and not on the
/// number of threads.
pub fn bootstrap_map<S: Score>(
    table: &ScoreTable<S>,
    groups: &[Group],
    bootstrap: &Bootstrap,
) -> Result<PerGroup<Option<Interval>>> {
    check(table, groups, bootstrap)?;
    let ranked = Ranked::new(table)?;
    let resamples = Resamples::draw(table.num_images(), bootstrap)?;
    let samples = resamples.means(&ranked, groups);
    Ok(intervals(ranked.means(groups), &samples, bootstrap.level))
}

/// Intervals of the difference in mAP, second minus first, over the same resamples of the images
/// for both; with the conventions of [`bootstrap_map`]. Both tables must hold the
/// same targets.
pub fn paired_bootstrap_map<S: Score, T: Score>(
    first: &ScoreTable<S>,
    second: &ScoreTable<T>,
    groups: &[Group],
    bootstrap: &Bootstrap,
) -> Result<PerGroup<Option<Interval>>> {
    check(first, groups, bootstrap)?;
    check(second, groups, bootstrap)?;
    if first.targets() != second.targets() {
        return Err(Error::input(
            "paired bootstrap",
            "the two sets of predictions have different targets",
        )
        .hint("compare runs on the same test set, with the images in the same order"));
    }
    let (a, b) = (Ranked::new(first)?, Ranked::new(second)?);
    let minus = |b: PerGroup<Option<f64>>, a: PerGroup<Option<f64>>| {
        PerGroup::from_fn(|scope| Some(b[scope]? - a[scope]?))
    };
    let resamples = Resamples::draw(first.num_images(), bootstrap)?;
    let samples: Vec<PerGroup<Option<f64>>> = (resamples.means(&a, groups).into_iter())
        .zip(resamples.means(&b, groups))
        .map(|(a, b)| minus(b, a))
        .collect();
    let estimate = minus(b.means(groups), a.means(groups));
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
    if !(bootstrap.level > 0.0 && bootstrap.level < 1.0) {
        return Err(Error::input(
            "level",
            format_args!("is {}, expected a number between 0 and 1", bootstrap.level),
        ));
    }
    Ok(())
}

/// The images of a set of predictions by descending score, class by class: sorted once, resampled
/// many times.
#[derive(Debug, Clone)]
pub struct Ranked {
    classes: Vec<Vec<Step>>,
    num_images: usize,
}

/// An image of a class's ranking, packed: the image's index, whether it is a positive, and whether
/// the next image has another score.
#[derive(Debug, Clone, Copy)]
struct Step(u32);

impl Step {
    fn image(self) -> usize {
        (self.0 >> 2) as usize
    }

    fn positive(self) -> bool {
        self.0 & 2 != 0
    }

    fn ends_tie(self) -> bool {
        self.0 & 1 != 0
    }
}

impl Ranked {
    /// Sorts the scores of every class.
    pub fn new<S: Score>(table: &ScoreTable<S>) -> Result<Self> {
        if table.num_images() >= 1 << 30 {
            return Err(Error::input("bootstrap", "more than 1,073,741,823 images"));
        }
        let classes = order::for_each_class(
            table,
            |image, target| (image as u32) << 1 | u32::from(target),
            |entries| {
                (0..entries.len())
                    .map(|k| {
                        let next = entries.get(k + 1);
                        let ends_tie = next.is_none_or(|next| next.key() != entries[k].key());
                        Step(entries[k].payload() << 1 | u32::from(ends_tie))
                    })
                    .collect()
            },
        );
        Ok(Ranked {
            classes,
            num_images: table.num_images(),
        })
    }

    /// AP of every class on the images as they are; `None` where a class has no positive.
    pub fn average_precisions(&self) -> Vec<Option<f64>> {
        let once = vec![[1u32; LANES]; self.num_images];
        (self.classes.iter())
            .map(|steps| average_precisions(steps, &once)[0])
            .collect()
    }

    /// Total, head, medium and tail mAP on the images as they are.
    pub fn means(&self, groups: &[Group]) -> PerGroup<Option<f64>> {
        GroupScores::new(&self.average_precisions(), groups).means
    }

    /// For every class the precision at each of `recalls` (ascending, in [0, 1]): that of the
    /// highest threshold that reaches the recall. The mean over evenly spaced recalls comes near
    /// the AP. `None` where a class has no positive.
    pub fn precision_at(&self, recalls: &[f64]) -> Vec<Option<Vec<f64>>> {
        (self.classes.iter())
            .map(|steps| {
                let positives = steps.iter().filter(|step| step.positive()).count();
                if positives == 0 {
                    return None;
                }
                let mut precisions = Vec::with_capacity(recalls.len());
                let mut found = 0;
                for (k, step) in steps.iter().enumerate() {
                    found += usize::from(step.positive());
                    if !step.ends_tie() || found == 0 {
                        continue;
                    }
                    let recall = found as f64 / positives as f64;
                    while precisions.len() < recalls.len() && recalls[precisions.len()] <= recall {
                        precisions.push(found as f64 / (k + 1) as f64);
                    }
                }
                Some(precisions)
            })
            .collect()
    }
}

/// How often each image was drawn, LANES resamples side by side: images x LANES.
type Multiplicities<W> = Vec<[W; LANES]>;

/// A count of images, as narrow as their number allows: the narrower, the more fit in a register.
trait Count: Copy + Ord + AddAssign + Sub<Output = Self> + From<u8> + Into<f64> + Send + Sync {}
impl Count for u16 {}
impl Count for u32 {}

/// Resamples of the images of a test set, drawn once for all that is to be compared on it.
#[derive(Debug, Clone)]
pub struct Resamples {
    count: usize,
    num_images: usize,
    blocks: Blocks,
}

#[derive(Debug, Clone)]
enum Blocks {
    Narrow(Vec<Multiplicities<u16>>),
    Wide(Vec<Multiplicities<u32>>),
}

impl Resamples {
    /// Draws as many images with replacement as there are, `bootstrap.resamples` times. The draws
    /// depend on the seed and not on the number of threads.
    pub fn draw(num_images: usize, bootstrap: &Bootstrap) -> Result<Self> {
        if bootstrap.resamples == 0 {
            return Err(Error::input("resamples", "is 0, expected at least 1"));
        }
        Ok(Resamples {
            count: bootstrap.resamples,
            num_images,
            blocks: match num_images <= usize::from(u16::MAX) {
                true => Blocks::Narrow(draw(num_images, bootstrap)),
                false => Blocks::Wide(draw(num_images, bootstrap)),
            },
        })
    }

    /// Total, head, medium and tail mAP of `ranked` on every resample, in order. A class that has
    /// no positive in a resample is left out of that resample's mean; a mean over none is `None`.
    /// `ranked` must have the number of images that was drawn from, and `groups` its classes.
    pub fn means(&self, ranked: &Ranked, groups: &[Group]) -> Vec<PerGroup<Option<f64>>> {
        assert_eq!(ranked.num_images, self.num_images, "images drawn from");
        let mut means: Vec<_> = match &self.blocks {
            Blocks::Narrow(blocks) => of_blocks(blocks, ranked, groups),
            Blocks::Wide(blocks) => of_blocks(blocks, ranked, groups),
        };
        means.truncate(self.count);
        means
    }
}

fn draw<W: Count>(num_images: usize, bootstrap: &Bootstrap) -> Vec<Multiplicities<W>> {
    let blocks: Vec<usize> = (0..bootstrap.resamples).step_by(LANES).collect();
    (blocks.into_par_iter())
        .map(|start| {
            let mut weights = vec![[W::from(0); LANES]; num_images];
            for (lane, index) in (start..start + LANES).enumerate() {
                let mut stream = Stream::new(bootstrap.seed, "bootstrap", 0, index as u64);
                for _ in 0..num_images {
                    weights[stream.below(num_images)][lane] += W::from(1);
                }
            }
            weights
        })
        .collect()
}

fn of_blocks<W: Count>(
    blocks: &[Multiplicities<W>],
    ranked: &Ranked,
    groups: &[Group],
) -> Vec<PerGroup<Option<f64>>> {
    let arch = pulp::Arch::new();
    let means: Vec<[PerGroup<Option<f64>>; LANES]> = (blocks.par_iter())
        .map(|weights| {
            arch.dispatch(Means {
                classes: &ranked.classes,
                weights,
                groups,
            })
        })
        .collect();
    means.into_iter().flatten().collect()
}

/// The means of one block, compiled for the widest registers that the processor has.
struct Means<'a, W> {
    classes: &'a [Vec<Step>],
    weights: &'a [[W; LANES]],
    groups: &'a [Group],
}

impl<W: Count> pulp::NullaryFnOnce for Means<'_, W> {
    type Output = [PerGroup<Option<f64>>; LANES];

    #[inline(always)]
    fn call(self) -> Self::Output {
        let mut sums = [PerGroup::<f64>::default(); LANES];
        let mut defined = [PerGroup::<u32>::default(); LANES];
        for (steps, group) in self.classes.iter().zip(self.groups) {
            let values = average_precisions(steps, self.weights);
            for (lane, value) in values.into_iter().enumerate() {
                if let Some(value) = value {
                    for scope in [Scope::Total, (*group).into()] {
                        sums[lane][scope] += value;
                        defined[lane][scope] += 1;
                    }
                }
            }
        }
        std::array::from_fn(|lane| {
            PerGroup::from_fn(|scope| {
                let defined = defined[lane][scope];
                (defined > 0).then(|| sums[lane][scope] / f64::from(defined))
            })
        })
    }
}

/// AP of one class in every lane: images count as often as the lane has drawn them.
#[inline(always)]
fn average_precisions<W: Count>(steps: &[Step], weights: &[[W; LANES]]) -> [Option<f64>; LANES] {
    let mut drawn = [W::from(0); LANES];
    let mut found = [W::from(0); LANES];
    let mut counted = [W::from(0); LANES];
    let mut sum = [0.0f64; LANES];
    let mut new = false;
    for step in steps {
        let weights = &weights[step.image()];
        for lane in 0..LANES {
            drawn[lane] += weights[lane];
        }
        if step.positive() {
            for lane in 0..LANES {
                found[lane] += weights[lane];
            }
            new = true;
        }
        if new && step.ends_tie() {
            for lane in 0..LANES {
                // With nothing drawn yet nothing is found either, and the term is 0.
                let drawn: f64 = drawn[lane].max(W::from(1)).into();
                let precision = Into::<f64>::into(found[lane]) / drawn;
                sum[lane] += Into::<f64>::into(found[lane] - counted[lane]) * precision;
            }
            counted = found;
            new = false;
        }
    }
    std::array::from_fn(|lane| {
        let found: f64 = found[lane].into();
        (found > 0.0).then(|| sum[lane] / found)
    })
}

fn intervals(
    estimate: PerGroup<Option<f64>>,
    samples: &[PerGroup<Option<f64>>],
    level: f64,
) -> PerGroup<Option<Interval>> {
    PerGroup::from_fn(|scope| {
        let values = samples.iter().filter_map(|sample| sample[scope]).collect();
        Interval::new(estimate[scope]?, values, level)
    })
}

impl Interval {
    /// The interval of `estimate` from its values on the resamples where it was defined; `None`
    /// where there is none. `level` is its coverage, in (0, 1).
    pub fn new(estimate: f64, mut values: Vec<f64>, level: f64) -> Option<Self> {
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
    }
}

/// The quantile of ascending values, linear between neighbours; NaN without values.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let Some(last) = values.len().checked_sub(1) else {
        return f64::NAN;
    };
    let position = share * last as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    values[below] + (values[above] - values[below]) * (position - below as f64)
}

//! The influence of each test image on AP: the basis of the confidence intervals.
//!
//! Method, sources and coverage: `docs/intervals.md`.

use rayon::prelude::*;

use super::groups::{PerGroup, Scope};
use super::interval::{Interval, Spread};
use super::ranked::{Ranked, Step};
use crate::data::labels::Group;

/// A class with fewer positives than this is too uncertain for an interval of the stated coverage.
pub const FEW_POSITIVES: usize = 5;

/// Number of classes summed by one thread: fixed, so that the sums do not depend on the number of
/// threads.
const CLASSES_AT_ONCE: usize = 8;

/// AP of one class, and its change when one image is left out.
#[derive(Debug, Clone)]
struct ClassJackknife {
    average_precision: f64,
    positives: usize,
    /// AP without the image minus AP with it, for every image.
    changes: Vec<f64>,
}

impl ClassJackknife {
    /// Returns `None` for a class without positives.
    fn new(steps: &[Step]) -> Option<Self> {
        let positives = steps.iter().filter(|step| step.positive()).count();
        if positives == 0 {
            return None;
        }
        // Sums over the positives at or below the current rank, while the loop moves from the end
        // of the ranking to its top: of their precision, and of what their precision becomes
        // without an image at or above them that is a negative, or that is another positive.
        let (mut all, mut without_negative, mut without_positive) = (0.0, 0.0, 0.0);
        let mut changes = vec![0.0; steps.len()];
        let mut own = vec![0.0; steps.len()];
        let count = positives as f64;
        let mut found = positives;
        let mut end = steps.len();
        while end > 0 {
            let start = (0..end - 1).rev().find(|&k| steps[k].ends_tie());
            let start = start.map_or(0, |k| k + 1);
            let tied = &steps[start..end];
            let tied_positives = tied.iter().filter(|step| step.positive()).count();
            let (true_positives, taken) = (found as f64, end as f64);
            // Only a positive alone at the top has no other image beside it; its own term is
            // removed below.
            let others = (taken - 1.0).max(1.0);
            let left = (true_positives - 1.0) / others;
            all += tied_positives as f64 * (true_positives / taken);
            without_negative += tied_positives as f64 * (true_positives / others);
            without_positive += tied_positives as f64 * left;
            for step in tied {
                let image = step.image();
                changes[image] = match step.positive() {
                    true => without_positive - all,
                    false => (without_negative - all) / count,
                };
                own[image] = left;
            }
            found -= tied_positives;
            end = start;
        }
        // Without a positive the mean has one term fewer; without its only positive a class has no
        // AP.
        for step in steps.iter().filter(|step| step.positive()) {
            let change = &mut changes[step.image()];
            *change = match positives {
                1 => 0.0,
                _ => (all + *change - own[step.image()]) / (count - 1.0) - all / count,
            };
        }
        Some(ClassJackknife {
            average_precision: all / count,
            positives,
            changes,
        })
    }

    /// Returns the variance that so few positives cannot show, about a quarter of one more positive
    /// that is never found: if all positives rank first, the interval is then about that of Clopper
    /// and Pearson.
    fn unseen(&self) -> f64 {
        (self.average_precision / (2.0 * self.positives as f64)).powi(2)
    }
}

/// Returns intervals of the AP of every class at `level` in (0, 1); `None` for a class without
/// positives.
pub fn class_intervals(ranked: &Ranked, level: f64) -> Vec<Option<Interval>> {
    (ranked.classes().par_iter())
        .map(|steps| {
            let class = ClassJackknife::new(steps)?;
            let spread = Spread::new(&class.changes, class.unseen());
            Some(Interval {
                classes: 1,
                few_positives: usize::from(class.positives < FEW_POSITIVES),
                ..spread.score(class.average_precision, level)
            })
        })
        .collect()
}

/// A mean of AP over classes, with the influence of each image on it.
#[derive(Debug, Clone)]
struct Mean {
    estimate: f64,
    /// The mean without the image minus the mean with it.
    changes: Vec<f64>,
    unseen: f64,
    classes: usize,
    few_positives: usize,
}

/// mAP over all classes, head, medium and tail, with the influence of each image on it. Means over
/// seeds and gains of one method over another are computed from it, image by image.
#[derive(Debug, Clone)]
pub struct Jackknife {
    means: PerGroup<Option<Mean>>,
}

/// The gain in mAP of one method over another, with the influence of each image on it.
#[derive(Debug, Clone)]
pub struct Gain(Jackknife);

impl Jackknife {
    /// Computes the mAPs of `ranked`; classes without positives are left out. `groups` has one
    /// entry per class. The result does not depend on the number of threads.
    pub fn new(ranked: &Ranked, groups: &[Group]) -> Self {
        assert_eq!(
            ranked.classes().len(),
            groups.len(),
            "groups of the classes"
        );
        let blocks: Vec<PerGroup<Option<Mean>>> = (ranked.classes().par_chunks(CLASSES_AT_ONCE))
            .zip(groups.par_chunks(CLASSES_AT_ONCE))
            .map(|(classes, groups)| sums(classes, groups))
            .collect();
        let mut means = PerGroup::default();
        for mut block in blocks {
            for scope in Scope::ALL {
                if let Some(part) = block[scope].take() {
                    add(&mut means[scope], part);
                }
            }
        }
        for scope in Scope::ALL {
            if let Some(mean) = &mut means[scope] {
                let classes = mean.classes as f64;
                mean.scale(1.0 / classes);
            }
        }
        Jackknife { means }
    }

    /// Returns the mAPs; `None` where no class has positives.
    pub fn estimates(&self) -> PerGroup<Option<f64>> {
        PerGroup::from_fn(|scope| Some(self.means[scope].as_ref()?.estimate))
    }

    /// Averages several runs on the same images, such as a method's seeds; `None` for no runs. A
    /// group that one of the runs lacks is left out.
    pub fn mean<'a>(runs: impl IntoIterator<Item = &'a Jackknife>) -> Option<Self> {
        let mut runs = runs.into_iter();
        let mut mean = runs.next()?.clone();
        let mut count = 1.0;
        for run in runs {
            count += 1.0;
            for scope in Scope::ALL {
                let own = &mut mean.means[scope];
                match (own.as_mut(), &run.means[scope]) {
                    (Some(own), Some(other)) => own.plus(other, 1.0),
                    _ => *own = None,
                }
            }
        }
        for scope in Scope::ALL {
            if let Some(own) = &mut mean.means[scope] {
                own.scale(1.0 / count);
                // All seeds have the same few positives, so averaging does not reduce the unseen
                // variance.
                own.unseen *= count;
            }
        }
        Some(mean)
    }

    /// Returns the gain of this method over `baseline` on the same images.
    pub fn gain_over(&self, baseline: &Jackknife) -> Gain {
        let mut gain = self.clone();
        for scope in Scope::ALL {
            let own = &mut gain.means[scope];
            match (own.as_mut(), &baseline.means[scope]) {
                (Some(own), Some(other)) => {
                    // Both methods have the same unseen positives, so half of the larger variance
                    // is enough.
                    let unseen = own.unseen.max(other.unseen) / 2.0;
                    own.plus(other, -1.0);
                    own.unseen = unseen;
                    own.few_positives = own.few_positives.max(other.few_positives);
                }
                _ => *own = None,
            }
        }
        Gain(gain)
    }

    /// Returns the intervals of the mAPs at `level` in (0, 1); `None` where there is no mAP.
    pub fn intervals(&self, level: f64) -> PerGroup<Option<Interval>> {
        self.with(|_, mean, spread| spread.score(mean, level))
    }

    fn with(
        &self,
        interval: impl Fn(Scope, f64, &Spread) -> Interval,
    ) -> PerGroup<Option<Interval>> {
        PerGroup::from_fn(|scope| {
            let mean = self.means[scope].as_ref()?;
            Some(Interval {
                classes: mean.classes,
                few_positives: mean.few_positives,
                ..interval(
                    scope,
                    mean.estimate,
                    &Spread::new(&mean.changes, mean.unseen),
                )
            })
        })
    }
}

impl Gain {
    /// Returns the number of paired images.
    pub fn num_images(&self) -> usize {
        let total = self.0.means.total.as_ref();
        total.map_or(0, |mean| mean.changes.len())
    }

    /// Returns the intervals of the gains at `level` in (0, 1); `None` where one of the methods has
    /// no mAP.
    pub fn intervals(&self, level: f64) -> PerGroup<Option<Interval>> {
        self.0
            .with(|_, mean, spread| spread.difference(mean, level))
    }

    /// Like [`Gain::intervals`], if the runs that the gain is averaged over are also a sample of
    /// all seeds (and subsets): `runs` holds the variance of their mean and its degrees of freedom
    /// for each group. A group without these is left out.
    pub fn intervals_over_runs(
        &self,
        runs: &PerGroup<Option<(f64, f64)>>,
        level: f64,
    ) -> PerGroup<Option<Interval>> {
        let found = self.0.with(|scope, mean, spread| match runs[scope] {
            Some((variance, freedom)) => spread.beside(variance, freedom).difference(mean, level),
            None => spread.difference(mean, level),
        });
        PerGroup::from_fn(|scope| runs[scope].and(found[scope]))
    }
}

impl Mean {
    fn plus(&mut self, other: &Mean, factor: f64) {
        self.estimate += factor * other.estimate;
        self.unseen += other.unseen;
        for (own, other) in self.changes.iter_mut().zip(&other.changes) {
            *own += factor * other;
        }
    }

    fn scale(&mut self, factor: f64) {
        self.estimate *= factor;
        self.unseen *= factor * factor;
        self.changes.iter_mut().for_each(|change| *change *= factor);
    }
}

/// Adds a partial sum over classes.
fn add(sum: &mut Option<Mean>, part: Mean) {
    match sum {
        Some(sum) => {
            sum.plus(&part, 1.0);
            sum.classes += part.classes;
            sum.few_positives += part.few_positives;
        }
        None => *sum = Some(part),
    }
}

/// Sums over the given classes: all of them, and those of each group.
fn sums(classes: &[Vec<Step>], groups: &[Group]) -> PerGroup<Option<Mean>> {
    let mut sums: PerGroup<Option<Mean>> = PerGroup::default();
    for (steps, group) in classes.iter().zip(groups) {
        if let Some(class) = ClassJackknife::new(steps) {
            let part = Mean {
                estimate: class.average_precision,
                unseen: class.unseen(),
                classes: 1,
                few_positives: usize::from(class.positives < FEW_POSITIVES),
                changes: class.changes,
            };
            add(&mut sums[Scope::from(*group)], part);
        }
    }
    for group in Group::ALL {
        if let Some(part) = sums[Scope::from(group)].clone() {
            add(&mut sums.total, part);
        }
    }
    sums
}

//! The kinds of confidence intervals that are compared.

use dbloss::data::labels::Group;
use dbloss::metrics::{Interval, Jackknife, Ranked, ScoreTable};
use dbloss::rng::Stream;
use statrs::distribution::{ContinuousCDF, Normal};

const LEVEL: f64 = 0.95;
const RESAMPLES: usize = 200;

/// Number of scores of a set (images x classes) beyond which bootstrap-t is left out, since it
/// needs a jackknife for every resample.
const MOST_STUDENTISED: usize = 10_000;

/// The textbook intervals, in the order of [`textbooks`].
pub(super) const FORMS: [&str; 6] = [
    "percentile",
    "basic",
    "BCa",
    "bootstrap-t",
    "bootstrap-t, log odds",
    "jackknife, normal",
];

/// The ends of an interval.
type Ends = (f64, f64);

/// A test set with the scores of one or two methods.
pub(super) struct TestSet<'a> {
    pub(super) images: usize,
    pub(super) classes: usize,
    /// For each method, images x classes.
    pub(super) scores: &'a [Vec<f32>],
    /// Images x classes.
    pub(super) targets: &'a [u8],
}

impl TestSet<'_> {
    /// Returns whether a class has a positive.
    pub(super) fn has_positive(&self, class: usize) -> bool {
        let mut column = self.targets.iter().skip(class).step_by(self.classes);
        column.any(|&target| target == 1)
    }
}

/// Returns this program's interval of a mAP or, with two sets of scores, of a gain; `None` if no
/// class has a positive.
pub(super) fn ours(set: &TestSet) -> Option<Interval> {
    let groups = vec![Group::Tail; set.classes];
    let of_method = |scores: &Vec<f32>| {
        let table = ScoreTable::new(scores, set.targets, set.classes).expect("a table");
        Jackknife::new(&Ranked::new(&table).expect("a ranking"), &groups)
    };
    let jackknives: Vec<Jackknife> = set.scores.iter().map(of_method).collect();
    let intervals = match &jackknives[..] {
        [first, second] => second.gain_over(first).intervals(LEVEL),
        others => others[0].intervals(LEVEL),
    };
    intervals.total
}

/// Returns the ends of the other intervals, computed in the simple, slow way; `None` if a kind is
/// left out.
pub(super) fn textbooks(set: &TestSet, ours: &Interval) -> [Option<Ends>; FORMS.len()] {
    let estimate = ours.estimate;
    let value = Value::new(set);
    let jackknife = Moments::new(&value, set.images, estimate);
    let resamples = draw(set.images);
    let mut samples: Vec<f64> = (resamples.iter())
        .map(|resample| value.of(&counts(resample)))
        .filter(|value| !value.is_nan())
        .collect();
    samples.sort_by(f64::total_cmp);
    let normal = Normal::standard();
    let z = normal.inverse_cdf((1.0 + LEVEL) / 2.0);
    let quantile = |share: f64| quantile(&samples, share).unwrap_or(estimate);
    let (low, high) = (quantile(0.025), quantile(0.975));
    let below = samples.iter().filter(|&&value| value < estimate).count() as f64;
    let part = ((below + 0.5) / (samples.len() as f64 + 1.0)).clamp(1e-3, 1.0 - 1e-3);
    let shift = normal.inverse_cdf(part);
    let adjusted = |z: f64| {
        let bent = 1.0 - jackknife.acceleration * (shift + z);
        normal.cdf(shift + (shift + z) / bent.max(1e-3))
    };
    let reach = z * jackknife.error;
    let [plain, log_odds] = match set.images * set.classes <= MOST_STUDENTISED {
        true => studentised(set, &resamples, ours),
        false => [None; 2],
    };
    [
        Some((low, high)),
        Some((2.0 * estimate - high, 2.0 * estimate - low)),
        Some((quantile(adjusted(-z)), quantile(adjusted(z)))),
        plain,
        log_odds,
        Some((jackknife.corrected - reach, jackknife.corrected + reach)),
    ]
}

/// Returns bootstrap-t intervals (Efron 1981): the quantiles of (value - estimate) / standard error
/// over resamples, each with the standard error of its own jackknife, computed as in this program
/// (including the variance for what is not seen: without it, a resample in which all positives rank
/// first would cause a division by 0). The first interval is on the original scale, clipped to the
/// range of AP or of a gain; the second, only for a single method, is on the scale of log odds.
fn studentised(set: &TestSet, resamples: &[Vec<usize>], ours: &Interval) -> [Option<Ends>; 2] {
    let positives = set.targets.iter().filter(|&&t| t == 1).count() as f64;
    // Log odds are infinite at 1: values keep half a positive's distance from it.
    let within = |value: f64| value.clamp(1e-6, 1.0 - 0.5 / positives);
    let logit = |value: f64| (within(value) / (1.0 - within(value))).ln();
    let logit_error = |of: &Interval| {
        let value = within(of.estimate);
        of.standard_error / (value * (1.0 - value))
    };
    let (mut plain, mut log_odds) = (Vec::new(), Vec::new());
    for resample in resamples {
        let Some(other) = resampled(set, resample) else {
            continue;
        };
        plain.push((other.estimate - ours.estimate) / other.standard_error);
        let distance = logit(other.estimate) - logit(ours.estimate);
        log_odds.push(distance / logit_error(&other));
    }
    let ends = |mut ratios: Vec<f64>, centre: f64, error: f64| {
        ratios.sort_by(f64::total_cmp);
        let end = |share: f64| Some(centre - quantile(&ratios, share)? * error);
        Some((end(0.975)?, end(0.025)?))
    };
    let is_gain = set.scores.len() == 2;
    let lowest = if is_gain { -1.0 } else { 0.0 };
    let cut = |(low, high): Ends| (low.clamp(lowest, 1.0), high.clamp(lowest, 1.0));
    let expit = |(low, high): Ends| (1.0 / (1.0 + (-low).exp()), 1.0 / (1.0 + (-high).exp()));
    let on_log_odds = match is_gain {
        true => None,
        false => ends(log_odds, logit(ours.estimate), logit_error(ours)).map(expit),
    };
    [
        ends(plain, ours.estimate, ours.standard_error).map(cut),
        on_log_odds,
    ]
}

/// Returns this program's interval of a resample, in which an image drawn twice counts as two tied
/// images.
fn resampled(set: &TestSet, resample: &[usize]) -> Option<Interval> {
    let rows = |image: &usize| image * set.classes..(image + 1) * set.classes;
    let scores: Vec<Vec<f32>> = (set.scores.iter())
        .map(|scores| {
            resample
                .iter()
                .flat_map(|i| &scores[rows(i)])
                .copied()
                .collect()
        })
        .collect();
    let targets: Vec<u8> = (resample.iter())
        .flat_map(|i| &set.targets[rows(i)])
        .copied()
        .collect();
    ours(&TestSet {
        scores: &scores,
        targets: &targets,
        ..*set
    })
}

/// Returns the images of each resample, the same for every set of a given size.
fn draw(images: usize) -> Vec<Vec<usize>> {
    let mut stream = Stream::new(1, "coverage bootstrap", 0, 0);
    (0..RESAMPLES)
        .map(|_| (0..images).map(|_| stream.below(images)).collect())
        .collect()
}

/// Returns how often each image was drawn.
fn counts(resample: &[usize]) -> Vec<u32> {
    let mut counts = vec![0; resample.len()];
    for &image in resample {
        counts[image] += 1;
    }
    counts
}

/// Returns a quantile of ascending values; `None` if there are none.
fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let at = (share * values.len() as f64) as usize;
    values.get(at.min(values.len().checked_sub(1)?)).copied()
}

/// Results of the textbook jackknife.
struct Moments {
    corrected: f64,
    error: f64,
    acceleration: f64,
}

impl Moments {
    fn new(value: &Value, images: usize, estimate: f64) -> Self {
        let mut weights = vec![1u32; images];
        let left_out: Vec<f64> = (0..images)
            .map(|image| {
                weights[image] = 0;
                let left = value.of(&weights);
                weights[image] = 1;
                if left.is_nan() { estimate } else { left }
            })
            .collect();
        let n = images as f64;
        let mean = left_out.iter().sum::<f64>() / n;
        let power = |k: i32| {
            left_out
                .iter()
                .map(|left| (mean - left).powi(k))
                .sum::<f64>()
        };
        Moments {
            corrected: estimate - (n - 1.0) * (mean - estimate),
            error: (power(2) * (n - 1.0) / n).sqrt(),
            acceleration: match power(2) > 0.0 {
                true => power(3) / (6.0 * power(2).powf(1.5)),
                false => 0.0,
            },
        }
    }
}

/// Computes mAP, or the gain in it, with a weight for each image: how often it counts.
struct Value<'a> {
    set: &'a TestSet<'a>,
    /// The images by descending score, for each method and class.
    orders: Vec<Vec<Vec<u32>>>,
}

impl<'a> Value<'a> {
    fn new(set: &'a TestSet<'a>) -> Self {
        let orders = set.scores.iter().map(|s| ranking(s, set.classes)).collect();
        Value { set, orders }
    }

    /// Returns the value, or NaN if no class has a positive.
    fn of(&self, weights: &[u32]) -> f64 {
        let TestSet {
            classes,
            scores,
            targets,
            ..
        } = self.set;
        let mean = |(order, scores): (&Vec<Vec<u32>>, &Vec<f32>)| {
            let of_class = |class: usize| {
                weighted(&order[class], weights, |image| {
                    let at = image as usize * classes + class;
                    (scores[at], targets[at])
                })
            };
            let values: Vec<f64> = (0..*classes).filter_map(of_class).collect();
            values.iter().sum::<f64>() / values.len() as f64
        };
        let means: Vec<f64> = self.orders.iter().zip(*scores).map(mean).collect();
        match means[..] {
            [first, second] => second - first,
            _ => means[0],
        }
    }
}

/// Returns the images by descending score, for each class.
fn ranking(scores: &[f32], classes: usize) -> Vec<Vec<u32>> {
    (0..classes)
        .map(|class| {
            let score = |image: &u32| scores[*image as usize * classes + class];
            let mut order: Vec<u32> = (0..(scores.len() / classes) as u32).collect();
            order.sort_by(|a, b| score(b).total_cmp(&score(a)));
            order
        })
        .collect()
}

/// Returns the AP if images count as often as `weights` says; `entry` returns score and target.
fn weighted(order: &[u32], weights: &[u32], entry: impl Fn(u32) -> (f32, u8)) -> Option<f64> {
    let (mut taken, mut found, mut counted, mut sum) = (0, 0, 0, 0.0);
    for (k, &image) in order.iter().enumerate() {
        let (score, target) = entry(image);
        taken += weights[image as usize];
        found += weights[image as usize] * u32::from(target);
        let ends = order.get(k + 1).is_none_or(|&next| entry(next).0 != score);
        if ends && found > counted {
            sum += f64::from(found - counted) * f64::from(found) / f64::from(taken);
            counted = found;
        }
    }
    (found > 0).then(|| sum / f64::from(found))
}

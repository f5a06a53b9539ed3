//! How often confidence intervals hold the population's value, by simulation.
//!
//! `cargo bench --bench coverage` prints the tables of `docs/intervals.md`: for each setting the
//! coverage (per cent of the sets) and the mean width (in points) of this program's intervals and
//! of those of the textbooks. `-- SETS TEXTBOOK` takes other numbers of sets than 1,500 for ours
//! (the coverage is then known to about half a point) and 150 for the textbooks' (two points); the
//! latter take nearly all of the time, half an hour on one core.

use dbloss::data::labels::Group;
use dbloss::metrics::{Interval, Jackknife, Ranked, ScoreTable};
use dbloss::rng::Stream;
use statrs::distribution::{ContinuousCDF, Normal};

const LEVEL: f64 = 0.95;
const RESAMPLES: usize = 200;
/// The intervals that are compared; the last is that of this program.
const FORMS: [&str; 5] = ["percentile", "basic", "BCa", "jackknife, normal", "ours"];

/// A population of test sets.
struct Setting {
    name: &'static str,
    images: usize,
    /// Expected positives of each class.
    positives: Vec<f64>,
    /// Margin of the positives of the first class and of the last.
    margins: [f64; 2],
    /// Part of the positives that score like negatives.
    hidden: f64,
    /// Width of the steps to which scores are rounded; 0 for none.
    step: f64,
    /// Correlation of the classes within an image, of labels and of scores.
    correlation: f64,
}

/// What a second method gains in margin, class after class in turn.
const GAINS: [f64; 4] = [0.3, 0.0, 0.6, 0.1];

fn main() {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse().ok());
    let sets = numbers.next().unwrap_or(1_500);
    let textbook_sets = numbers.next().unwrap_or(150).min(sets);
    for gain in [false, true] {
        let title = if gain {
            "A gain, paired by image"
        } else {
            "AP and mAP"
        };
        println!("\n{title}\n");
        println!(
            "| scores | images | classes | positives | truth | {} |",
            FORMS.join(" | ")
        );
        println!(
            "| --- | ---: | ---: | ---: | ---: |{}",
            " ---: |".repeat(FORMS.len())
        );
        for setting in settings() {
            row(&setting, gain, sets, textbook_sets);
        }
    }
}

fn settings() -> Vec<Setting> {
    let kinds = [
        ("weak to strong", [0.5, 3.0], 0.0, 0.0, 0.0),
        ("strong", [2.5, 5.0], 0.0, 0.0, 0.0),
        ("chance", [0.0, 0.0], 0.0, 0.0, 0.0),
        ("two kinds of positives", [3.0, 5.0], 0.4, 0.0, 0.0),
        ("tied", [1.0, 3.0], 0.0, 0.5, 0.0),
        ("correlated classes", [1.0, 3.0], 0.0, 0.0, 0.3),
    ];
    let sizes: [(usize, usize, [f64; 2]); 10] = [
        (400, 1, [3.0; 2]),
        (400, 1, [5.0; 2]),
        (400, 1, [10.0; 2]),
        (400, 1, [30.0; 2]),
        (2_000, 1, [200.0; 2]),
        (400, 10, [5.0, 50.0]),
        (400, 10, [3.0, 6.0]),
        (400, 20, [2.0, 20.0]),
        (400, 20, [2.0; 2]),
        (1_000, 30, [3.0, 20.0]),
    ];
    let mut settings = Vec::new();
    for (name, margins, hidden, step, correlation) in kinds {
        for (images, classes, [least, most]) in sizes {
            let part = |c: usize| c as f64 / (classes.max(2) - 1) as f64;
            let positives = |c: usize| least * f64::powf(most / least, part(c));
            settings.push(Setting {
                name,
                images,
                positives: (0..classes).map(positives).collect(),
                margins,
                hidden,
                step,
                correlation,
            });
        }
    }
    settings
}

impl Setting {
    fn classes(&self) -> usize {
        self.positives.len()
    }

    fn share(&self, class: usize) -> f64 {
        self.positives[class] / self.images as f64
    }

    /// Strong and weak classes in an order that has nothing to do with their positives.
    fn margin(&self, class: usize, better: bool) -> f64 {
        let [first, last] = self.margins;
        let part = match self.classes() {
            1 => 0.5,
            count => (7 * class % count) as f64 / (count - 1) as f64,
        };
        let gain = if better && last > 0.0 {
            GAINS[class % 4]
        } else {
            0.0
        };
        first + part * (last - first) + gain
    }

    /// The population's AP of a class: the mean over its positives of the part of positives among
    /// all that score as high.
    fn population(&self, class: usize, better: bool) -> f64 {
        let normal = Normal::standard();
        let (share, margin) = (self.share(class), self.margin(class, better));
        let negatives = |s: f64| normal.sf(s);
        let found =
            |s: f64| (1.0 - self.hidden) * normal.sf(s - margin) + self.hidden * normal.sf(s);
        let width = if self.step > 0.0 { self.step } else { 1e-3 };
        let mut sum = 0.0;
        let mut above = 0.0;
        for k in (0..(24.0 / width) as usize).rev() {
            let at = -10.0 + (k as f64 + 0.5) * width;
            let recall = found(at);
            // Without ties the precision of a slice is that of its middle.
            let middle = if self.step > 0.0 {
                at
            } else {
                at + width / 2.0
            };
            let (p, n) = (share * found(middle), (1.0 - share) * negatives(middle));
            if p > 0.0 {
                sum += (recall - above) * p / (p + n);
            }
            above = recall;
        }
        sum
    }

    /// Labels, and the scores of one method or of two.
    fn draw(&self, set: usize, gain: bool) -> (Vec<Vec<f32>>, Vec<u8>) {
        let mut stream = Stream::new(0, "coverage", 0, set as u64);
        let normal = Normal::standard();
        let classes = self.classes();
        let thresholds: Vec<f64> = (0..classes)
            .map(|c| normal.inverse_cdf(1.0 - self.share(c)))
            .collect();
        let (own, common) = ((1.0 - self.correlation).sqrt(), self.correlation.sqrt());
        let methods = 1 + usize::from(gain);
        let mut scores = vec![Vec::with_capacity(self.images * classes); methods];
        let mut targets = Vec::with_capacity(self.images * classes);
        for _ in 0..self.images {
            let of_image = [stream.normal(), stream.normal()];
            for (class, threshold) in thresholds.iter().enumerate() {
                let positive = own * stream.normal() + common * of_image[0] > *threshold;
                targets.push(u8::from(positive));
                let shown = positive && !stream.chance(self.hidden);
                let both = stream.normal();
                for (method, scores) in scores.iter_mut().enumerate() {
                    let noise = match gain {
                        true => 0.7f64.sqrt() * both + 0.3f64.sqrt() * stream.normal(),
                        false => both,
                    };
                    let margin = if shown {
                        self.margin(class, method == 1)
                    } else {
                        0.0
                    };
                    let mut score = own * noise + common * of_image[1] + margin;
                    if self.step > 0.0 {
                        score = (score / self.step).round() * self.step;
                    }
                    scores.push(score as f32);
                }
            }
        }
        (scores, targets)
    }
}

/// How often an interval held the truth, and how wide it was.
#[derive(Default, Clone, Copy)]
struct Tally {
    sets: usize,
    covered: usize,
    width: f64,
}

impl Tally {
    fn add(&mut self, (low, high): (f64, f64), truth: f64) {
        self.sets += 1;
        self.covered += usize::from(low <= truth && truth <= high);
        self.width += high - low;
    }

    fn cell(&self) -> String {
        let sets = self.sets as f64;
        match self.sets {
            0 => "-".to_owned(),
            _ => format!(
                "{:.1} ({:.1})",
                100.0 * self.covered as f64 / sets,
                100.0 * self.width / sets
            ),
        }
    }
}

fn row(setting: &Setting, gain: bool, sets: usize, textbook_sets: usize) {
    let classes = setting.classes();
    let population = |class: usize| {
        let baseline = if gain {
            setting.population(class, false)
        } else {
            0.0
        };
        setting.population(class, gain) - baseline
    };
    let values: Vec<f64> = (0..classes).map(population).collect();
    let mut tallies = [Tally::default(); FORMS.len()];
    let (mut truths, mut doubtful) = (0.0, 0);
    for set in 0..sets {
        let (scores, targets) = setting.draw(set, gain);
        let has = |class: &usize| {
            targets
                .iter()
                .skip(*class)
                .step_by(classes)
                .any(|&t| t == 1)
        };
        let defined: Vec<f64> = (0..classes).filter(has).map(|c| values[c]).collect();
        if defined.is_empty() {
            continue;
        }
        let truth = defined.iter().sum::<f64>() / defined.len() as f64;
        let ours = ours(classes, &scores, &targets);
        assert!((ours.low..=ours.high).contains(&ours.estimate), "{ours:?}");
        truths += truth;
        doubtful += usize::from(ours.is_doubtful());
        let [textbook @ .., own] = &mut tallies;
        own.add((ours.low, ours.high), truth);
        if set < textbook_sets {
            let ends = textbooks(setting, &scores, &targets, ours.estimate);
            for (tally, ends) in textbook.iter_mut().zip(ends) {
                tally.add(ends, truth);
            }
        }
    }
    let positives = match (setting.positives[0], setting.positives[classes - 1]) {
        (first, last) if first == last => format!("{first}"),
        (first, last) => format!("{first} to {last:.0}"),
    };
    let total = tallies[FORMS.len() - 1].sets;
    let mark = if 2 * doubtful > total { " *" } else { "" };
    println!(
        "| {} | {} | {classes} | {positives} | {:.1} | {}{mark} |",
        setting.name,
        setting.images,
        100.0 * truths / total as f64,
        tallies.map(|tally| tally.cell()).join(" | ")
    );
}

/// This program's interval of a mAP, or with two sets of scores of a gain.
fn ours(classes: usize, scores: &[Vec<f32>], targets: &[u8]) -> Interval {
    let groups = vec![Group::Tail; classes];
    let of_method = |scores: &Vec<f32>| {
        let table = ScoreTable::new(scores, targets, classes).expect("a table");
        Jackknife::new(&Ranked::new(&table).expect("a ranking"), &groups)
    };
    let jackknives: Vec<Jackknife> = scores.iter().map(of_method).collect();
    let intervals = match &jackknives[..] {
        [first, second] => second.gain_over(first).intervals(LEVEL),
        others => others[0].intervals(LEVEL),
    };
    intervals.total.expect("a class with a positive")
}

/// The ends of the other forms, done the slow and simple way.
fn textbooks(
    setting: &Setting,
    scores: &[Vec<f32>],
    targets: &[u8],
    estimate: f64,
) -> [(f64, f64); FORMS.len() - 1] {
    let classes = setting.classes();
    let orders: Vec<Vec<Vec<u32>>> = scores.iter().map(|s| ranking(s, classes)).collect();
    let ties =
        |method: usize, class: usize, image: u32| scores[method][image as usize * classes + class];
    let value = |weights: &[u32]| -> f64 {
        let means: Vec<f64> = (0..orders.len())
            .map(|method| {
                let of_class = |class: usize| {
                    weighted(&orders[method][class], weights, |image| {
                        (
                            ties(method, class, image),
                            targets[image as usize * classes + class],
                        )
                    })
                };
                let values: Vec<f64> = (0..classes).filter_map(of_class).collect();
                values.iter().sum::<f64>() / values.len() as f64
            })
            .collect();
        if means.len() == 2 {
            means[1] - means[0]
        } else {
            means[0]
        }
    };
    let mut weights = vec![1u32; setting.images];
    let left_out: Vec<f64> = (0..setting.images)
        .map(|image| {
            weights[image] = 0;
            let left = value(&weights);
            weights[image] = 1;
            if left.is_nan() { estimate } else { left }
        })
        .collect();
    let n = setting.images as f64;
    let mean = left_out.iter().sum::<f64>() / n;
    let power = |k: i32| {
        left_out
            .iter()
            .map(|left| (mean - left).powi(k))
            .sum::<f64>()
    };
    let error = (power(2) * (n - 1.0) / n).sqrt();
    let corrected = estimate - (n - 1.0) * (mean - estimate);
    let acceleration = if power(2) > 0.0 {
        power(3) / (6.0 * power(2).powf(1.5))
    } else {
        0.0
    };

    let mut stream = Stream::new(1, "coverage bootstrap", 0, 0);
    let mut samples: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            weights.fill(0);
            for _ in 0..setting.images {
                weights[stream.below(setting.images)] += 1;
            }
            value(&weights)
        })
        .filter(|value| !value.is_nan())
        .collect();
    samples.sort_by(f64::total_cmp);
    let normal = Normal::standard();
    let z = normal.inverse_cdf((1.0 + LEVEL) / 2.0);
    let quantile = |share: f64| match samples.len() {
        0 => estimate,
        count => samples[((share * count as f64) as usize).min(count - 1)],
    };
    let (low, high) = (quantile(0.025), quantile(0.975));
    let below = samples.iter().filter(|&&value| value < estimate).count() as f64;
    let part = ((below + 0.5) / (samples.len() as f64 + 1.0)).clamp(1e-3, 1.0 - 1e-3);
    let shift = normal.inverse_cdf(part);
    let adjusted =
        |z: f64| normal.cdf(shift + (shift + z) / (1.0 - acceleration * (shift + z)).max(1e-3));
    [
        (low, high),
        (2.0 * estimate - high, 2.0 * estimate - low),
        (quantile(adjusted(-z)), quantile(adjusted(z))),
        (corrected - z * error, corrected + z * error),
    ]
}

/// The images of every class by descending score.
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

/// AP of images that count as often as `weights` says; `entry` gives score and target.
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

//! Populations of test sets with known AP.

use dbloss::rng::Stream;
use statrs::distribution::{ContinuousCDF, Normal};

/// A population of test sets.
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) images: usize,
    /// Expected number of positives of each class.
    pub(super) positives: Vec<f64>,
    /// Margins of the positives of the first and of the last class.
    margins: [f64; 2],
    /// Fraction of the positives that score like negatives.
    hidden: f64,
    /// Step to which scores are rounded; 0 for none.
    step: f64,
    /// Correlation of the classes within an image, both of labels and of scores.
    correlation: f64,
}

/// Gain in margin of a second method, for the classes in rotation.
const GAINS: [f64; 4] = [0.3, 0.0, 0.6, 0.1];
/// Six kinds of scores in ten sizes.
pub(super) fn settings() -> Vec<Setting> {
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
    /// Returns the number of classes.
    pub(super) fn classes(&self) -> usize {
        self.positives.len()
    }

    pub(super) fn share(&self, class: usize) -> f64 {
        self.positives[class] / self.images as f64
    }

    /// Returns the margin of a class. Strong and weak classes come in an order unrelated to their
    /// numbers of positives.
    pub(super) fn margin(&self, class: usize, better: bool) -> f64 {
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

    /// Returns the population's AP of a class: the mean over its positives of the precision among
    /// all images with at least the same score.
    pub(super) fn population(&self, class: usize, better: bool) -> f64 {
        self.population_at(class, self.margin(class, better), 1e-3)
    }

    /// Returns the same for another margin, integrating over slices of the scores of the given
    /// `width`, unless they are rounded.
    pub(super) fn population_at(&self, class: usize, margin: f64, width: f64) -> f64 {
        let normal = Normal::standard();
        let share = self.share(class);
        let negatives = |s: f64| normal.sf(s);
        let found =
            |s: f64| (1.0 - self.hidden) * normal.sf(s - margin) + self.hidden * normal.sf(s);
        let width = if self.step > 0.0 { self.step } else { width };
        let mut sum = 0.0;
        let mut above = 0.0;
        for k in (0..(24.0 / width) as usize).rev() {
            let at = -10.0 + (k as f64 + 0.5) * width;
            let recall = found(at);
            // Without ties, the precision of a slice is that at its middle.
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

    /// Draws labels, and the scores of one or two methods.
    pub(super) fn draw(&self, set: usize, gain: bool) -> (Vec<Vec<f32>>, Vec<u8>) {
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

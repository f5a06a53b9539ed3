//! Estimates how often intervals of a gain contain the methods' gain over all test images *and* all
//! trainings: with several runs of each method, on one training subset or several.

use dbloss::data::labels::Group;
use dbloss::metrics::significance::{mean_and_deviation, variance_over_runs};
use dbloss::metrics::{Jackknife, PerGroup, Ranked, ScoreTable};
use dbloss::rng::Stream;
use statrs::distribution::{Continuous, ContinuousCDF, Normal, StudentsT};

use super::Tally;
use super::population::Setting;

const LEVEL: f64 = 0.95;

/// Number of subsets, and of seeds on each.
const DESIGNS: [(usize, usize); 4] = [(1, 3), (1, 5), (3, 5), (5, 3)];

/// Standard deviation of a class's margin over subsets, and over the seeds of a subset: small and
/// large.
const EFFECTS: [(f64, f64); 2] = [(0.1, 0.1), (0.3, 0.3)];

/// Variance of the noise of an image and class: the parts shared by all networks, shared by the
/// networks of a method, and specific to each network.
const NOISE: [f64; 3] = [0.7, 0.2, 0.1];

/// Returns whether a setting is simulated, by its kind of scores and its size.
fn is_drawn(setting: &Setting) -> bool {
    let sizes = [(10, 5.0), (20, 2.0)];
    let size = (setting.classes(), setting.positives[0]);
    let last = setting.positives[setting.classes() - 1];
    ["weak to strong", "strong"].contains(&setting.name) && sizes.contains(&size) && last > 10.0
}

/// Prints the table for the settings whose names `chosen` accepts.
pub(super) fn table(settings: &[Setting], chosen: impl Fn(&str) -> bool, sets: usize) {
    println!("\nA gain over images, seeds and subsets\n");
    println!(
        "| scores | classes | positives | subsets x seeds | margin over subsets, seeds | truth | \
         images alone | t over runs | images and seeds |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let drawn = settings.iter().filter(|s| is_drawn(s) && chosen(s.name));
    for setting in drawn {
        let curves = Curves::new(setting);
        for effects in EFFECTS {
            for design in DESIGNS {
                row(setting, &curves, design, effects, sets);
            }
        }
    }
}

fn row(
    setting: &Setting,
    curves: &Curves,
    design: (usize, usize),
    effects: (f64, f64),
    sets: usize,
) {
    let [mut images, mut seeds, mut both] = [Tally::default(); 3];
    let mut truths = 0.0;
    for set in 0..sets {
        let drawn = Drawn::new(setting, design, effects, set);
        let Some(found) = drawn.intervals(setting) else {
            continue;
        };
        let truth = drawn.truth(setting, curves, design, effects);
        truths += truth;
        images.add(found[0], truth);
        seeds.add(found[1], truth);
        both.add(found[2], truth);
    }
    let (first, last) = (
        setting.positives[0],
        setting.positives[setting.classes() - 1],
    );
    println!(
        "| {} | {} | {first} to {last:.0} | {} x {} | {}, {} | {:.1} | {} | {} | {} |",
        setting.name,
        setting.classes(),
        design.0,
        design.1,
        effects.0,
        effects.1,
        100.0 * truths / images.sets as f64,
        images.cell(),
        seeds.cell(),
        both.cell()
    );
}

/// AP of each class as a function of its margin.
struct Curves(Vec<Vec<f64>>);

impl Curves {
    const LOW: f64 = -3.0;
    const STEP: f64 = 0.05;
    const POINTS: usize = 260;

    fn new(setting: &Setting) -> Self {
        let at = |point: usize| Self::LOW + point as f64 * Self::STEP;
        let of_class = |class: usize| {
            let points = 0..Self::POINTS;
            points
                .map(|point| setting.population_at(class, at(point), 0.01))
                .collect()
        };
        Curves((0..setting.classes()).map(of_class).collect())
    }

    fn at(&self, class: usize, margin: f64) -> f64 {
        let place = (margin - Self::LOW) / Self::STEP;
        let low = (place.max(0.0) as usize).min(Self::POINTS - 2);
        let part = (place - low as f64).clamp(0.0, 1.0);
        let curve = &self.0[class];
        curve[low] * (1.0 - part) + curve[low + 1] * part
    }

    /// Returns the expected AP if the margin has a normal distribution around `margin` with this
    /// `deviation`.
    fn expected(&self, class: usize, margin: f64, deviation: f64) -> f64 {
        let normal = Normal::standard();
        let (mut sum, mut weights) = (0.0, 0.0);
        for k in -20..=20 {
            let z = f64::from(k) / 4.0;
            let weight = normal.pdf(z);
            sum += weight * self.at(class, margin + z * deviation);
            weights += weight;
        }
        sum / weights
    }
}

/// The effects and scores of the runs of one method.
struct Method {
    /// For each subset and class, the effect of the subset on the margin.
    subsets: Vec<Vec<f64>>,
    /// For each run (subset by subset), images x classes.
    scores: Vec<Vec<f32>>,
}

/// A test set with the scores of all runs of two methods.
struct Drawn {
    methods: [Method; 2],
    /// The subset of each run.
    runs: Vec<usize>,
    targets: Vec<u8>,
}

/// Draws the effects of two methods on each class, with the given standard deviation. Half of the
/// variance is shared by both methods, and half of each part is the same for all classes.
fn effects(stream: &mut Stream, classes: usize, deviation: f64) -> [Vec<f64>; 2] {
    let half = 0.5f64.sqrt();
    let mut part = || {
        let all = stream.normal();
        let mut of_class = || half * all + half * stream.normal();
        (0..classes).map(|_| of_class()).collect::<Vec<f64>>()
    };
    let [shared, first, second] = [part(), part(), part()];
    [first, second].map(|own| {
        let both = own.iter().zip(&shared);
        both.map(|(own, shared)| deviation * half * (own + shared))
            .collect()
    })
}

impl Drawn {
    fn new(
        setting: &Setting,
        (subsets, seeds): (usize, usize),
        (over_subsets, over_seeds): (f64, f64),
        set: usize,
    ) -> Self {
        let mut stream = Stream::new(0, "coverage runs", 0, set as u64);
        let normal = Normal::standard();
        let classes = setting.classes();
        let mut of_subsets: [Vec<Vec<f64>>; 2] = Default::default();
        // For each method and run, the margins of the classes.
        let mut margins: [Vec<Vec<f64>>; 2] = Default::default();
        let mut runs = Vec::new();
        for subset in 0..subsets {
            let by_subset = effects(&mut stream, classes, over_subsets);
            for _ in 0..seeds {
                runs.push(subset);
                let by_seed = effects(&mut stream, classes, over_seeds);
                for method in 0..2 {
                    let margin = |class: usize| {
                        let fixed = setting.margin(class, method == 1);
                        fixed + by_subset[method][class] + by_seed[method][class]
                    };
                    margins[method].push((0..classes).map(margin).collect());
                }
            }
            for (all, own) in of_subsets.iter_mut().zip(by_subset) {
                all.push(own);
            }
        }
        let thresholds: Vec<f64> = (0..classes)
            .map(|class| normal.inverse_cdf(1.0 - setting.share(class)))
            .collect();
        let mut targets = Vec::with_capacity(setting.images * classes);
        let mut scores = [vec![Vec::new(); runs.len()], vec![Vec::new(); runs.len()]];
        let parts = NOISE.map(f64::sqrt);
        for _ in 0..setting.images {
            for (class, threshold) in thresholds.iter().enumerate() {
                let positive = stream.normal() > *threshold;
                targets.push(u8::from(positive));
                let all = parts[0] * stream.normal();
                for (scores, margins) in scores.iter_mut().zip(&margins) {
                    let of_method = all + parts[1] * stream.normal();
                    for (scores, margins) in scores.iter_mut().zip(margins) {
                        let margin = if positive { margins[class] } else { 0.0 };
                        let score = of_method + parts[2] * stream.normal() + margin;
                        scores.push(score as f32);
                    }
                }
            }
        }
        let [first, second] = of_subsets;
        let [of_first, of_second] = scores;
        let method = |subsets, scores| Method { subsets, scores };
        Drawn {
            methods: [method(first, of_first), method(second, of_second)],
            runs,
            targets,
        }
    }

    /// Returns the gain of the second method over all trainings and test images: given the subset
    /// if there is just one, otherwise over all subsets. Only classes with a positive count.
    fn truth(
        &self,
        setting: &Setting,
        curves: &Curves,
        (subsets, _): (usize, usize),
        (over_subsets, over_seeds): (f64, f64),
    ) -> f64 {
        let classes = setting.classes();
        let defined: Vec<usize> = (0..classes)
            .filter(|&class| {
                self.targets
                    .iter()
                    .skip(class)
                    .step_by(classes)
                    .any(|&t| t == 1)
            })
            .collect();
        let of = |method: usize, class: usize| {
            let margin = setting.margin(class, method == 1);
            match subsets {
                1 => {
                    let here = self.methods[method].subsets[0][class];
                    curves.expected(class, margin + here, over_seeds)
                }
                _ => curves.expected(class, margin, over_subsets.hypot(over_seeds)),
            }
        };
        let gains = defined.iter().map(|&class| of(1, class) - of(0, class));
        gains.sum::<f64>() / defined.len() as f64
    }

    /// Returns the ends of three intervals: over the images alone, Student's t over the differences
    /// between runs, and this program's over both. `None` if no class has a positive.
    fn intervals(&self, setting: &Setting) -> Option<[(f64, f64); 3]> {
        let classes = setting.classes();
        let groups = vec![Group::Tail; classes];
        let jackknives = self.methods.each_ref().map(|method| -> Vec<Jackknife> {
            let of_run = |scores: &Vec<f32>| {
                let table = ScoreTable::new(scores, &self.targets, classes).expect("a table");
                Jackknife::new(&Ranked::new(&table).expect("a ranking"), &groups)
            };
            method.scores.iter().map(of_run).collect()
        });
        let [first, second] = &jackknives;
        let names: Vec<String> = self.runs.iter().map(usize::to_string).collect();
        let total = |jackknife: &Jackknife| jackknife.estimates().total;
        let differences: Option<Vec<(&str, f64)>> = (names.iter().zip(first.iter().zip(second)))
            .map(|(name, (first, second))| Some((name.as_str(), total(second)? - total(first)?)))
            .collect();
        let differences = differences?;
        let gain = Jackknife::mean(second)?.gain_over(&Jackknife::mean(first)?);
        let over_runs = PerGroup {
            total: variance_over_runs(&differences),
            ..PerGroup::default()
        };
        let images = gain.intervals(LEVEL).total?;
        let both = gain.intervals_over_runs(&over_runs, LEVEL).total?;
        let values: Vec<f64> = differences.iter().map(|(_, value)| *value).collect();
        let (mean, deviation) = mean_and_deviation(&values);
        let n = values.len() as f64;
        let student = StudentsT::new(0.0, 1.0, n - 1.0).ok()?;
        let reach = student.inverse_cdf((1.0 + LEVEL) / 2.0) * deviation? / n.sqrt();
        let mean = mean?;
        Some([
            (images.low, images.high),
            (mean - reach, mean + reach),
            (both.low, both.high),
        ])
    }
}

use proptest::prelude::*;

use super::*;
use crate::data::labels::Group;
use crate::rng::Stream;

/// Returns random scores, with ties, and targets, images x classes; the last class has no positive.
fn random(seed: u64, images: usize, classes: usize, share: f64) -> (Vec<f32>, Vec<u8>) {
    let mut stream = Stream::new(seed, "interval tests", 0, 0);
    let targets: Vec<u8> = (0..images * classes)
        .map(|i| u8::from(i % classes + 1 < classes && stream.chance(share)))
        .collect();
    let scores = (targets.iter())
        .map(|&target| ((4.0 * stream.normal()).round() + 3.0 * f64::from(target)) as f32)
        .collect();
    (scores, targets)
}

fn jackknife(scores: &[f32], targets: &[u8], groups: &[Group]) -> Jackknife {
    let table = ScoreTable::new(scores, targets, groups.len()).unwrap();
    Jackknife::new(&Ranked::new(&table).unwrap(), groups)
}

/// Computes bias and standard error (without the unseen variance) by leaving out rows and computing
/// AP anew.
fn by_leaving_out(scores: &[f32], targets: &[u8]) -> (f64, f64) {
    let images = scores.len();
    let ap = average_precision(scores, targets, ApMethod::Area).unwrap();
    let changes: Vec<f64> = (0..images)
        .map(|image| {
            let (mut scores, mut targets) = (scores.to_vec(), targets.to_vec());
            scores.remove(image);
            targets.remove(image);
            average_precision(&scores, &targets, ApMethod::Area).map_or(0.0, |left| left - ap)
        })
        .collect();
    let n = images as f64;
    let mean = changes.iter().sum::<f64>() / n;
    let squares: f64 = changes.iter().map(|c| (c - mean).powi(2)).sum();
    ((n - 1.0) * mean, squares * (n - 1.0) / n)
}

#[test]
fn the_jackknife_is_that_of_left_out_rows() {
    for (seed, images) in [(1, 12), (2, 40), (3, 90), (4, 7)] {
        let (scores, targets) = random(seed, images, 4, 0.3);
        let table = ScoreTable::new(&scores, &targets, 4).unwrap();
        let own = class_intervals(&Ranked::new(&table).unwrap(), 0.95);
        for (class, own) in own.iter().enumerate() {
            let (scores, targets): (Vec<f32>, Vec<u8>) = table.class(class).unzip();
            let positives = targets.iter().filter(|&&t| t == 1).count();
            assert_eq!(own.is_some(), positives > 0);
            let Some(own) = own else { continue };
            let ap = average_precision(&scores, &targets, ApMethod::Area).unwrap();
            let (_, variance) = by_leaving_out(&scores, &targets);
            let unseen = (ap / (2.0 * positives as f64)).powi(2);
            assert!((own.estimate - ap).abs() < 1e-12);
            let expected = (variance + unseen).sqrt();
            assert!(
                (own.standard_error - expected).abs() < 1e-12,
                "{own:?} {expected}"
            );
            assert_eq!(own.few_positives, usize::from(positives < FEW_POSITIVES));
        }
    }
}

/// The gain of a method over another pairs the images: what helps both methods does not reduce it.
/// With a single class, the difference of two jackknives is the jackknife of the difference.
#[test]
fn a_gain_pairs_the_images_and_its_bias_is_taken_out() {
    let (scores, targets) = random(5, 60, 2, 0.3);
    let better: Vec<f32> = (scores.iter().zip(&targets))
        .map(|(score, &target)| score + 4.0 * f32::from(target))
        .collect();
    let groups = [Group::Medium; 2];
    let [first, second] = [&scores, &better].map(|scores| jackknife(scores, &targets, &groups));
    let own = second.gain_over(&first).intervals(0.95);
    assert_eq!(own.head, None, "there is no head class");
    let total = own.total.unwrap();
    let column = |scores: &[f32]| -> Vec<f32> { scores.iter().copied().step_by(2).collect() };
    let labels: Vec<u8> = targets.iter().copied().step_by(2).collect();
    let ap = |scores: &[f32]| average_precision(&column(scores), &labels, ApMethod::Area).unwrap();
    assert!((total.estimate - (ap(&better) - ap(&scores))).abs() < 1e-12);
    let bias =
        by_leaving_out(&column(&better), &labels).0 - by_leaving_out(&column(&scores), &labels).0;
    let middle = (total.low + total.high) / 2.0;
    assert!(
        (middle - (total.estimate - bias)).abs() < 1e-9,
        "{total:?} {bias}"
    );
    assert!(
        total.low > 0.0 && total.p_value.unwrap() < 0.05,
        "{total:?}"
    );

    let same = first.gain_over(&first).intervals(0.95).total.unwrap();
    assert_eq!((same.estimate, same.p_value), (0.0, Some(1.0)));
    assert!(
        same.low < 0.0 && same.high > 0.0,
        "agreement on few is no proof"
    );
}

/// If all positives rank first, the images show no spread. The interval is then about that of
/// Clopper and Pearson for as many successes in as many trials, whose lower end is 0.025^(1/P).
#[test]
fn perfect_classes_have_the_interval_of_a_proportion() {
    for positives in [5usize, 10, 30, 100] {
        let scores: Vec<f32> = (0..400).map(|i| -(i as f32)).collect();
        let targets: Vec<u8> = (0..400).map(|i| u8::from(i < positives)).collect();
        let table = ScoreTable::new(&scores, &targets, 1).unwrap();
        let own = class_intervals(&Ranked::new(&table).unwrap(), 0.95)[0].unwrap();
        assert_eq!((own.estimate, own.high), (1.0, 1.0));
        let expected = 0.025f64.powf(1.0 / positives as f64);
        assert!(
            (own.low - expected).abs() < 0.06,
            "{positives}: {own:?} {expected}"
        );
    }
}

/// The mean over identical runs is that of one run; a group that one run lacks is undefined.
#[test]
fn the_mean_over_seeds() {
    use Group::*;
    let (scores, targets) = random(6, 80, 5, 0.2);
    let groups = [Head, Head, Medium, Tail, Tail];
    let run = jackknife(&scores, &targets, &groups);
    let mean = Jackknife::mean([&run, &run, &run]).unwrap();
    let (mean, alone) = (mean.intervals(0.9), run.intervals(0.9));
    for scope in Scope::ALL {
        let (own, expected) = (mean[scope].unwrap(), alone[scope].unwrap());
        assert!((own.estimate - expected.estimate).abs() < 1e-12);
        assert!((own.low - expected.low).abs() < 1e-9 && (own.high - expected.high).abs() < 1e-9);
        assert_eq!(
            (own.classes, own.few_positives),
            (expected.classes, expected.few_positives)
        );
    }
    let values = {
        let table = ScoreTable::new(&scores, &targets, 5).unwrap();
        average_precision_per_class(&table, ApMethod::Area)
    };
    let expected = GroupScores::new(&values, &groups).means;
    for (scope, own) in run.estimates().iter() {
        assert!((own.unwrap() - expected[scope].unwrap()).abs() < 1e-12);
    }
    let without = jackknife(&scores, &targets, &[Head, Head, Medium, Medium, Tail]);
    assert_eq!(
        without.estimates().tail,
        None,
        "the last class has no positive"
    );
    let mean = Jackknife::mean([&run, &without]).unwrap();
    assert_eq!(mean.intervals(0.95).tail, None);
    assert!(Jackknife::mean([]).is_none());
}

#[test]
fn threads_do_not_change_a_bit() {
    let (scores, targets) = random(7, 300, 40, 0.1);
    let groups: Vec<Group> = (0..40).map(|i| Group::ALL[i % 3]).collect();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let work = || jackknife(&scores, &targets, &groups).intervals(0.95);
        pool.build().unwrap().install(work)
    };
    assert_eq!(run(1), run(3));
}

/// Computes mAP of the population by integrating over the scores of the positives: positives of
/// class c have normal scores `margins[c]` higher than the negatives, and are `shares[c]` of all
/// images.
fn population(margins: &[f64], shares: &[f64]) -> f64 {
    use statrs::distribution::{ContinuousCDF, Normal};
    let normal = Normal::standard();
    let of_class = |(&margin, &share): (&f64, &f64)| {
        let steps = 4_000;
        let precision = |step: usize| {
            // The middle of a slice of the positives; all slices hold equally many.
            let recall = (step as f64 + 0.5) / f64::from(steps as u32);
            let threshold = margin + normal.inverse_cdf(1.0 - recall);
            share * recall / (share * recall + (1.0 - share) * normal.sf(threshold))
        };
        (0..steps).map(precision).sum::<f64>() / steps as f64
    };
    margins.iter().zip(shares).map(of_class).sum::<f64>() / margins.len() as f64
}

/// Ten classes with 5 to 50 positives among 400 images, as in a tail. Percentile intervals of a
/// bootstrap contain the population's mAP in at most 81 of 100 such sets; `cargo bench --bench
/// coverage` runs the same at length.
#[test]
fn the_interval_covers() {
    let (images, classes, sets) = (400, 10, 100);
    let share = |c: usize| 5.0 * 10f64.powf(c as f64 / 9.0) / images as f64;
    let shares: Vec<f64> = (0..classes).map(share).collect();
    let margins: Vec<f64> = (0..classes)
        .map(|c| 0.5 + 0.25 * ((7 * c) % 11) as f64)
        .collect();
    let truth = population(&margins, &shares);
    let mut covered = 0;
    for set in 0..sets {
        let mut stream = Stream::new(set, "coverage", 0, 0);
        let targets: Vec<u8> = (0..images * classes)
            .map(|i| u8::from(stream.chance(shares[i % classes])))
            .collect();
        let scores: Vec<f32> = (targets.iter().enumerate())
            .map(|(i, &t)| (stream.normal() + margins[i % classes] * f64::from(t)) as f32)
            .collect();
        let own = jackknife(&scores, &targets, &[Group::Tail; 10])
            .intervals(0.95)
            .total
            .unwrap();
        covered += u32::from(own.low <= truth && truth <= own.high);
    }
    assert!((91..=100).contains(&covered), "{covered} of 100");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_interval_holds_its_estimate_and_stays_in_range(
        seed in 0u64..10_000, images in 1usize..120, share in 0.01f64..0.99, level in 0.5f64..0.999,
    ) {
        let (scores, targets) = random(seed, images, 4, share);
        let groups = [Group::Head, Group::Tail, Group::Tail, Group::Medium];
        let table = ScoreTable::new(&scores, &targets, 4).unwrap();
        let ranked = Ranked::new(&table).unwrap();
        let own = Jackknife::new(&ranked, &groups);
        let means = own.intervals(level);
        let means = means.iter().map(|(_, interval)| *interval);
        let intervals = means.chain(class_intervals(&ranked, level));
        for interval in intervals.flatten() {
            prop_assert!(interval.low <= interval.estimate && interval.estimate <= interval.high);
            prop_assert!(0.0 <= interval.low && interval.high <= 1.0, "{:?}", interval);
            prop_assert!(interval.low < interval.high);
        }
        let (other, _) = random(seed + 1, images, 4, share);
        let other = jackknife(&other, &targets, &groups);
        let gains = own.gain_over(&other).intervals(level);
        for interval in gains.iter().filter_map(|(_, interval)| *interval) {
            prop_assert!(interval.low <= interval.estimate && interval.estimate <= interval.high);
            prop_assert!(-1.0 <= interval.low && interval.high <= 1.0, "{:?}", interval);
            // A gain is significant exactly when its interval excludes 0.
            let p_value = interval.p_value.unwrap();
            let excludes = interval.low > 0.0 || interval.high < 0.0;
            prop_assert!((0.0..=1.0).contains(&p_value));
            prop_assert_eq!(excludes, p_value < 1.0 - level, "{:?}", interval);
        }
    }
}

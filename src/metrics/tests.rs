use proptest::prelude::*;

use super::*;
use crate::rng::Stream;

/// Returns random scores, with ties, and targets, images x classes; the last class has no positive.
fn random(seed: u64, images: usize, classes: usize) -> (Vec<f32>, Vec<u8>) {
    let mut stream = Stream::new(seed, "metric tests", 0, 0);
    let scores = (0..images * classes)
        .map(|_| (8.0 * stream.normal()).round() as f32 / 4.0)
        .collect();
    let targets = (0..images * classes)
        .map(|i| u8::from(i % classes + 1 < classes && stream.chance(0.25)))
        .collect();
    (scores, targets)
}

/// Computes AP by its definition: precision and recall at each distinct score.
fn by_definition(scores: &[f32], targets: &[u8]) -> Option<f64> {
    let positives = targets.iter().filter(|&&t| t == 1).count() as f64;
    let mut thresholds = scores.to_vec();
    thresholds.sort_by(|a, b| b.total_cmp(a));
    thresholds.dedup();
    let (mut sum, mut last) = (0.0, 0.0);
    for threshold in thresholds {
        let chosen = || (0..scores.len()).filter(|&i| scores[i] >= threshold);
        let found = chosen().filter(|&i| targets[i] == 1).count() as f64;
        sum += (found / positives - last) * found / chosen().count() as f64;
        last = found / positives;
    }
    (positives > 0.0).then_some(sum)
}

#[test]
fn known_values() {
    let ap = |scores: &[f64], targets: &[u8]| average_precision(scores, targets, ApMethod::Area);
    assert_eq!(
        ap(&[0.9, 0.8, 0.7], &[1, 0, 1]),
        Some((1.0 + 2.0 / 3.0) / 2.0)
    );
    assert_eq!(ap(&[0.5; 4], &[1, 0, 0, 0]), Some(0.25));
    assert_eq!(ap(&[0.0, -0.0], &[0, 1]), Some(0.5), "0 and -0 are tied");
    assert_eq!(ap(&[1.0], &[0]), None);
    assert_eq!(ap(&[], &[]), None);
    let eleven =
        |targets: &[u8]| average_precision(&[0.9, 0.8, 0.7, 0.6], targets, ApMethod::ElevenPoint);
    // Precision 1 up to recall 1/2 (six points), then 2/3 (five points).
    let expected = (6.0 + 5.0 * 2.0 / 3.0) / 11.0;
    assert!((eleven(&[1, 0, 1, 0]).unwrap() - expected).abs() < 1e-15);
    assert_eq!(eleven(&[1, 1, 0, 0]), Some(1.0));
    assert_eq!(eleven(&[0; 4]), None);
    assert_eq!(area_under_roc(&[0.9, 0.8, 0.7], &[1, 0, 1]), Some(0.5));
    assert_eq!(area_under_roc(&[0.5, 0.5], &[1, 0]), Some(0.5));
    assert_eq!(area_under_roc(&[0.5, 0.5], &[1, 1]), None);
}

#[test]
fn random_scores_have_the_ap_of_the_class_frequency() {
    let mut stream = Stream::new(1, "metric tests", 0, 0);
    let scores: Vec<f32> = (0..200_000).map(|_| stream.uniform() as f32).collect();
    let targets: Vec<u8> = (0..200_000)
        .map(|_| u8::from(stream.chance(0.077)))
        .collect();
    let ap = average_precision(&scores, &targets, ApMethod::Area).unwrap();
    assert!((ap - 0.077).abs() < 0.003, "{ap}");
}

#[test]
fn thresholds_averages_and_ranking_by_hand() {
    // Two images and four classes; the last has neither positives nor predictions.
    let scores = [0.9, 0.6, 0.2, 0.1, 0.3, 0.7, 0.5, 0.0f64];
    let targets = [1, 0, 1, 0, 1, 1, 0, 0];
    let table = ScoreTable::new(&scores, &targets, 4).unwrap();
    let at_half = threshold_scores(&table, &[0.5]).unwrap();
    let class = &at_half.per_class;
    assert_eq!(
        (class[0].precision(), class[0].recall()),
        (Some(1.0), Some(0.5))
    );
    assert_eq!(
        (class[1].precision(), class[1].recall()),
        (Some(0.5), Some(1.0))
    );
    // 0.5 is not above 0.5, so nothing is predicted for the third class.
    assert_eq!((class[2].precision(), class[2].recall()), (None, Some(0.0)));
    assert_eq!((class[2].f1(), class[3].f1()), (Some(0.0), None));
    assert_eq!(at_half.undefined, [2, 1, 1]);
    assert_eq!(at_half.macro_average.precision, Some(1.5 / 4.0));
    assert_eq!(at_half.micro.precision, Some(2.0 / 3.0));
    assert_eq!(at_half.micro.recall, Some(0.5));
    assert_eq!(at_half.accuracy, Some(5.0 / 8.0));
    assert_eq!(at_half.exact_match, Some(0.0));
    let ranking = ranking_scores(&at_half);
    assert_eq!(
        ranking.class_precision,
        Some(0.5),
        "the fourth class is left out"
    );
    assert_eq!(ranking.class_recall, Some(0.5));
    assert_eq!(ranking.class_f1, Some(0.5));
    let top = top_k_scores(&table, 1, None);
    assert_eq!(top.overall_precision, Some(1.0));
    assert_eq!(top.overall_recall, Some(0.5));
    let top = top_k_scores(&table, 3, Some(0.55));
    assert_eq!(top.overall_precision, Some(2.0 / 3.0));
    let everything = top_k_scores(&table, 9, None);
    assert_eq!(everything.overall_recall, Some(1.0));
}

#[test]
fn fitted_thresholds_have_the_best_f1() {
    let (scores, targets) = random(3, 80, 6);
    let table = ScoreTable::new(&scores, &targets, 6).unwrap();
    let fitted = fit_thresholds(&table);
    assert_eq!(fitted[5], None, "a class without a positive");
    for (class, fitted) in fitted.iter().take(5).enumerate() {
        let f1 = |threshold: f64| {
            let scores = threshold_scores(&table, &[threshold]).unwrap();
            scores.per_class[class].f1().unwrap_or(0.0)
        };
        let own = f1(fitted.unwrap());
        let best = (-200..200)
            .map(|k| f1(f64::from(k) / 16.0 + 0.01))
            .fold(0.0, f64::max);
        assert!((own - best).abs() < 1e-15, "class {class}: {own} of {best}");
    }
}

#[test]
fn tables_that_cannot_be_are_refused() {
    let new = |scores: &[f32], targets: &[u8], classes| {
        ScoreTable::new(scores, targets, classes)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    assert!(new(&[0.0; 4], &[0; 3], 2).contains("4 scores with 3 targets"));
    assert!(new(&[0.0; 3], &[0; 3], 2).contains("rows of 2"));
    assert!(new(&[], &[], 0).contains("rows of 0"));
    assert!(new(&[0.0, 0.0, 0.0, f32::NAN], &[0; 4], 2).contains("image 1, class 1"));
    assert!(new(&[0.0, 0.0], &[0, 2], 2).contains("expected 0 or 1"));
    let empty = ScoreTable::<f32>::new(&[], &[], 2).unwrap();
    assert_eq!(
        average_precision_per_class(&empty, ApMethod::Area),
        [None, None]
    );
    assert_eq!(threshold_scores(&empty, &[0.5]).unwrap().accuracy, None);
}

/// By definition, the precision at a recall is that of the first threshold that reaches the recall.
#[test]
fn precision_at_a_recall_is_that_of_the_definition() {
    let (scores, targets) = random(9, 80, 3);
    let table = ScoreTable::new(&scores, &targets, 3).unwrap();
    let recalls: Vec<f64> = (0..=20).map(|k| f64::from(k) / 20.0).collect();
    let curves = Ranked::new(&table).unwrap().precision_at(&recalls);
    for (class, curve) in curves.iter().enumerate() {
        let (scores, targets): (Vec<f32>, Vec<u8>) = table.class(class).unzip();
        let positives = targets.iter().filter(|&&t| t == 1).count() as f64;
        assert_eq!(curve.is_some(), positives > 0.0);
        for (&recall, own) in recalls.iter().zip(curve.iter().flatten()) {
            let mut thresholds = scores.clone();
            thresholds.sort_by(|a, b| b.total_cmp(a));
            let expected = thresholds.iter().find_map(|&threshold| {
                let taken = |i: &usize| scores[*i] >= threshold;
                let taken: Vec<usize> = (0..80).filter(taken).collect();
                let found = taken.iter().filter(|&&i| targets[i] == 1).count() as f64;
                let reached = found > 0.0 && found / positives >= recall;
                reached.then(|| found / taken.len() as f64)
            });
            assert_eq!(Some(*own), expected, "class {class}, recall {recall}");
        }
    }
}

proptest! {
    #[test]
    fn ap_is_that_of_the_definition(seed in 0u64..10_000, images in 1usize..60) {
        let (scores, targets) = random(seed, images, 4);
        let table = ScoreTable::new(&scores, &targets, 4).unwrap();
        let own = average_precision_per_class(&table, ApMethod::Area);
        for (class, own) in own.iter().enumerate() {
            let (scores, targets): (Vec<f32>, Vec<u8>) = table.class(class).unzip();
            let expected = by_definition(&scores, &targets);
            prop_assert_eq!(own.is_some(), expected.is_some());
            if let (Some(own), Some(expected)) = (own, expected) {
                prop_assert!((own - expected).abs() < 1e-12);
                prop_assert!((0.0..=1.0).contains(own));
            }
        }
    }

    #[test]
    fn ranking_metrics_see_only_the_order(seed in 0u64..10_000, images in 2usize..1_500) {
        let (scores, targets) = random(seed, images, 3);
        let mapped: Vec<f64> = scores.iter().map(|&s| (f64::from(s) / 3.0).exp() - 7.0).collect();
        let mut order: Vec<usize> = (0..images).collect();
        Stream::new(seed, "order", 0, 0).shuffle(&mut order);
        let mut shuffled = (Vec::new(), Vec::new());
        for &i in &order {
            shuffled.0.extend_from_slice(&scores[i * 3..(i + 1) * 3]);
            shuffled.1.extend_from_slice(&targets[i * 3..(i + 1) * 3]);
        }
        let table = ScoreTable::new(&scores, &targets, 3).unwrap();
        let mapped = ScoreTable::new(&mapped, &targets, 3).unwrap();
        let shuffled = ScoreTable::new(&shuffled.0, &shuffled.1, 3).unwrap();
        for method in [ApMethod::Area, ApMethod::ElevenPoint] {
            let own = average_precision_per_class(&table, method);
            prop_assert_eq!(&own, &average_precision_per_class(&mapped, method));
            prop_assert_eq!(&own, &average_precision_per_class(&shuffled, method));
            prop_assert!(own.iter().flatten().all(|ap| (0.0..=1.0).contains(ap)));
        }
        let own = area_under_roc_per_class(&table);
        prop_assert_eq!(&own, &area_under_roc_per_class(&mapped));
        prop_assert_eq!(&own, &area_under_roc_per_class(&shuffled));
    }
}

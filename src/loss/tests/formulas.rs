//! Values compared with formulas written out naively, and with each other.

use super::*;

/// Formulas written out naively, for the losses that no golden vector covers.
#[test]
#[expect(clippy::too_many_lines, reason = "a list of formulas")]
fn formulas_hold_where_no_golden_vector_does() {
    let frequency = ClassFrequency {
        counts: vec![4, 6, 34, 64, 100, 571, 775],
        num_images: 1142,
    };
    let n: Vec<f64> = frequency.counts.iter().map(|&n| n as f64).collect();
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let log = |p: f64| -p.ln();
    let bce = |z: f64, y: bool| log(sigmoid(if y { z } else { -z }));
    let bias = |c: usize| -(1142.0 / n[c] - 1.0).ln();
    let asl = |z: f64, y: bool| {
        let p = sigmoid(z);
        let q = (1.0 - p + 0.05).min(1.0);
        if y {
            (1.0 - p) * log(p)
        } else {
            (1.0 - q).powi(4) * log(q)
        }
    };
    type Formula<'a> = Box<dyn Fn(f64, usize, bool) -> f64 + 'a>;
    let mean = 1.0 / 35.0;
    let formulas: Vec<(&str, f64, Formula)> = vec![
        (
            "name = \"ldam\"",
            mean,
            Box::new(|z, c, y| {
                let margin = 0.5 * n[c].powf(-0.25) / n[0].powf(-0.25);
                bce(if y { z - margin } else { z }, y)
            }),
        ),
        (
            "name = \"logit-adjusted\"\ntau = 0.8",
            mean,
            Box::new(|z, c, y| {
                let pi = n[c] / 1142.0;
                bce(z + 0.8 * (pi / (1.0 - pi)).ln(), y)
            }),
        ),
        (
            "name = \"mfm\"",
            1.0,
            Box::new(|z, c, y| (1.0 - (n[c] / 775.0).ln()).powf(1.0 / 6.0) * asl(z, y)),
        ),
        (
            "name = \"splc\"\nfrom_epoch = 3",
            1.0,
            Box::new(|z, _, y| {
                let z = if y { z - 1.0 } else { z };
                let y = y || sigmoid(z) > 0.6;
                let miss = if y { 1.0 - sigmoid(z) } else { sigmoid(z) };
                miss.powi(2) * bce(z, y)
            }),
        ),
        (
            "name = \"ntr\"\nbias = \"paper\"",
            mean,
            Box::new(|z, c, y| {
                let z = z + 0.05 * bias(c);
                if y {
                    bce(z, true)
                } else {
                    bce(5.0 * z, false) / 5.0
                }
            }),
        ),
        (
            "name = \"ntr\"",
            mean,
            Box::new(|z, c, y| {
                let z = z + 0.05 * bias(c) / 5.0;
                if y {
                    bce(z, true)
                } else {
                    bce(5.0 * z, false) / 5.0
                }
            }),
        ),
        (
            "name = \"composed\"\ntolerance = { lambda = 2.0 }\npositive_scale = { power = 0.5 }",
            mean,
            Box::new(|z, c, y| {
                let z = z + 0.05 * bias(c) / 2.0;
                if y {
                    bce((n[c] / 775.0).sqrt() * z, true)
                } else {
                    bce(2.0 * z, false) / 2.0
                }
            }),
        ),
        (
            "name = \"cb-ntr\"",
            mean,
            Box::new(|z, c, y| {
                let z = (z + 0.01 * bias(c)) * if y { 1.0 } else { 5.0 };
                let weight = 0.1 / (1.0 - 0.9f64.powf(n[c])) / if y { 1.0 } else { 5.0 };
                2.0 * weight * (1.0 - (-bce(z, y)).exp()).powi(2) * bce(z, y)
            }),
        ),
    ];
    for (text, factor, formula) in formulas {
        let loss = parse(text).unwrap().build(&frequency).unwrap();
        for seed in 10..15 {
            let (logits, targets) = batch(seed, 2.0);
            let (value, _) = evaluate(&loss, &logits, &targets, 3);
            let terms = (0..35).map(|i| formula(logits[i], i % 7, targets[i] > 0.5));
            let expected = factor * terms.sum::<f64>();
            assert!(
                (value - expected).abs() <= 1e-12 * expected.abs(),
                "{text}: {value} for {expected}"
            );
        }
    }
}

#[test]
fn settings_without_effect_give_bce_back() {
    let (logits, targets) = batch(6, 2.0);
    let bce = build("bce", &frequency()).unwrap();
    let (expected, gradient) = evaluate(&bce, &logits, &targets, 0);
    for text in [
        "name = \"ntr\"\nkappa = 0\nlambda = 1",
        "name = \"focal\"\ngamma = 0\nbalance = 1",
        "name = \"cb\"\nbeta = 0",
        "name = \"ldam\"\nmax_margin = 0",
        "name = \"logit-adjusted\"\ntau = 0",
        "name = \"asl\"\ngamma_negative = 0\ngamma_positive = 0\nclip = 0\neps = 0\nreduction = \"mean\"",
        "name = \"splc\"\nmargin = 0\ngamma = 0\ntau = 1\nreduction = \"mean\"",
        "name = \"composed\"",
    ] {
        let loss = parse(text).unwrap().build(&frequency()).unwrap();
        let (value, own) = evaluate(&loss, &logits, &targets, 5);
        assert!(
            (value - expected).abs() < 1e-12,
            "{text}: {value} for {expected}"
        );
        for (own, expected) in own.iter().zip(&gradient) {
            assert!((own - expected).abs() < 1e-14, "{text}");
        }
    }
}

#[test]
fn images_without_positives_have_the_documented_weights() {
    let weight = |text: &str| {
        let loss = parse(text).unwrap().build(&frequency()).unwrap();
        loss.elementwise().unwrap().weights(&[0.0; 7])
    };
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    assert_eq!(weight("name = \"db\""), vec![0.1 + sigmoid(-3.0); 7]);
    let most_frequent = (1.0 - 0.999) / (1.0 - 0.999f64.powi(1142));
    for mode in ["average-n", "average-w", "min-n"] {
        let text = format!("name = \"cb\"\nbeta = 0.999\nmode = \"{mode}\"");
        for weight in weight(&text) {
            assert!((weight - most_frequent).abs() < 1e-15, "{mode}");
        }
    }
}

#[test]
fn a_class_without_images_counts_as_one_with_a_single_image() {
    for config in all() {
        let loss = config.build(&frequency()).unwrap();
        let Some(loss) = loss.elementwise() else {
            continue;
        };
        let mut targets = [0.0; 7];
        targets[..2].fill(1.0);
        let weights = loss.weights(&targets);
        assert_eq!(weights[0], weights[1], "{}", config.name());
        assert_eq!(loss.shift_positive()[0], loss.shift_positive()[1]);
    }
}

/// BCE of a blended target has a closed form: softplus(z) - y z.
#[test]
fn targets_between_0_and_1_blend_the_two_sides() {
    let frequency = ClassFrequency {
        counts: vec![5, 2],
        num_images: 10,
    };
    let loss = LossConfig::named("bce").unwrap().build(&frequency).unwrap();
    let (logits, targets) = ([0.7, -1.3], [0.25f32, 0.9]);
    let mut gradient = [0.0; 2];
    let batch = Batch::new(&logits, &targets, 2, 0).unwrap();
    let value = loss.evaluate(&batch, &mut gradient).unwrap();
    let mut expected = 0.0;
    for i in 0..2 {
        let (z, y): (f64, f64) = (logits[i], f64::from(targets[i]));
        expected += ((1.0 + z.exp()).ln() - y * z) / 2.0;
        let slope = (1.0 / (1.0 + (-z).exp()) - y) / 2.0;
        assert!((gradient[i] - slope).abs() < 1e-12);
    }
    assert!((value - expected).abs() < 1e-12);
}

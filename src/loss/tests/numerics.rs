//! Gradients, extreme logits and batches: properties of every loss.

use proptest::prelude::*;

use super::*;

#[test]
fn gradients_match_central_differences() {
    let step = 1e-5;
    for config in all() {
        let loss = config.build(&frequency()).unwrap();
        for (seed, spread, epoch) in [(1, 1.0, 0), (2, 4.0, 2)] {
            let (logits, targets) = batch(seed, spread);
            let (_, gradient) = evaluate(&loss, &logits, &targets, epoch);
            let largest = gradient.iter().fold(0.0f64, |m, g| m.max(g.abs()));
            assert!(largest > 0.0, "{}", config.name());
            for i in 0..logits.len() {
                let at = |offset: f64| {
                    let mut moved = logits.clone();
                    moved[i] += offset;
                    evaluate(&loss, &moved, &targets, epoch).0
                };
                let difference = (at(step) - at(-step)) / (2.0 * step);
                assert!(
                    (difference - gradient[i]).abs() <= 1e-7 * largest,
                    "{} at {i}: {} by differences {difference}",
                    config.name(),
                    gradient[i]
                );
            }
        }
    }
}

#[test]
fn extreme_logits_are_finite_and_ordered() {
    let grid = [
        -1e4, -800.0, -40.0, -5.0, -1.0, 0.0, 1.0, 5.0, 40.0, 800.0, 1e4,
    ];
    for config in all() {
        let loss = config.build(&frequency()).unwrap();
        let (logits, targets) = batch(3, 1.0);
        // Relabelling from some epoch on makes the loss jump by design.
        let relabels = config.composition().is_some_and(|c| c.relabel.is_some());
        let epoch = if relabels { 0 } else { 5 };
        for i in 0..logits.len() {
            let values: Vec<f64> = (grid.iter())
                .map(|&z| {
                    let mut moved = logits.clone();
                    moved[i] = z;
                    let (value, gradient) = evaluate(&loss, &moved, &targets, epoch);
                    assert!(value.is_finite(), "{} at {z}", config.name());
                    assert!(
                        gradient.iter().all(|g| g.is_finite()),
                        "{} at {z}",
                        config.name()
                    );
                    value
                })
                .collect();
            if config.name() == "composed" {
                continue; // One of them has a hill that turns down, which is its purpose.
            }
            let ordered = values.windows(2).all(|pair| {
                let rise = pair[1] - pair[0];
                let rise = if targets[i] > 0.5 { -rise } else { rise };
                rise >= -1e-12 * pair[0].abs().max(1.0)
            });
            assert!(ordered, "{} at {i}: {values:?}", config.name());
        }
        for extreme in [-1e4, 1e4] {
            let (value, gradient) = evaluate(&loss, &[extreme; 35], &targets, epoch);
            assert!(value.is_finite() && gradient.iter().all(|g| g.is_finite()));
        }
    }
}

#[test]
fn one_class_and_a_batch_of_one_are_defined() {
    for counts in [vec![0], vec![1], vec![40], vec![50]] {
        let frequency = ClassFrequency {
            counts,
            num_images: 50,
        };
        for config in all() {
            let loss = config.build(&frequency).unwrap();
            for target in [0.0, 1.0] {
                let targets = [target];
                let batch_of_one = Batch::new(&[0.3], &targets, 1, 9).unwrap();
                let mut gradient = [f64::NAN];
                let value = loss.evaluate(&batch_of_one, &mut gradient).unwrap();
                assert!(value.is_finite() && value >= 0.0, "{}", config.name());
                assert!(gradient[0].is_finite(), "{}", config.name());
            }
        }
    }
}

#[test]
fn halves_of_a_batch_equal_the_whole() {
    let (logits, targets) = batch(4, 2.0);
    let logits = [logits.clone(), logits[..7].to_vec()].concat();
    let targets = [targets.clone(), targets[7..14].to_vec()].concat();
    for config in all() {
        let composition = config.composition();
        let batchwise = composition
            .as_ref()
            .map_or(config.name() == "two-way", |c| {
                c.normalisation == composition::Normalisation::Batch
            });
        if batchwise {
            continue;
        }
        let summed = composition.is_some_and(|c| c.reduction == composition::Reduction::Sum);
        let share = if summed { 1.0 } else { 0.5 };
        let loss = config.build(&frequency()).unwrap();
        let (whole, gradient) = evaluate(&loss, &logits, &targets, 2);
        let (first, first_gradient) = evaluate(&loss, &logits[..21], &targets[..21], 2);
        let (second, second_gradient) = evaluate(&loss, &logits[21..], &targets[21..], 2);
        let halves = share * (first + second);
        assert!(
            (whole - halves).abs() <= 1e-12 * whole.abs(),
            "{}",
            config.name()
        );
        for (own, half) in gradient
            .iter()
            .zip(first_gradient.iter().chain(&second_gradient))
        {
            assert!((own - share * half).abs() <= 1e-12 * own.abs().max(1e-3));
        }
    }
}

#[test]
fn threads_do_not_show_in_the_result() {
    let mut stream = Stream::new(8, "loss tests", 0, 0);
    // A multiple of the seven classes of losses that do not know how many there are.
    let counts: Vec<usize> = (0..84).map(|c| 1 + 14 * c).collect();
    let frequency = ClassFrequency {
        counts,
        num_images: 2_000,
    };
    let logits: Vec<f64> = (0..256 * 84).map(|_| 3.0 * stream.normal()).collect();
    let targets: Vec<f32> = (0..256 * 84)
        .map(|_| f32::from(u8::from(stream.chance(0.05))))
        .collect();
    for config in all() {
        let loss = config.build(&frequency).unwrap();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap()
                .install(|| evaluate(&loss, &logits, &targets, 0))
        };
        let one = run(1);
        for threads in [2, 4] {
            assert_eq!(run(threads), one, "{}", config.name());
        }
    }
}

proptest! {
    #[test]
    fn losses_are_never_negative_and_do_not_see_the_order_of_images(
        seed in 0u64..1_000,
        spread in 0.1f64..30.0,
    ) {
        let (logits, targets) = batch(seed, spread);
        let reversed = |values: &[f64]| -> Vec<f64> {
            values.chunks(7).rev().flatten().copied().collect()
        };
        let targets_reversed: Vec<f32> = targets.chunks(7).rev().flatten().copied().collect();
        for config in all() {
            let loss = config.build(&frequency()).unwrap();
            let (value, gradient) = evaluate(&loss, &logits, &targets, 2);
            prop_assert!(value >= 0.0, "{}", config.name());
            let (other, other_gradient) =
                evaluate(&loss, &reversed(&logits), &targets_reversed, 2);
            prop_assert!((value - other).abs() <= 1e-12 * value.abs().max(1.0));
            for (own, other) in gradient.iter().zip(reversed(&other_gradient)) {
                prop_assert!((own - other).abs() <= 1e-12 * own.abs().max(1.0));
            }
        }
    }
}

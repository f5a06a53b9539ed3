use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use proptest::prelude::*;

use super::*;
use crate::data::labels::ClassFrequency;
use crate::rng::Stream;

/// Classes with no training image, with one, and in every image among them.
fn frequency() -> ClassFrequency {
    ClassFrequency {
        counts: vec![0, 1, 6, 34, 571, 775, 1142],
        num_images: 1142,
    }
}

/// Logits and labels of five images; the third has no positive, the last all of them.
fn batch(seed: u64, spread: f64) -> (Vec<f64>, Vec<f32>) {
    let mut stream = Stream::new(seed, "loss tests", 0, 0);
    let logits = (0..35).map(|_| spread * stream.normal()).collect();
    let targets = (0..35)
        .map(|i| match i / 7 {
            2 => 0.0,
            4 => 1.0,
            image => f32::from(u8::from(i % 7 == image || stream.chance(0.3))),
        })
        .collect();
    (logits, targets)
}

fn evaluate(
    loss: &Arc<dyn Loss>,
    logits: &[f64],
    targets: &[f32],
    epoch: usize,
) -> (f64, Vec<f64>) {
    let classes = loss.num_classes().unwrap_or(7);
    let batch = Batch::new(logits, targets, classes, epoch).unwrap();
    let mut gradient = vec![f64::NAN; logits.len()];
    let value = loss.evaluate(&batch, &mut gradient).unwrap();
    (value, gradient)
}

fn parse(text: &str) -> Result<LossConfig> {
    let table: toml::Table = text.parse().unwrap();
    LossConfig::from_table(&table)
}

/// Every named loss with its defaults, and combinations that no name stands for. Focusing weights
/// are differentiated, so that gradients are derivatives.
fn all() -> Vec<LossConfig> {
    let mut configs: Vec<LossConfig> = (names().into_iter())
        .map(|name| {
            let detached = definition(name).unwrap().parameters.iter();
            let detached = detached.clone().any(|p| p.name == "detach_focusing");
            let extra = if detached {
                "detach_focusing = false"
            } else {
                ""
            };
            parse(&format!("name = \"{name}\"\n{extra}")).unwrap()
        })
        .collect();
    for parts in [
        "tolerance = { bias = \"paper\" }\nweight = { kind = \"inverse\", power = 0.5 }\nfocal = { gamma = 0.5 }",
        "normalisation = \"instance\"\nreduction = \"image-mean\"\nweight = { kind = \"rebalanced\" }\nmargin = { kind = \"class-frequency\", logit_scale = 3.0 }\nadjustment = { tau = 0.5 }",
        "kernel = { kind = \"asymmetric\", gamma_negative = 1.5, clip = 0.0 }\nweight = { kind = \"class-balanced\", mode = \"min-n\" }\nscale = 3.0",
        "kernel = { kind = \"hill\", limit = 2.0 }\nrelabel = { tau = 0.7 }\nnormalisation = \"batch\"\nweight = { kind = \"class-balanced\", mode = \"average-n\" }",
    ] {
        configs.push(parse(&format!("name = \"composed\"\n{parts}")).unwrap());
    }
    configs
}

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
        // Labels that the epoch changes are a step down by design.
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
fn a_composition_equals_its_preset_also_through_toml() {
    let (logits, targets) = batch(5, 2.0);
    let mut compared = 0;
    for config in all() {
        let text = toml::to_string(&config).unwrap();
        assert_eq!(
            toml::from_str::<LossConfig>(&text).unwrap(),
            config,
            "{text}"
        );
        let Some(composition) = config.composition() else {
            continue;
        };
        let text = toml::to_string(&LossConfig::composed(composition)).unwrap();
        let composed: LossConfig = toml::from_str(&text).unwrap();
        let preset = config.build(&frequency()).unwrap();
        let composed = composed.build(&frequency()).unwrap();
        assert_eq!(
            evaluate(&preset, &logits, &targets, 3),
            evaluate(&composed, &logits, &targets, 3),
            "{text}"
        );
        compared += 1;
    }
    assert!(compared >= 20, "{compared}");
}

/// Formulas written out naively, for the losses that no golden vector covers.
#[test]
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
fn threads_do_not_show_in_the_result() {
    let mut stream = Stream::new(8, "loss tests", 0, 0);
    let counts: Vec<usize> = (0..80).map(|c| 1 + 14 * c).collect();
    let frequency = ClassFrequency {
        counts,
        num_images: 2_000,
    };
    let logits: Vec<f64> = (0..256 * 80).map(|_| 3.0 * stream.normal()).collect();
    let targets: Vec<f32> = (0..256 * 80)
        .map(|_| f32::from(u8::from(stream.chance(0.05))))
        .collect();
    let loss = build("db-focal", &frequency).unwrap();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap()
            .install(|| evaluate(&loss, &logits, &targets, 0))
    };
    assert_eq!(run(1), run(4));
}

#[test]
fn candle_sees_value_and_gradient() {
    let (logits, targets) = batch(9, 1.0);
    let loss = build("db-focal", &frequency()).unwrap();
    let rounded: Vec<f32> = logits.iter().map(|&z| z as f32).collect();
    let exact: Vec<f64> = rounded.iter().map(|&z| f64::from(z)).collect();
    let (value, gradient) = evaluate(&loss, &exact, &targets, 0);
    let var = Var::from_vec(rounded, (5, 7), &Device::Cpu).unwrap();
    let targets = Tensor::from_vec(targets, (5, 7), &Device::Cpu).unwrap();
    let scalar = apply(&loss, var.as_tensor(), &targets, 0).unwrap();
    assert_eq!(scalar.to_scalar::<f32>().unwrap(), value as f32);
    let doubled = (scalar * 2.0).unwrap().backward().unwrap();
    let own = doubled.get(var.as_tensor()).unwrap().flatten_all().unwrap();
    for (own, expected) in own.to_vec1::<f32>().unwrap().iter().zip(&gradient) {
        assert_eq!(*own, 2.0 * (*expected as f32));
    }
    // Logits that are a view of another tensor: their strides are not those of rows.
    let turned = var.as_tensor().t().unwrap().contiguous().unwrap();
    let view = apply(&loss, &turned.t().unwrap(), &targets, 0).unwrap();
    assert_eq!(view.to_scalar::<f32>().unwrap(), value as f32);
    let wrong = Tensor::zeros((5, 6), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(apply(&loss, var.as_tensor(), &wrong, 0).is_err());
    assert!(
        apply(&loss, &wrong, &wrong, 0).is_err(),
        "built for seven classes"
    );
}

#[test]
fn mistakes_are_named_with_what_is_accepted() {
    for (text, parts) in [
        (
            "name = \"db-fokal\"",
            ["loss.name", "did you mean `db-focal`?"],
        ),
        (
            "name = \"db\"\nkapa = 0.1",
            ["loss.kapa", "did you mean `kappa`?"],
        ),
        ("name = \"db\"\nlambda = 0", ["loss.lambda", "above 0"]),
        (
            "name = \"db\"\nbias = \"papr\"",
            ["`code`, `paper`", "did you mean `paper`?"],
        ),
        (
            "name = \"focal\"\ngamma = \"2\"",
            ["loss.gamma", "at or above 0"],
        ),
        (
            "name = \"splc\"\nfrom_epoch = -1",
            ["loss.from_epoch", "whole number"],
        ),
        ("gamma = 2", ["loss.name", "is missing"]),
        ("name = \"cb\"\nbeta = 1.0", ["loss.beta", "below 1"]),
        (
            "name = \"composed\"\nwieght = { kind = \"none\" }",
            ["`wieght`", "did you mean `weight`?"],
        ),
        (
            "name = \"composed\"\nweight = { kind = \"inverse\", pwer = 1 }",
            ["`pwer`", "`power`"],
        ),
        (
            "name = \"composed\"\nfocal = { gamma = -1 }",
            ["loss.focal.gamma", "at or above 0"],
        ),
    ] {
        let error = parse(text).unwrap_err();
        let mut message = error.to_string();
        if let Error::Input(input) = &error {
            message += input.hint.as_deref().unwrap_or("");
        }
        for part in parts {
            assert!(message.contains(part), "{text}: {message}");
        }
        // The same through serde, hint and all.
        let through_serde = toml::from_str::<LossConfig>(text).unwrap_err().to_string();
        assert!(through_serde.contains(parts[0]), "{through_serde}");
    }
}

#[test]
fn every_default_is_within_its_range_and_every_text_is_there() {
    for method in [
        "bce",
        "rw",
        "rw-sqrt",
        "focal",
        "cb",
        "cb-focal",
        "r-bce",
        "r-bce-focal",
        "ntr",
        "db",
        "db-focal",
        "db-0fl",
        "cb-ntr",
        "ldam",
        "asl",
        "apl",
        "hill",
        "splc",
        "two-way",
        "zlpr",
        "logit-adjusted",
        "mfm",
    ] {
        definition(method).unwrap();
    }
    for loss in definitions() {
        let unique = names().iter().filter(|name| **name == loss.name).count();
        assert_eq!(unique, 1, "{}", loss.name);
        assert!(!loss.formula.is_empty() && !loss.source.is_empty() && !loss.when.is_empty());
        // Reading back what is written checks each default against its own range.
        let table = LossConfig::named(loss.name).unwrap().to_table();
        LossConfig::from_table(&table).unwrap();
    }
}

fn docs() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/losses")
}

/// The pages under `docs/losses` are those of the table. `DBLOSS_WRITE_DOCS=1` writes them.
#[test]
fn the_documentation_pages_are_those_of_the_table() {
    let mut pages = vec![("README.md".to_string(), pages::index(".md"))];
    for loss in definitions() {
        pages.push((format!("{}.md", loss.name), pages::page(loss)));
    }
    let write = std::env::var_os("DBLOSS_WRITE_DOCS").is_some();
    for (name, expected) in &pages {
        let path = docs().join(name);
        if write {
            crate::io::write_text(&path, expected).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == *expected,
            "docs/losses/{name} is not that of the table; write it with DBLOSS_WRITE_DOCS=1"
        );
    }
    for entry in std::fs::read_dir(docs()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = name == "composed.md" || pages.iter().any(|(page, _)| *page == name);
        assert!(known, "docs/losses/{name} is the page of no loss");
    }
}

/// Every `[loss]` table printed on a page is accepted.
#[test]
fn examples_of_the_pages_are_accepted() {
    let mut read = 0;
    for entry in std::fs::read_dir(docs()).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            let table: toml::Table = block.parse().unwrap();
            let loss = table["loss"].as_table().unwrap();
            let config = LossConfig::from_table(loss).unwrap_or_else(|e| panic!("{e}: {block}"));
            config.build(&frequency()).unwrap();
            read += 1;
        }
    }
    assert!(read > definitions().len(), "{read}");
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

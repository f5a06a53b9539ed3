//! Tests every loss that is a sum over logits: value and gradient against the CPU's formulas.

use dbloss::data::labels::ClassFrequency;
use dbloss::loss::{Batch, LossConfig, names};
use dbloss::ops::cuda::loss;
use dbloss::rng::Stream;

use super::common::host_kernels::use_host_kernels;
use super::{assert_close, tensor, values};

/// Combinations that have no name of their own.
const COMPOSED: [&str; 5] = [
    "tolerance = { bias = \"paper\" }\nweight = { kind = \"inverse\", power = 0.5 }\nfocal = { gamma = 0.5 }",
    "normalisation = \"instance\"\nreduction = \"image-mean\"\nweight = { kind = \"rebalanced\" }\nmargin = { kind = \"class-frequency\", logit_scale = 3.0 }\nadjustment = { tau = 0.5 }",
    "kernel = { kind = \"asymmetric\", gamma_negative = 1.5, clip = 0.0, eps = 1e-8, first_order = 1.0, second_order = -0.5 }\nscale = 3.0\nreduction = \"sum\"",
    "kernel = { kind = \"asymmetric\", gamma_negative = 4.0, gamma_positive = 1.0, detach_focusing = true }\npositive_scale = { power = 0.5 }",
    "kernel = { kind = \"hill\", limit = 2.0 }\nrelabel = { tau = 0.7 }\nnormalisation = \"batch\"\nweight = { kind = \"class-balanced\", mode = \"average-n\" }",
];

fn configs() -> Vec<LossConfig> {
    let composed = COMPOSED.iter().map(|parts| {
        let table: toml::Table = format!("name = \"composed\"\n{parts}").parse().unwrap();
        LossConfig::from_table(&table, &"loss".into()).unwrap()
    });
    let named = names()
        .into_iter()
        .map(|name| LossConfig::named(name).unwrap());
    named.chain(composed).collect()
}

#[test]
#[cfg_attr(not(has_cxx), ignore = "needs a C++ compiler")]
fn element_wise_losses_are_those_of_the_cpu() {
    use_host_kernels();
    let frequency = ClassFrequency {
        counts: vec![0, 1, 6, 34, 571, 775, 1142],
        num_images: 1142,
    };
    let (mut held, mut others) = (0, Vec::new());
    for config in configs() {
        let loss = config.build(&frequency).unwrap();
        let Some(elementwise) = loss.elementwise() else {
            others.push(config.name().to_owned());
            continue;
        };
        // More elements than all threads together; logits as spread as those of a diverged network.
        for (images, spread, mixed) in [(1, 2.0, false), (5, 40.0, false), (3000, 6.0, true)] {
            let count = images * 7;
            let mut stream = Stream::new(9, "loss", images as u64, 0);
            let logits: Vec<f32> = (0..count)
                .map(|_| (spread * stream.normal()) as f32)
                .collect();
            let target = |_| match (mixed, stream.below(5)) {
                (true, 0) => 0.3,
                (_, draw) => f32::from(u8::from(draw % 3 == 0)),
            };
            let targets: Vec<f32> = (0..count).map(target).collect();
            for epoch in [0, 3] {
                let wide: Vec<f64> = logits.iter().map(|&v| v.into()).collect();
                let batch = Batch::new(&wide, &targets, 7, epoch).unwrap();
                let mut expected = vec![0.0; count];
                let value = loss.evaluate(&batch, &mut expected).unwrap() as f32;
                let (settings, by_element, by_class) = elementwise.for_device(&targets, epoch);
                let given = tensor(&logits, &[images, 7]);
                let found = loss::evaluate(&given, &settings, by_element, &by_class).unwrap();
                let what = format!("{} of {images} images, epoch {epoch}", config.name());
                let largest = expected.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
                let scaled = |v: f64| (v / largest) as f32;
                let expected: Vec<f32> = expected.iter().map(|&v| scaled(v)).collect();
                let gradient: Vec<f32> =
                    values(&found.1).iter().map(|&v| scaled(v.into())).collect();
                assert_close(&what, &gradient, &expected, 1e-6);
                assert_close(&what, &values(&found.0), &[value], 1e-6);
            }
        }
        held += 1;
    }
    println!("taken on the host: {others:?}");
    assert!(held >= 22, "{held} held, not {others:?}");
}

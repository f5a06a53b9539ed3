//! Tests the GPU executor on the host, with whole networks forward and backward, against the
//! composition of candle's operations in double precision.

use candle_core::{DType, Device, Tensor};
use dbloss::model::backbone::adapter::{Kind, Lora};
use dbloss::model::backbone::{self, Backbone, BackboneConfig, BackboneKind};
use dbloss::model::builder::Builder;
use dbloss::model::{Gradients, Parameters};

use super::common::formula;
use super::common::host_kernels::{take_launches, use_host_kernels};
use super::values;

fn config(name: &str, frozen_stages: i32, norm_eval: bool) -> BackboneConfig {
    BackboneConfig {
        frozen_stages,
        norm_eval,
        ..BackboneConfig::new(BackboneKind::named(name).unwrap())
    }
}

type Build = fn(&BackboneConfig, &Builder) -> dbloss::Result<Box<dyn Backbone>>;

/// Returns the pooled features of an evaluation and of a training pass, and the gradients of a loss
/// on the latter.
fn pass(
    config: &BackboneConfig,
    dtype: DType,
    build: Build,
    images: &Tensor,
) -> (Vec<f32>, Vec<f32>, Gradients, Parameters) {
    let builder = Builder::new(&Device::Cpu, dtype, 3);
    let backbone = build(config, &builder).unwrap();
    let parameters = builder.parameters();
    formula::fill(&parameters);
    let evaluated = backbone.features(images).unwrap().pooled().unwrap();
    let (features, tape) = backbone.forward_train(images).unwrap();
    let features = features.pooled().unwrap();
    let direction = formula::values("direction", &[1, features.elem_count()]);
    let direction = Tensor::from_vec(direction, features.shape(), &Device::Cpu)
        .and_then(|t| t.to_dtype(dtype))
        .unwrap();
    let loss = (&features * direction).unwrap().sum_all().unwrap();
    let mut gradients = Gradients::default();
    tape.backward(&loss.backward().unwrap(), &mut gradients)
        .unwrap();
    (values(&evaluated), values(&features), gradients, parameters)
}

/// Returns the Euclidean distance, relative to the norm of the expected values or to `floor`.
fn error(found: &[f32], expected: &[f32], floor: f64) -> f64 {
    assert_eq!(found.len(), expected.len());
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
    let pairs = found.iter().zip(expected);
    let distance = norm(&mut pairs.map(|(f, e)| f64::from(*f) - f64::from(*e)));
    distance / norm(&mut expected.iter().map(|&e| e.into())).max(floor)
}

fn compare(config: &BackboneConfig, batch: usize, size: usize, tolerance: f64) {
    use_host_kernels();
    let images = formula::images("pictures", batch, size, 1.0);
    let found = pass(config, DType::F32, backbone::build_taped, &images);
    let expected = pass(config, DType::F64, backbone::build_composed, &images);
    assert!(
        error(&found.0, &expected.0, 0.0) < 2e-5,
        "{config:?}: features"
    );
    assert!(
        error(&found.1, &expected.1, 0.0) < 1e-4,
        "{config:?}: training"
    );
    let flat = |gradient: &dbloss::ops::graph::Lazy| values(&gradient.tensor().unwrap());
    let norms = expected
        .2
        .iter()
        .map(|(_, g)| error(&flat(g), &[0.0].repeat(flat(g).len()), 1.0));
    let floor = 1e-3 * norms.fold(0.0, f64::max);
    let mut count = 0;
    for (parameter, reference) in found.3.trainable().zip(expected.3.trainable()) {
        let name = &parameter.name;
        let (found, expected) = (found.2.get(parameter), expected.2.get(reference));
        let (found, expected) = (flat(found.unwrap()), flat(expected.unwrap()));
        let error = error(&found, &expected, floor);
        assert!(error < tolerance, "{config:?}: {name} {error}");
        count += 1;
    }
    assert_eq!(found.2.len(), count);
    assert_eq!(expected.2.len(), count);
    // Running statistics are updated alike.
    for (found, expected) in found.3.iter().zip(expected.3.iter()) {
        let far = error(&values(&found.var), &values(&expected.var), 1e-12);
        assert!(far < 1e-4, "{config:?}: {} {far}", found.name);
    }
}

#[test]
#[cfg_attr(not(has_cxx), ignore = "needs a C++ compiler")]
fn residual_networks_match_the_composition() {
    compare(&config("resnet10_w16", -1, true), 2, 33, 1e-4);
    compare(&config("resnet10_w16", -1, false), 4, 33, 1e-3);
    compare(&config("resnet10_w16", 1, true), 2, 33, 1e-4);
}

#[test]
#[cfg_attr(not(has_cxx), ignore = "needs a C++ compiler")]
fn networks_of_depthwise_convolutions_and_gates_match_the_composition() {
    compare(&config("efficientnet_b0", -1, true), 2, 33, 1e-4);
    compare(&config("mobilenet_v3_large", -1, true), 2, 33, 1e-4);
}

#[test]
#[cfg_attr(not(has_cxx), ignore = "needs a C++ compiler")]
fn networks_of_tokens_match_the_composition() {
    compare(&config("vit_tiny_patch16_224", -1, true), 2, 48, 1e-4);
    let mut adapted = config("vit_tiny_patch16_224", -1, true);
    adapted.adapter = Some(Kind::Lora(Lora::default()).into());
    compare(&adapted, 2, 32, 1e-4);
}

/// The launches of a training step of the published network besides its convolutions: the table of
/// docs/gpu.md.
#[test]
#[cfg_attr(not(has_cxx), ignore = "needs a C++ compiler")]
fn a_step_of_resnet50_launches_what_the_page_says() {
    use_host_kernels();
    let images = formula::images("pictures", 1, 32, 1.0);
    take_launches();
    let builder = Builder::new(&Device::Cpu, DType::F32, 3);
    let backbone = backbone::build_taped(&config("resnet50", 1, true), &builder).unwrap();
    let (features, tape) = backbone.forward_train(&images).unwrap();
    let forward = take_launches();
    let loss = features.pooled().unwrap().sum_all().unwrap();
    let mut gradients = Gradients::default();
    tape.backward(&loss.backward().unwrap(), &mut gradients)
        .unwrap();
    let backward = take_launches();
    let rows = forward
        .iter()
        .map(|(kernel, count)| format!("| `{kernel}` | {count} | |"));
    let back = backward
        .iter()
        .map(|(kernel, count)| format!("| `{kernel}` | | {count} |"));
    let page = std::fs::read_to_string("docs/gpu.md").unwrap();
    let lacking: Vec<String> = (rows.chain(back))
        .filter(|row| !row.contains("`columns_") && !page.contains(row))
        .collect();
    assert!(
        lacking.is_empty(),
        "docs/gpu.md lacks\n{}",
        lacking.join("\n")
    );
}

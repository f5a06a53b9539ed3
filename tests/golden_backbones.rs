//! Tests every backbone against torchvision and timm, and every adapter against PyTorch: names and
//! shapes, features, gradients, three training steps.

mod common;

use candle_core::{DType, Device, IndexOp, Tensor};
use common::{formula, golden};
use dbloss::model::backbone::adapter::{AdapterConfig, Kind};
use dbloss::model::backbone::{Backbone, BackboneConfig, BackboneKind, Tape, Winograd, build};
use dbloss::model::builder::Builder;
use dbloss::model::{Gradients, Parameters};
use dbloss::optim::{self, Optimizer, Sgd, gradient_norm};
use serde_json::Value;

#[test]
fn every_backbone_is_in_the_vectors() {
    let golden = golden("backbones.json");
    let cases = golden["models"].as_array().unwrap();
    let names: Vec<&str> = cases
        .iter()
        .filter_map(|case| case["name"].as_str())
        .collect();
    for kind in BackboneKind::all() {
        assert!(
            names.contains(&kind.name()),
            "{kind} is not among {names:?}"
        );
    }
}

#[test]
fn every_adapter_is_in_the_vectors() {
    let tried: Vec<&str> = (known().iter())
        .filter_map(|case| adapter(case).map(|adapter| adapter.kind.name()))
        .collect();
    assert!(Kind::NAMES.iter().all(|kind| tried.contains(kind)));
}

#[test]
fn tensors_have_the_published_names_and_shapes() {
    for case in &known() {
        let (parameters, _) = network(case, true);
        let published = rows(case);
        assert_eq!(parameters.len(), published.len(), "{}", name(case));
        for row in published {
            let entry = parameters.get(&full_name(row)).unwrap();
            let shape: Vec<usize> = serde_json::from_value(row[1].clone()).unwrap();
            assert_eq!(entry.var.dims(), shape, "{} {}", name(case), entry.name);
        }
        let counts = &case["parameters"];
        let learning = counts.get("learning").unwrap_or(&counts["features"]);
        let learning = learning.as_u64().unwrap();
        assert_eq!(parameters.num_trainable() as u64, learning);
    }
}

#[test]
fn features_in_evaluation_mode() {
    for case in &known() {
        let (_, backbone) = network(case, true);
        for (input, key) in [("images", "pooled"), ("odd_images", "odd_pooled")] {
            let features = pooled(&*backbone, &images(&case[input]));
            let expected = case[key].as_array().unwrap();
            for (picture, expected) in expected.iter().enumerate() {
                let found = flat(&features.i(picture).unwrap());
                let error = beginning(&found, &numbers(expected));
                println!("{} {key} {picture}: off by {error:.1e}", name(case));
                assert!(error < 1e-5, "{} {key}: off by {error:.1e}", name(case));
            }
        }
    }
}

#[test]
fn gradients_of_every_parameter() {
    for case in &known() {
        for (norms, expected) in case["gradients"].as_object().unwrap() {
            let (parameters, backbone) = network(case, norms == "running");
            let images = images(&case["images"]);
            let (features, tape) = backbone.forward_train(&images).unwrap();
            let features = features.pooled().unwrap();
            let loss = (&features * like("probe", &features)).unwrap();
            let loss = loss.mean_all().unwrap();
            let found = gradients(tape, &loss, &parameters);
            let allowed = allowed(case, "gradient_norms", norms);
            let what = format!("{}, {norms} statistics", name(case));
            compare_gradients(
                &what,
                &parameters,
                &found,
                expected.as_object().unwrap(),
                allowed,
            );
        }
    }
}

#[test]
fn three_training_steps() {
    // These have more of the same blocks than a shorter network; their gradients are checked above.
    let long = ["resnet101", "resnet152", "convnext_small"];
    let short = |name: &str| !long.contains(&name) && !name.starts_with("vit_base");
    for case in known().iter().filter(|case| short(&name(case))) {
        for (norms, expected) in case["training"].as_object().unwrap() {
            let rows = expected["loss_and_gradient_norm"].as_array().unwrap();
            let (steps, after) = train(case, norms, rows.len());
            let what = format!("{}, {norms} statistics", name(case));
            for (step, (found, row)) in steps.iter().zip(rows).enumerate() {
                let allowed = allowed(case, "later_steps", norms);
                close(
                    &format!("{what}, step {step}"),
                    found,
                    &numbers(row),
                    allowed,
                );
            }
            let expected = numbers(&expected["pooled_norms_after"]);
            let allowed = allowed(case, "pooled_norms_after", norms);
            close(
                &format!("{what}, features afterwards"),
                &after,
                &expected,
                allowed,
            );
        }
    }
}

/// Returns loss and gradient norm of each step, and the norms of the pooled features after the last
/// one.
fn train(case: &Value, norms: &str, steps: usize) -> (Vec<[f64; 2]>, Vec<f64>) {
    let setting = |key: &str| case["sgd"][key].as_f64().unwrap();
    let (parameters, backbone) = network(case, norms == "running");
    let images = images(&case["images"]);
    let sgd = Sgd {
        momentum: setting("momentum"),
        weight_decay: setting("weight_decay"),
        ..Sgd::default()
    };
    let mut optimizer = Optimizer::new(&optim::Kind::Sgd(sgd).into(), &parameters).unwrap();
    let mut found = Vec::new();
    for _ in 0..steps {
        let (features, tape) = backbone.forward_train(&images).unwrap();
        let features = features.pooled().unwrap();
        let apart = (&features - like("target", &features)).unwrap();
        let loss = apart.sqr().unwrap().mean_all().unwrap();
        let gradients = gradients(tape, &loss, &parameters);
        let norm = gradient_norm(gradients.iter().map(|(_, gradient)| gradient)).unwrap();
        found.push([f64::from(loss.to_scalar::<f32>().unwrap()), norm]);
        let updated = optimizer.step(&parameters, &gradients, setting("lr"), 1.0);
        updated.unwrap();
    }
    let features = pooled(&*backbone, &images);
    let pictures = 0..features.dim(0).unwrap();
    let after = pictures.map(|picture| l2(&flat(&features.i(picture).unwrap())));
    (found, after.collect())
}

/// Asserts that each number in `found` is close to its counterpart in `expected`, relative to the
/// latter.
fn close(what: &str, found: &[f64], expected: &[f64], allowed: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let error = (found - expected).abs() / expected;
        println!("{what}: off by {error:.1e}");
        assert!(error < allowed, "{what}: {found} for {expected}");
    }
}

/// Compares norms, and single entries in units of the gradient's root mean square.
fn compare_gradients(
    what: &str,
    parameters: &Parameters,
    found: &Gradients,
    expected: &serde_json::Map<String, Value>,
    allowed: f64,
) {
    assert_eq!(
        found.len(),
        expected.len(),
        "{what}: other parameters learn"
    );
    let of = |row: &Value| numbers(row)[0].powi(2);
    let total = expected.values().map(of).sum::<f64>().sqrt();
    let mut worst = (0.0, 0.0);
    for (parameter, row) in expected {
        let entry = parameters.get(&format!("backbone.{parameter}")).unwrap();
        let found = flat(&found.tensor(entry).unwrap().unwrap());
        let row = numbers(row);
        let norm = row[0];
        // A gradient that a later norm cancels: only rounding is left.
        if norm < 1e-6 * total {
            assert!(
                l2(&found) < 1e-4 * total,
                "{what}: {parameter} has a gradient"
            );
            continue;
        }
        let error = (l2(&found) - norm).abs() / norm;
        assert!(
            error < allowed,
            "{what}: gradient of {parameter} off by {error:.1e}"
        );
        worst.0 = error.max(worst.0);
        let scale = norm / (found.len() as f64).sqrt();
        for (found, expected) in found.iter().zip(&row[1..]) {
            let error = (f64::from(*found) - expected).abs() / scale.max(expected.abs());
            assert!(
                error < 10.0 * allowed,
                "{what}: {parameter}: {found} for {expected}"
            );
            worst.1 = error.max(worst.1);
        }
    }
    println!(
        "{what}: norms off by {:.1e}, entries by {:.1e}",
        worst.0, worst.1
    );
}

/// Returns the cases of the networks that exist here, with the common fields of their file;
/// `every_backbone_is_in_the_vectors` checks that none is missing.
fn known() -> Vec<Value> {
    let mut found = Vec::new();
    for file in ["backbones.json", "adapters.json"] {
        let golden = golden(file);
        for case in golden["models"].as_array().unwrap() {
            let mut whole = golden.as_object().unwrap().clone();
            whole.remove("models");
            whole.extend(case.as_object().unwrap().clone());
            found.push(Value::Object(whole));
        }
    }
    found.retain(|case| kind(case).is_some());
    found
}

fn adapter(case: &Value) -> Option<AdapterConfig> {
    let keys = case.get("adapter")?;
    Some(serde_json::from_value(keys.clone()).unwrap())
}

fn kind(case: &Value) -> Option<BackboneKind> {
    serde_json::from_value(case["name"].clone()).ok()
}

fn name(case: &Value) -> String {
    let name = case["name"].as_str().unwrap();
    match adapter(case) {
        Some(adapter) => format!("{name} {adapter:?}"),
        None => name.to_owned(),
    }
}

fn rows(case: &Value) -> &Vec<Value> {
    case["tensors"].as_array().unwrap()
}

fn full_name(row: &Value) -> String {
    format!("backbone.{}", row[0].as_str().unwrap())
}

/// Returns the largest accepted relative error: a multiple of PyTorch's own error in single
/// precision, at least as much as one ReLU whose sign is flipped by rounding may cause. Batch
/// statistics, here over 18 pixels per channel, amplify both from layer to layer.
fn allowed(case: &Value, of: &str, norms: &str) -> f64 {
    let least = match (norms, of) {
        ("batch", _) => 2e-2,
        (_, "gradient_norms") => 5e-3,
        _ => 1e-3,
    };
    let own = &case["single_precision_is_off_by"][format!("{of}_{norms}")];
    f64::max(least, 10.0 * own.as_f64().unwrap())
}

/// Builds a network with the case's weights, with nothing frozen except next to an adapter.
fn network(case: &Value, norm_eval: bool) -> (Parameters, Box<dyn Backbone>) {
    let config = BackboneConfig {
        name: kind(case).unwrap(),
        frozen_stages: -1,
        norm_eval,
        winograd: Winograd::On,
        adapter: adapter(case),
    };
    let builder = Builder::new(&Device::Cpu, DType::F32, 0);
    let backbone = build(&config, &builder).unwrap();
    let parameters = builder.parameters();
    for row in rows(case) {
        let name = full_name(row);
        let entry = parameters.get(&name).unwrap();
        let var = &entry.var;
        let (offset, factor) = (row[2].as_f64().unwrap(), row[3].as_f64().unwrap());
        let elements = formula::elements(&name, var.elem_count()).into_iter();
        let values: Vec<f32> = elements
            .map(|u| (offset + factor * f64::from(u)) as f32)
            .collect();
        let values = Tensor::from_vec(values, var.dims(), &Device::Cpu).unwrap();
        entry.set(&values).unwrap();
    }
    (parameters, backbone)
}

/// Returns pooled features in evaluation mode.
fn pooled(backbone: &dyn Backbone, images: &Tensor) -> Tensor {
    backbone.features(images).unwrap().pooled().unwrap()
}

/// Returns the gradients of all parameters.
fn gradients(tape: Box<dyn Tape>, loss: &Tensor, parameters: &Parameters) -> Gradients {
    let mut gradients = Gradients::none(parameters);
    tape.backward(&loss.backward().unwrap(), &mut gradients)
        .unwrap();
    gradients
}

/// Returns pictures `[batch, height, width, 3]` for a shape in PyTorch's order.
fn images(shape: &Value) -> Tensor {
    let shape: Vec<usize> = serde_json::from_value(shape.clone()).unwrap();
    let count = shape.iter().product();
    let images = Tensor::from_vec(formula::elements("input", count), shape, &Device::Cpu).unwrap();
    images.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap()
}

/// Returns the formula's values in the shape of `other`.
fn like(name: &str, other: &Tensor) -> Tensor {
    let values = formula::elements(name, other.elem_count());
    Tensor::from_vec(values, other.dims(), &Device::Cpu).unwrap()
}

/// Returns the error of features against a row that holds their norm and the first few of them,
/// relative to the norm and to the largest of these features.
fn beginning(found: &[f32], row: &[f64]) -> f64 {
    let (norm, first) = (row[0], &row[1..]);
    let largest = first.iter().fold(1e-12f64, |m, v| m.max(v.abs()));
    let off = |(f, e): (&f32, &f64)| (f64::from(*f) - e).abs() / largest;
    let entries = found.iter().zip(first).map(off).fold(0.0, f64::max);
    entries.max((l2(found) - norm).abs() / norm)
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn l2(values: &[f32]) -> f64 {
    let squares: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
    squares.sqrt()
}

//! Tests every case of the golden losses: values and gradients computed by PyTorch.

mod common;

use std::collections::BTreeMap;

use dbloss::data::labels::ClassFrequency;
use dbloss::loss::{Batch, LossConfig};
use serde_json::Value;

/// Returns the cases of a file.
fn cases(file: &str) -> Vec<Value> {
    let cases: Vec<Value> = serde_json::from_value(common::golden(file)).unwrap();
    assert!(!cases.is_empty(), "{file} holds no case");
    cases
}

fn number(value: &Value, key: &str) -> f64 {
    value[key]
        .as_f64()
        .unwrap_or_else(|| panic!("`{key}` of {value}"))
}

fn matrix(value: &Value) -> Vec<f64> {
    let rows = value.as_array().unwrap().iter();
    rows.flat_map(|row| row.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()))
        .collect()
}

/// Fails on keys that the conversion below does not handle.
fn known(value: &Value, keys: &[&str]) {
    for key in value.as_object().unwrap().keys() {
        assert!(
            keys.contains(&key.as_str()),
            "unknown key `{key}` in {value}"
        );
    }
}

fn table(text: &str) -> LossConfig {
    toml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Returns the configuration of a case of losses.json: a named loss if there is one, otherwise its
/// parts.
fn published(params: &Value) -> LossConfig {
    match params["kind"].as_str().unwrap() {
        "ce" => table("name = \"bce\""),
        "focal" => {
            known(params, &["kind", "gamma", "balance_param"]);
            table(&format!(
                "name = \"focal\"\ngamma = {}\nbalance = {}",
                number(params, "gamma"),
                number(params, "balance_param")
            ))
        }
        "rs" => {
            known(
                params,
                &[
                    "kind",
                    "focal",
                    "logit_reg",
                    "reweight_func",
                    "weight_norm",
                    "CB_loss",
                    "map_param",
                ],
            );
            let mut text = String::from("name = \"composed\"\n");
            match params.get("weight_norm").and_then(Value::as_str) {
                None => {}
                Some("by_instance") => text += "normalisation = \"instance\"\n",
                Some("by_batch") => text += "normalisation = \"batch\"\n",
                Some(other) => panic!("unknown weight_norm `{other}`"),
            }
            match params["reweight_func"].as_str() {
                None => {}
                Some("inv") => text += "weight = { kind = \"inverse\" }\n",
                Some("sqrt_inv") => text += "weight = { kind = \"inverse\", power = 0.5 }\n",
                Some("CB") => {
                    let cb = &params["CB_loss"];
                    let mode = cb["CB_mode"].as_str().unwrap().replace('_', "-");
                    text += &format!(
                        "weight = {{ kind = \"class-balanced\", beta = {}, mode = \"{mode}\" }}\n",
                        number(cb, "CB_beta")
                    );
                }
                Some("rebalance") => {
                    let map = &params["map_param"];
                    text += &format!(
                        "weight = {{ kind = \"rebalanced\", alpha = {}, beta = {:?}, mu = {} }}\n",
                        number(map, "alpha"),
                        number(map, "beta"),
                        number(map, "gamma")
                    );
                }
                Some(other) => panic!("unknown reweight_func `{other}`"),
            }
            let tolerance = &params["logit_reg"];
            if tolerance
                .as_object()
                .is_some_and(|object| !object.is_empty())
            {
                known(tolerance, &["init_bias", "neg_scale"]);
                text += &format!(
                    "tolerance = {{ kappa = {}, lambda = {} }}\n",
                    number(tolerance, "init_bias"),
                    number(tolerance, "neg_scale")
                );
            }
            let focal = &params["focal"];
            known(focal, &["focal", "gamma", "balance_param"]);
            if focal["focal"].as_bool().unwrap() {
                text += &format!(
                    "focal = {{ gamma = {}, balance = {} }}\n",
                    number(focal, "gamma"),
                    number(focal, "balance_param")
                );
            }
            table(&text)
        }
        other => panic!("unknown kind `{other}`"),
    }
}

/// Returns the configuration of a case of losses_more.json.
fn newer(case: &Value) -> LossConfig {
    let params = &case["params"];
    let reduction = match case["reduction"].as_str().unwrap() {
        "sum" => "sum",
        text if text.starts_with("as defined") => "own",
        other => panic!("unknown reduction `{other}`"),
    };
    let names: BTreeMap<&str, &str> = match case["kind"].as_str().unwrap() {
        "asl" | "apl" => [
            ("gamma_neg", "gamma_negative"),
            ("gamma_pos", "gamma_positive"),
            ("clip", "clip"),
            ("eps", "eps"),
            ("detach_focusing", "detach_focusing"),
            ("disable_torch_grad_focal_loss", "detach_focusing"),
        ]
        .into(),
        "hill" => [("lamb", "limit"), ("margin", "margin"), ("gamma", "gamma")].into(),
        "two-way" => [
            ("tp", "temperature_positive"),
            ("tn", "temperature_negative"),
        ]
        .into(),
        "zlpr" => BTreeMap::new(),
        other => panic!("unknown kind `{other}`"),
    };
    let mut text = format!("name = \"{}\"\n", case["kind"].as_str().unwrap());
    if reduction != "own" {
        text += &format!("reduction = \"{reduction}\"\n");
    }
    for (key, value) in params.as_object().unwrap() {
        let name = names.get(key.as_str());
        let name = name.unwrap_or_else(|| panic!("unknown parameter `{key}`"));
        text += &match value.as_bool() {
            Some(flag) => format!("{name} = {flag}\n"),
            None => format!("{name} = {:?}\n", value.as_f64().unwrap()),
        };
    }
    table(&text)
}

/// Returns loss and gradient of a case under `config`.
fn evaluate(case: &Value, config: &LossConfig, frequency: &ClassFrequency) -> (f64, Vec<f64>) {
    let logits = matrix(&case["logits"]);
    let labels = case["labels"].as_array().unwrap();
    let num_classes = logits.len() / labels.len();
    let mut targets = vec![0.0; logits.len()];
    for (image, labels) in labels.iter().enumerate() {
        for class in labels.as_array().unwrap() {
            targets[image * num_classes + class.as_u64().unwrap() as usize] = 1.0;
        }
    }
    let batch = Batch::new(&logits, &targets, num_classes, 0).unwrap();
    let mut gradient = vec![f64::NAN; logits.len()];
    let loss = config.build(frequency).unwrap();
    let value = loss.evaluate(&batch, &mut gradient).unwrap();
    (value, gradient)
}

#[test]
fn published_losses_agree() {
    let cases = cases("losses.json");
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-5 || (a - b).abs() <= 1e-5 * b.abs();
    for case in &cases {
        let counts = case["class_freq"].as_array().unwrap().iter();
        let frequency = ClassFrequency {
            counts: counts.map(|n| n.as_f64().unwrap() as usize).collect(),
            num_images: number(case, "num_images") as usize,
        };
        let (value, gradient) = evaluate(case, &published(&case["params"]), &frequency);
        let expected = number(case, "loss");
        assert!(
            close(value, expected),
            "{}: {value} for {expected}",
            case["name"]
        );
        let gradients = matrix(&case["grad"]);
        assert_eq!(gradients.len(), gradient.len());
        for (i, (own, expected)) in gradient.iter().zip(&gradients).enumerate() {
            assert!(
                close(*own, *expected),
                "{} at {i}: {own} for {expected}",
                case["name"]
            );
        }
    }
    println!("{} cases of losses.json agree", cases.len());
}

#[test]
fn newer_losses_agree() {
    let cases = cases("losses_more.json");
    for case in &cases {
        let num_classes = case["logits"][0].as_array().unwrap().len();
        let frequency = ClassFrequency {
            counts: vec![10; num_classes],
            num_images: 100,
        };
        let (value, gradient) = evaluate(case, &newer(case), &frequency);
        let gradients = matrix(&case["grad"]);
        let largest = gradients.iter().fold(0.0f64, |m, g| m.max(g.abs()));
        let expected = number(case, "loss");
        let near = (value - expected).abs() <= 1e-5 * largest.max(expected.abs());
        assert!(near, "{}: {value} for {expected}", case["name"]);
        for (i, (own, expected)) in gradient.iter().zip(&gradients).enumerate() {
            assert!(
                (own - expected).abs() <= 1e-5 * largest,
                "{} at {i}: {own} for {expected}, largest {largest}",
                case["name"]
            );
        }
    }
    println!("{} cases of losses_more.json agree", cases.len());
}

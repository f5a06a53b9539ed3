//! Tests optimisers, schedules, averaged weights and label smoothing against PyTorch's numbers: 20
//! steps each, see tests/golden/README.md.

mod common;

use candle_core::{DType, Device, Tensor, Var};
use common::{formula, golden};
use dbloss::data::labels::ClassFrequency;
use dbloss::loss::{self, smooth};
use dbloss::model::{Gradients, Parameters, Role};
use dbloss::optim::{
    AdamW, Average, Extent, Kind, Optimizer, OptimizerConfig, Schedule, Sgd, Step,
};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    let items = value.as_array().unwrap().iter();
    items.map(|item| item.as_f64().unwrap()).collect()
}

fn number(value: &Value, default: f64) -> f64 {
    value.as_f64().unwrap_or(default)
}

/// Returns the optimiser of a case and its learning rate.
fn kind(case: &Value) -> (Kind, f64) {
    let settings = &case["settings"];
    let weight_decay = number(&settings["weight_decay"], 0.0);
    let kind = match case["kind"].as_str().unwrap() {
        "sgd" => Kind::Sgd(Sgd {
            momentum: number(&settings["momentum"], 0.0),
            weight_decay,
            nesterov: settings["nesterov"].as_bool().unwrap_or(false),
        }),
        "adamw" => Kind::AdamW(AdamW {
            betas: match &settings["betas"] {
                Value::Null => [0.9, 0.999],
                betas => numbers(betas).try_into().unwrap(),
            },
            epsilon: number(&settings["eps"], 1e-8),
            weight_decay,
        }),
        other => panic!("an optimiser `{other}` that is not here"),
    };
    (kind, settings["lr"].as_f64().unwrap())
}

/// Returns the largest difference, relative to the largest expected value.
fn distance(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let size = expected.iter().fold(0.0f64, |size, x| size.max(x.abs()));
    let pairs = found.iter().zip(expected);
    pairs.fold(0.0f64, |far, (a, b)| far.max((a - b).abs())) / size.max(1e-30)
}

/// Returns the gradient of step `step`: see the README.
fn gradient(name: &str, value: &[f64], step: usize) -> Vec<f64> {
    let noise = |i: usize| f64::from(formula::element(&format!("gradient.{step}.{name}"), i));
    let of = |(i, p): (usize, &f64)| match name.split('.').next() {
        Some("silent") => 0.0,
        Some("faint") => 1e-6 * noise(i),
        _ => 0.5 * p + 0.01f64.powf(step as f64 / 20.0) * noise(i),
    };
    value.iter().enumerate().map(of).collect()
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.flatten_all().unwrap();
    flat.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

struct Named {
    name: String,
    shape: Vec<usize>,
    rate: f64,
}

/// Returns the tensors, those with their own learning rate first.
fn tensors(golden: &Value) -> Vec<Named> {
    let shapes = golden["tensors"].as_object().unwrap();
    let rates = &golden["rates_of_groups"];
    (shapes.iter())
        .map(|(name, shape)| Named {
            name: name.clone(),
            shape: numbers(shape).iter().map(|x| *x as usize).collect(),
            rate: number(&rates[name], 1.0),
        })
        .collect()
}

/// Tests the optimiser itself in f32, with its parameters and groups: to 1e-6 of each tensor's
/// largest value at each of the 20 steps.
#[test]
fn twenty_steps_in_single_precision() {
    let golden = golden("optimisers.json");
    let tensors = tensors(&golden);
    let mut cases = 0;
    for case in golden["optimisers"].as_array().unwrap() {
        let (kind, rate) = kind(case);
        let grouped = case["groups"].as_bool().unwrap();
        let mut config = OptimizerConfig::from(kind);
        if grouped {
            config.groups.backbone = 0.1;
            config.groups.decay_norms_and_biases = false;
        }
        let mut parameters = Parameters::new();
        for tensor in &tensors {
            // The group is determined by the part of the network with which the name begins.
            let part = if tensor.rate == 0.1 {
                "backbone"
            } else {
                "head"
            };
            let values = formula::values(&tensor.name, &tensor.shape);
            let var = Var::from_vec(values, &tensor.shape[..], &Device::Cpu).unwrap();
            let name = format!("{part}.{}", tensor.name);
            parameters.insert(name, var, Role::Trainable, 0).unwrap();
        }
        let mut optimizer = Optimizer::new(&config, &parameters).unwrap();
        for (step, expected) in case["steps"].as_array().unwrap().iter().enumerate() {
            let mut gradients = Gradients::none(&parameters);
            for (entry, tensor) in parameters.iter().zip(&tensors) {
                let of: Vec<f32> = (gradient(&tensor.name, &flat(&entry.var), step).iter())
                    .map(|g| *g as f32)
                    .collect();
                let of = Tensor::from_vec(of, &tensor.shape[..], &Device::Cpu).unwrap();
                gradients.set(entry, of);
            }
            (optimizer.step(&parameters, &gradients, rate, 1.0)).unwrap();
            for (entry, tensor) in parameters.iter().zip(&tensors) {
                let far = distance(&flat(&entry.var), &numbers(&expected[&tensor.name]));
                assert!(
                    far < 1e-6,
                    "{config:?}, {}, step {step}: {far:e}",
                    tensor.name
                );
            }
        }
        cases += 1;
    }
    assert_eq!(cases, 24);
}

/// Tests the form for other devices, in f64, to all digits of the file.
#[test]
fn twenty_steps_in_operations_of_candle() {
    let golden = golden("optimisers.json");
    for case in golden["optimisers"].as_array().unwrap() {
        let (kind, rate) = kind(case);
        let grouped = case["groups"].as_bool().unwrap();
        for Named {
            name,
            shape,
            rate: own,
        } in tensors(&golden)
        {
            let values = formula::values(&name, &shape);
            let values = Tensor::from_vec(values, &shape[..], &Device::Cpu).unwrap();
            let mut value = values.to_dtype(DType::F64).unwrap();
            let mut slots: Vec<Tensor> = (kind.slots().iter())
                .map(|_| value.zeros_like().unwrap())
                .collect();
            for (step, expected) in case["steps"].as_array().unwrap().iter().enumerate() {
                let gradient = gradient(&name, &flat(&value), step);
                let gradient = Tensor::from_vec(gradient, &shape[..], &Device::Cpu).unwrap();
                let spared = grouped && shape.len() == 1;
                let at = Step {
                    count: step as u64 + 1,
                    rate: if grouped { rate * own } else { rate },
                    decay: if spared { 0.0 } else { 1.0 },
                    factor: 1.0,
                };
                let before: Vec<&Tensor> = slots.iter().collect();
                let (new, fall) = kind.tensors(&at, &value, &before, &gradient).unwrap();
                slots = new;
                value = (value - fall).unwrap();
                let far = distance(&flat(&value), &numbers(&expected[&name]));
                assert!(far < 1e-8, "{kind:?}, {name}, step {step}: {far:e}");
            }
        }
    }
}

/// Returns the schedule of a case, or `None` for one that does not exist here.
fn schedule(case: &Value) -> Option<(Schedule, f64)> {
    let settings = &case["settings"];
    let of = |key: &str| settings[key].as_f64().unwrap();
    let base = number(&settings["lr"], number(&settings["max_lr"], 0.0));
    let warmup_iterations = Extent::Count(number(&settings["warmup"], 0.0) as usize);
    let warmup_ratio = number(&settings["start_factor"], 1.0);
    let schedule = match case["kind"].as_str().unwrap() {
        "one-cycle" => Schedule::OneCycle {
            warmup_iterations: Extent::Part(of("pct_start")),
            warmup_ratio: 1.0 / of("div_factor"),
            final_ratio: 1.0 / of("div_factor") / of("final_div_factor"),
        },
        "cosine" | "warmup-cosine" => Schedule::Cosine {
            warmup_iterations,
            warmup_ratio,
            final_ratio: of("eta_min") / base,
            after_warmup: false,
        },
        "warmup-step" => Schedule::Step {
            milestones: (numbers(&settings["milestones"]).iter())
                .map(|m| Extent::Steps(*m as usize))
                .collect(),
            gamma: of("gamma"),
            warmup_iterations,
            warmup_ratio,
        },
        // Here the cosine spans the whole training, including the warm-up.
        "warmup-then-cosine" => return None,
        other => panic!("a schedule `{other}` that is not here"),
    };
    Some((schedule, base))
}

#[test]
fn rates_are_those_of_pytorch_at_every_step() {
    let golden = golden("optimisers.json");
    let mut seen = 0;
    for case in golden["schedules"].as_array().unwrap() {
        let Some((schedule, base)) = schedule(case) else {
            continue;
        };
        let steps = case["steps"].as_u64().unwrap() as usize;
        for (step, expected) in numbers(&case["rates"]).into_iter().enumerate() {
            let found = schedule.learning_rate(base, step, steps, 1);
            let far = (found - expected).abs() / expected.max(1e-9 * base);
            assert!(far < 1e-9, "{schedule:?}, step {step}: {found} {expected}");
        }
        seen += 1;
    }
    assert_eq!(seen, 9);
}

#[test]
fn averages_follow_the_parameters_as_pytorchs_do() {
    let golden = golden("optimisers.json");
    let shapes = [("fc.weight", vec![5, 3]), ("fc.bias", vec![5])];
    for case in golden["averages"].as_array().unwrap() {
        let mut parameters = Parameters::new();
        for (name, shape) in &shapes {
            let values = formula::values(name, shape);
            let var = Var::from_vec(values, &shape[..], &Device::Cpu).unwrap();
            parameters.insert(*name, var, Role::Trainable, 0).unwrap();
        }
        let mut average = Average::new(case["decay"].as_f64().unwrap(), &parameters).unwrap();
        for (step, expected) in case["steps"].as_array().unwrap().iter().enumerate() {
            for (entry, (_, shape)) in parameters.iter().zip(&shapes) {
                let values = numbers(&expected["parameters"][&entry.name]);
                let values: Vec<f32> = values.into_iter().map(|x| x as f32).collect();
                let values = Tensor::from_vec(values, &shape[..], &Device::Cpu).unwrap();
                entry.set(&values).unwrap();
            }
            average.update(&parameters).unwrap();
            for (name, value) in average.state(&parameters) {
                let far = distance(&flat(value), &numbers(&expected["average"][name]));
                assert!(far < 1e-6, "{name}, step {step}: {far:e}");
            }
        }
    }
}

#[test]
fn smoothed_labels_cost_what_pytorchs_do() {
    let golden = golden("optimisers.json");
    for case in golden["label_smoothing"].as_array().unwrap() {
        let rows = |key: &str| -> Vec<f64> {
            let rows = case[key].as_array().unwrap().iter();
            rows.flat_map(numbers).collect()
        };
        let mut targets: Vec<f32> = rows("labels").into_iter().map(|y| y as f32).collect();
        smooth(&mut targets, case["smoothing"].as_f64().unwrap());
        let found: Vec<f64> = targets.iter().map(|y| f64::from(*y)).collect();
        assert!(distance(&found, &rows("targets")) < 1e-7);
        let classes = 7;
        let frequency = ClassFrequency {
            counts: vec![1; classes],
            num_images: 2,
        };
        let loss = loss::build("bce", &frequency).unwrap();
        let logits = rows("logits");
        let batch = loss::Batch::new(&logits, &targets, classes, 0).unwrap();
        let mut gradient = vec![0.0; logits.len()];
        let value = loss.evaluate(&batch, &mut gradient).unwrap();
        let expected = case["loss"].as_f64().unwrap();
        // Targets are in single precision.
        assert!(
            (value - expected).abs() < 1e-6 * expected,
            "{value} {expected}"
        );
        assert!(distance(&gradient, &rows("grad")) < 1e-6);
    }
}

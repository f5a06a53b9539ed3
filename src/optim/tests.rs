//! Properties of every optimiser, and each compared with its recurrence written out in f64.

use candle_core::{DType, Device, Tensor, Var};

use super::{AdamW, Kind, Optimizer, OptimizerConfig, Sgd, Step};
use crate::model::{Gradients, Parameters, Role};

fn parameters(length: usize) -> Parameters {
    let mut parameters = Parameters::new();
    for (number, name) in ["backbone.w", "neck.bias", "head.w"]
        .into_iter()
        .enumerate()
    {
        let stage = if name == "backbone.w" { 1 } else { 3 };
        let values: Vec<f32> = (0..length).map(|i| wave(i + number * 1000)).collect();
        let var = Var::from_vec(values, (length / 2, 2), &Device::Cpu).unwrap();
        let var = match name {
            "neck.bias" => Var::from_tensor(&var.flatten_all().unwrap()).unwrap(),
            _ => var,
        };
        parameters
            .insert(name, var, Role::Trainable, stage)
            .unwrap();
    }
    parameters
}

fn wave(i: usize) -> f32 {
    ((i * 7919 % 1009) as f32 / 1009.0 - 0.5) * 2.0
}

fn gradient(like: &Tensor, step: usize) -> Tensor {
    let values: Vec<f32> = (0..like.elem_count())
        .map(|i| wave(i * 3 + step * 17))
        .collect();
    Tensor::from_vec(values, like.shape(), &Device::Cpu).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Trains for five steps and returns the values of all parameters.
fn trained(config: &OptimizerConfig, length: usize) -> Vec<Vec<f32>> {
    let parameters = parameters(length);
    let mut optimizer = Optimizer::new(config, &parameters).unwrap();
    for step in 0..5 {
        let mut gradients = Gradients::none(&parameters);
        for entry in parameters.iter() {
            gradients.set(entry, gradient(&entry.var, step));
        }
        (optimizer.step(&parameters, &gradients, 0.05, 0.7)).unwrap();
    }
    parameters.iter().map(|entry| flat(&entry.var)).collect()
}

/// Applies two updates to one scalar of value 1 with gradients 0.5 and -2, in f64.
fn twice(mut update: impl FnMut(u32, f64, f64) -> f64) -> f64 {
    let first = update(1, 1.0, 0.5);
    update(2, first, -2.0)
}

fn twice_by(kind: Kind) -> f64 {
    let mut values = Parameters::new();
    let var = Var::new(&[[1f32]], &Device::Cpu).unwrap();
    values.insert("head.w", var, Role::Trainable, 0).unwrap();
    let mut optimizer = Optimizer::new(&OptimizerConfig::from(kind), &values).unwrap();
    for gradient in [0.5f32, -2.0] {
        let mut gradients = Gradients::none(&values);
        let gradient = Tensor::new(&[[gradient]], &Device::Cpu).unwrap();
        gradients.set(values.get("head.w").unwrap(), gradient);
        (optimizer.step(&values, &gradients, 0.2, 0.5)).unwrap();
    }
    f64::from(flat(values.var("head.w").unwrap())[0])
}

#[test]
fn sgd_follows_its_recurrence_with_and_without_nesterov() {
    for nesterov in [false, true] {
        let mut v = 0.0;
        let expected = twice(|_, p, g| {
            let g = 0.5 * g + 0.1 * p;
            v = 0.9 * v + g;
            p - 0.2 * if nesterov { g + 0.9 * v } else { v }
        });
        let found = twice_by(Kind::Sgd(Sgd {
            momentum: 0.9,
            weight_decay: 0.1,
            nesterov,
        }));
        assert!(
            (found - expected).abs() < 1e-6,
            "{nesterov} {found} {expected}"
        );
    }
}

/// Published runs are reproduced to the last bit: the operations and their order must not change.
#[test]
fn the_published_sgd_is_exact_in_single_precision() {
    let (mut p, mut v) = (1f32, 0f32);
    for g in [0.5f32, -2.0] {
        v = 0.9 * v + 0.5 * g + 1e-4 * p;
        p -= 0.2 * v;
    }
    let found = twice_by(Kind::Sgd(Sgd::default()));
    assert_eq!(found, f64::from(p));
}

#[test]
fn adamw_follows_its_recurrence() {
    let (mut m, mut v) = (0.0, 0.0);
    let expected = twice(|t, p, g| {
        let g = 0.5 * g;
        m = 0.8 * m + 0.2 * g;
        v = 0.95 * v + 0.05 * g * g;
        let (m, v) = (
            m / (1.0 - 0.8f64.powi(t as i32)),
            v / (1.0 - 0.95f64.powi(t as i32)),
        );
        p - 0.2 * 0.3 * p - 0.2 * m / (v.sqrt() + 1e-3)
    });
    let found = twice_by(Kind::AdamW(AdamW {
        betas: [0.8, 0.95],
        epsilon: 1e-3,
        weight_decay: 0.3,
    }));
    assert!((found - expected).abs() < 1e-6, "{found} {expected}");
}

#[test]
fn names_are_unique_and_every_kind_has_slots_of_its_own() {
    for (at, name) in Kind::NAMES.iter().enumerate() {
        assert!(!Kind::NAMES[at + 1..].contains(name), "{name}");
    }
    for kind in Kind::defaults() {
        let config = OptimizerConfig::from(kind);
        let parameters = parameters(4);
        let optimizer = Optimizer::new(&config, &parameters).unwrap();
        let state = optimizer.state().count();
        assert_eq!(state, 3 * config.kind.slots().len());
    }
}

/// The two forms of an update, over scalars and in candle's operations, agree.
#[test]
fn tensors_move_as_scalars_do() {
    for kind in Kind::defaults().into_iter().chain([Kind::Sgd(Sgd {
        nesterov: true,
        ..Sgd::default()
    })]) {
        let parameter = gradient(&Tensor::zeros(100, DType::F32, &Device::Cpu).unwrap(), 90);
        let mut scalars = flat(&parameter);
        let mut slots: Vec<Vec<f32>> = kind.slots().iter().map(|_| vec![0.0; 100]).collect();
        let mut tensor = parameter.clone();
        let mut kept: Vec<Tensor> = (kind.slots().iter())
            .map(|_| tensor.zeros_like().unwrap())
            .collect();
        for count in 1..6 {
            let step = Step {
                count,
                rate: 0.1,
                decay: 1.0,
                factor: 0.3,
            };
            let gradient = gradient(&tensor, count as usize);
            let mut open: Vec<&mut [f32]> = slots.iter_mut().map(Vec::as_mut_slice).collect();
            kind.scalars(&step, &mut scalars, &mut open, &flat(&gradient));
            let by: Vec<&Tensor> = kept.iter().collect();
            let (new, fall) = kind.tensors(&step, &tensor, &by, &gradient).unwrap();
            kept = new;
            tensor = (tensor - fall).unwrap();
        }
        for (a, b) in scalars.iter().zip(flat(&tensor)) {
            assert!((a - b).abs() < 2e-6, "{kind:?} {a} {b}");
        }
    }
}

/// The parameter is longer than one task: split into pieces, it must get the same values.
#[test]
fn pieces_do_not_change_a_bit() {
    for kind in Kind::defaults() {
        let config = OptimizerConfig::from(kind);
        let (long, short) = (trained(&config, 40_000), trained(&config, 600));
        assert_eq!(long[0][..600], short[0][..], "{config:?}");
        let one = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        assert_eq!(one.install(|| trained(&config, 40_000)), long);
    }
}

#[test]
fn groups_reach_their_part_and_nothing_else() {
    let usual = trained(&OptimizerConfig::default(), 8);
    let mut config = OptimizerConfig::default();
    config.groups.neck = 0.0;
    let held = trained(&config, 8);
    let start: Vec<f32> = (0..8).map(|i| wave(i + 1000)).collect();
    assert_eq!(held[1], start);
    assert_eq!((&held[0], &held[2]), (&usual[0], &usual[2]));

    let mut config = OptimizerConfig::default();
    config.groups.decay_norms_and_biases = false;
    let spared = trained(&config, 8);
    assert_eq!((&spared[0], &spared[2]), (&usual[0], &usual[2]));
    let none = OptimizerConfig::from(Kind::Sgd(Sgd {
        weight_decay: 0.0,
        ..Sgd::default()
    }));
    assert_eq!(spared[1], trained(&none, 8)[1]);

    let mut config = OptimizerConfig::default();
    config.groups.head = 0.5;
    let mut slow = OptimizerConfig::default();
    (slow.groups.backbone, slow.groups.neck, slow.groups.head) = (0.5, 0.5, 0.5);
    assert_eq!(trained(&config, 8)[2], trained(&slow, 8)[2]);
    assert_eq!(trained(&config, 8)[0], usual[0]);

    // Two stages below the top.
    let mut config = OptimizerConfig::default();
    config.groups.layer_decay = 0.5;
    let mut slow = OptimizerConfig::default();
    slow.groups.backbone = 0.25;
    assert_eq!(trained(&config, 8), trained(&slow, 8));
}

//! The whole network: what is trained, what is held fixed, what a checkpoint replaces.

use super::backbone::adapter::AdapterConfig;
use super::backbone::adapter::Kind;
use super::*;
use crate::error::KeyPath;
use crate::optim::{Optimizer, OptimizerConfig};

fn labels() -> LabelTable {
    let mut labels = LabelTable::new(["cat", "dog", "cow"].map(str::to_owned).to_vec());
    for (image, classes) in [[0u32, 1].as_slice(), &[1], &[2, 0]].iter().enumerate() {
        labels.push(image.to_string(), classes.iter().copied());
    }
    labels
}

const TARGETS: [f32; 9] = [1., 1., 0., 0., 1., 0., 1., 0., 1.];

fn config(head: &str, neck: &str) -> ModelConfig {
    let text =
        format!("backbone = 'mobilenet_v2'\nfrozen_stages = 4\n[neck]\n{neck}\n[head]\n{head}");
    toml::from_str(&text).unwrap()
}

/// Returns each head with every neck that it supports.
fn configs() -> Vec<ModelConfig> {
    let (published, none) = ("out_channels = 8", "kind = 'none'");
    let written = [
        ("kind = 'linear'", published),
        ("kind = 'linear'", none),
        (
            "kind = 'cosine'\nlearn_scale = true\nbias = true",
            published,
        ),
        ("kind = 'norm-weight'", published),
        ("kind = 'csra'\ntemperatures = [1.0, inf]", none),
        (
            "kind = 'ml-decoder'\nwidth = 8\nfeed_forward = 8\nattention_heads = 2",
            none,
        ),
        ("kind = 'ml-gcn'\nhidden = 8", none),
        (
            "kind = 'ml-gcn'\nhidden = 8\npooling = 'embedding'",
            published,
        ),
        ("kind = 'oltr'", published),
    ];
    let mut all: Vec<ModelConfig> = written.map(|(head, neck)| config(head, neck)).into();
    all.extend(
        Kind::defaults()
            .into_iter()
            .map(|kind| with_adapter(kind.into())),
    );
    for head in head::Kind::DEFINITIONS {
        let there = all.iter().any(|config| config.head.name() == head.name);
        assert!(there, "`{}` is not tried", head.name);
    }
    all
}

/// Returns a vision transformer with this adapter in its last two blocks.
fn with_adapter(adapter: AdapterConfig) -> ModelConfig {
    ModelConfig {
        backbone: BackboneKind::named("vit_tiny_patch16_224").unwrap(),
        adapter: Some(AdapterConfig {
            blocks: Some(2),
            ..adapter
        }),
        ..config("", "out_channels = 8")
    }
}

fn images() -> Tensor {
    let mut stream = Stream::new(1, "images", 0, 0);
    let values: Vec<f32> = (0..3 * 64 * 64 * 3)
        .map(|_| stream.normal() as f32)
        .collect();
    Tensor::from_vec(values, (3, 64, 64, 3), &Device::Cpu).unwrap()
}

fn values(parameter: &Parameter) -> Vec<f32> {
    let flat = parameter.var.flatten_all().unwrap();
    flat.to_vec1().unwrap()
}

/// One SGD step on the mean squared difference between logits and targets.
fn step(model: &Model) -> Gradients {
    let mut stream = Stream::new(0, "dropout", 0, 0);
    let (logits, trace) = model
        .forward_train(&Input::Pictures(images()), &mut stream)
        .unwrap();
    model.observe(&trace, &TARGETS).unwrap();
    let targets = Tensor::from_slice(&TARGETS, (3, 3), &Device::Cpu).unwrap();
    let loss = (logits - targets).unwrap().sqr().unwrap().mean_all();
    let found = loss.unwrap().backward().unwrap();
    let gradients = model.gradients(trace, &found).unwrap();
    let sgd = OptimizerConfig::default();
    let mut optimizer = Optimizer::new(&sgd, &model.parameters).unwrap();
    optimizer
        .step(&model.parameters, &gradients, 0.1, 1.0)
        .unwrap();
    gradients
}

/// Some of candle's operations drop gradients silently: every trainable parameter must have one,
/// and must move; nothing else may move except statistics.
#[test]
fn every_parameter_that_learns_does() {
    for config in configs() {
        let model = Model::new(&config, &labels(), &Device::Cpu, 0).unwrap();
        // A memory is empty in the first step, and what reads it is not trained.
        step(&model);
        let before: Vec<Vec<f32>> = model.parameters.iter().map(values).collect();
        let gradients = step(&model);
        for (parameter, before) in model.parameters.iter().zip(before) {
            let what = format!("{} {}", config.head.name(), parameter.name);
            let moved = values(parameter) != before;
            match parameter.role {
                Role::Trainable => {
                    // The batch norm cancels the bias before it, up to rounding.
                    let gradient = gradients.tensor(parameter).unwrap().expect(&what);
                    let largest = gradient.abs().unwrap().max_all().unwrap();
                    let largest = largest.to_scalar::<f32>().unwrap();
                    assert!(largest > 0.0 || parameter.name == "neck.fc.bias", "{what}");
                    assert!(moved, "{what} stays");
                }
                Role::Frozen => assert!(!moved, "{what} moves"),
                Role::Buffer => {
                    let of_head = ["neck.", "head."];
                    let moves = of_head.iter().any(|part| parameter.name.starts_with(part));
                    let again = parameter.name == "head.seen";
                    assert_eq!(moved, moves && !again, "{what}");
                }
            }
        }
    }
}

#[test]
fn what_is_held_keeps_statistics_and_memory() {
    for held in [
        Held::default(),
        Held {
            neck: true,
            head: true,
        },
    ] {
        let config = config("kind = 'oltr'", "out_channels = 8\ndropout = 0.0");
        let mut model = Model::new(&config, &labels(), &Device::Cpu, 0).unwrap();
        model.hold(held);
        let state = || {
            let buffers = model.parameters.iter().filter(|p| p.role == Role::Buffer);
            buffers.map(values).collect::<Vec<_>>()
        };
        let before = state();
        let evaluated = model.logits(&Input::Pictures(images())).unwrap();
        let mut stream = Stream::new(0, "dropout", 0, 0);
        let (logits, trace) = model
            .forward_train(&Input::Pictures(images()), &mut stream)
            .unwrap();
        model.observe(&trace, &TARGETS).unwrap();
        assert_eq!(state() == before, held.neck);
        let apart = (logits - evaluated)
            .unwrap()
            .abs()
            .unwrap()
            .max_all()
            .unwrap();
        assert_eq!(apart.to_scalar::<f32>().unwrap() == 0.0, held.neck);
    }
}

/// A training step of a zero-shot classifier is not an error.
#[test]
fn a_network_in_which_nothing_learns_takes_a_step() {
    let folder = tempfile::tempdir().unwrap();
    let features = folder.path().join("text.csv");
    let row = |name: &str| format!("{name}{}\n", ",0.5".repeat(1280));
    fs_err::write(&features, ["cat", "dog", "cow"].map(row).concat()).unwrap();
    let head = format!(
        "kind = 'cosine'\nscale = 100.0\nfrozen = true\ninit = '{}'",
        features.display()
    );
    let config = config(&head, "kind = 'none'");
    let model = Model::new(&config, &labels(), &Device::Cpu, 0).unwrap();
    assert_eq!(model.parameters.num_trainable(), 0);
    assert!(step(&model).is_empty());
}

/// Word vectors are stored in the checkpoint: their file may be gone by then.
#[test]
fn an_empty_network_takes_everything_from_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let words = folder.path().join("words.txt");
    fs_err::write(&words, "cat 1 2\ndog 3 4\ncow 5 7\n").unwrap();
    let head = format!(
        "kind = 'ml-gcn'\nhidden = 4\ndimensions = 2\nwords = '{}'",
        words.display()
    );
    let config = config(&head, "kind = 'none'");
    let model = Model::new(&config, &labels(), &Device::Cpu, 5).unwrap();
    let vectors = model.parameters.get("head.vectors").unwrap();
    assert_eq!(values(vectors), [1., 2., 3., 4., 5., 7.]);
    fs_err::remove_file(&words).unwrap();
    assert!(Model::new(&config, &labels(), &Device::Cpu, 5).is_err());
    let empty = Model::empty(&config, &labels(), &Device::Cpu).unwrap();
    for (to, from) in empty.parameters.iter().zip(model.parameters.iter()) {
        to.set(&from.var).unwrap();
    }
    let logits = |model: &Model| {
        model
            .logits(&Input::Pictures(images()))
            .unwrap()
            .to_vec2::<f32>()
            .unwrap()
    };
    assert_eq!(logits(&empty), logits(&model));
}

/// A default is written as it was before there were heads, so that the hashes of runs do not
/// change.
#[test]
fn the_published_network_is_written_as_it_always_was() {
    let before = "backbone = \"resnet50\"\nweights = \"\"\nfrozen_stages = 1\nnorm_eval = true\n\
        winograd = \"on\"\n\n[neck]\nout_channels = 256\ndropout = 0.5\n";
    assert_eq!(toml::to_string(&ModelConfig::default()).unwrap(), before);
    let explicit = "neck = { kind = 'published' }\nhead = { kind = 'linear' }";
    let explicit: ModelConfig = toml::from_str(explicit).unwrap();
    assert_eq!(toml::to_string(&explicit).unwrap(), before);
    let names = |config: &ModelConfig| -> Vec<String> {
        let model = Model::new(config, &labels(), &Device::Cpu, 0).unwrap();
        let all = model.parameters.iter().map(|p| p.name.clone());
        all.filter(|name| name.starts_with("head.")).collect()
    };
    let small = config("", "");
    assert_eq!(names(&small), ["head.weight", "head.bias"]);
}

/// Features of a backbone with a trainable adapter must not be cached.
#[test]
fn an_adapter_learns_in_place_of_the_backbone() {
    for kind in Kind::defaults() {
        let learning = with_adapter(kind.into());
        let mut frozen = learning.clone();
        if let Some(adapter) = &mut frozen.adapter {
            adapter.frozen = true;
        }
        let bare = ModelConfig {
            adapter: None,
            frozen_stages: 12,
            ..learning.clone()
        };
        let counts = [&bare, &learning, &frozen].map(|config| {
            let model = Model::new(config, &labels(), &Device::Cpu, 0).unwrap();
            let all = model.parameters.iter().map(|p| p.var.elem_count());
            let own = all.sum::<usize>();
            (
                config.is_backbone_fixed(),
                own,
                model.parameters.num_trainable(),
            )
        });
        let added = match learning.adapter.as_ref().map(|adapter| adapter.kind.name()) {
            Some("lora") => 2 * 8 * (192 + 3 * 192),
            _ => 2 * (2 * 64 * 192 + 64 + 192),
        };
        let (_, all, learns) = counts[0];
        let expected = [
            (true, all, learns),
            (false, all + added, learns + added),
            (true, all + added, learns),
        ];
        assert_eq!(counts, expected);
    }
}

/// Published files have no adapter, and are still complete without it; a run's checkpoint contains
/// its own.
#[test]
fn weights_are_read_into_a_network_with_an_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let adapted = with_adapter(Kind::defaults().remove(0).into());
    let bare = ModelConfig {
        adapter: None,
        frozen_stages: 12,
        ..adapted.clone()
    };
    for (config, adapters) in [(&bare, 0), (&adapted, 4)] {
        let source = Model::new(config, &labels(), &Device::Cpu, 1).unwrap();
        let own = |name: &str| name.starts_with("backbone.");
        let tensors: std::collections::HashMap<String, Tensor> = (source.parameters.iter())
            .filter(|parameter| own(&parameter.name))
            .map(|parameter| (parameter.name.clone(), parameter.var.as_detached_tensor()))
            .collect();
        let path = folder.path().join("weights.safetensors");
        candle_core::safetensors::save(&tensors, &path).unwrap();
        let model = Model::new(&adapted, &labels(), &Device::Cpu, 2).unwrap();
        let name = adapted.backbone.name();
        let report = weights::load_backbone(&model.parameters, &path, name, &Device::Cpu).unwrap();
        assert_eq!(report.loaded.len(), tensors.len());
        assert!(report.missing.is_empty(), "{:?}", report.missing);
        let loaded = report.loaded.iter().filter(|name| name.contains(".lora_"));
        assert_eq!(loaded.count(), adapters);
    }
}

#[test]
fn settings_that_say_nothing_beside_an_adapter_are_refused() {
    let at = KeyPath::from("model");
    let adapted = with_adapter(Kind::defaults().remove(0).into());
    for (frozen_stages, allowed) in [(1, true), (12, true), (-1, false), (0, false), (4, false)] {
        let config = ModelConfig {
            frozen_stages,
            ..adapted.clone()
        };
        match (config.check(&at), allowed) {
            (Ok(()), true) => {}
            (Err(error), false) => {
                assert!(error.to_string().contains("model.frozen_stages"), "{error}");
                assert!(error.remedy().unwrap().contains("12"));
            }
            (found, _) => panic!("{frozen_stages}: {found:?}"),
        }
    }
    let given = ModelConfig {
        features: Some(toml::from_str("train = 'a.npy'").unwrap()),
        adapter: adapted.adapter,
        ..ModelConfig::default()
    };
    let error = given.check(&at).unwrap_err().to_string();
    assert!(error.contains("model.adapter"), "{error}");
}

#[test]
fn maps_and_a_neck_do_not_go_together() {
    let at = KeyPath::from("model");
    let error = config("kind = 'csra'", "").check(&at).unwrap_err();
    assert!(error.to_string().contains("model.head.kind"), "{error}");
    assert!(error.remedy().unwrap().contains("kind = \"none\""));
    config("kind = 'csra'", "kind = 'none'").check(&at).unwrap();
    let pooled = "kind = 'ml-gcn'\npooling = 'embedding'";
    config(pooled, "").check(&at).unwrap();
}

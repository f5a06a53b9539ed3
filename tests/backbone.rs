//! Tests the CPU engine against the composition of candle's operations in double precision.

mod common;

use candle_core::{DType, Device, Tensor};
use common::formula;
use dbloss::model::backbone::adapter::{AdaptFormer, AdapterConfig, Kind, LinearLayer, Lora};
use dbloss::model::backbone::{self, Backbone, BackboneConfig, BackboneKind, Winograd};
use dbloss::model::builder::Builder;
use dbloss::model::{Gradients, Parameter, Parameters, Role};

/// Numbers of parameters without the classifier, as counted by torchvision and timm, and of
/// features.
const COUNTS: [(&str, usize, usize); 29] = [
    ("resnet10_w16", 309_456, 128),
    ("resnet18", 11_176_512, 512),
    ("resnet34", 21_284_672, 512),
    ("resnet50", 23_508_032, 2048),
    ("resnet101", 42_500_160, 2048),
    ("resnet152", 58_143_808, 2048),
    ("resnet50_v1", 23_508_032, 2048),
    ("resnext50_32x4d", 22_979_904, 2048),
    ("wide_resnet50_2", 66_834_240, 2048),
    ("mobilenet_v2", 2_223_872, 1280),
    ("mobilenet_v3_large", 2_971_952, 960),
    ("efficientnet_b0", 4_007_548, 1280),
    ("efficientnet_lite0", 3_371_008, 1280),
    ("efficientnet_lite0_symmetric", 3_371_008, 1280),
    ("convnext_tiny", 27_820_128, 768),
    ("convnext_small", 49_454_688, 768),
    ("regnet_x_400mf", 5_094_976, 400),
    ("vit_tiny_patch16_224", 5_524_416, 192),
    ("vit_small_patch16_224", 21_665_664, 384),
    ("vit_base_patch16_224", 85_798_656, 768),
    ("vit_small_patch14_dinov2", 22_056_192, 384),
    ("vit_base_patch14_dinov2", 86_579_712, 768),
    ("vit_small_patch14_reg4_dinov2", 22_057_344, 384),
    ("vit_base_patch14_reg4_dinov2", 86_582_016, 768),
    ("vit_base_patch32_clip_224", 87_849_216, 512),
    ("vit_base_patch16_clip_224", 86_192_640, 512),
    ("vit_base_patch32_clip_quickgelu_224", 87_849_216, 512),
    ("vit_base_patch16_clip_quickgelu_224", 86_192_640, 512),
    ("resnet50_clip", 38_316_896, 1024),
];

fn config(name: &str, frozen_stages: i32, norm_eval: bool) -> BackboneConfig {
    BackboneConfig {
        name: BackboneKind::named(name).unwrap(),
        frozen_stages,
        norm_eval,
        winograd: Winograd::On,
        adapter: None,
    }
}

fn build(config: &BackboneConfig, composed: bool) -> (Box<dyn Backbone>, Parameters) {
    let backbone = |dtype, build: fn(&_, &_) -> _| {
        let builder = Builder::new(&Device::Cpu, dtype, 3);
        let backbone: dbloss::Result<Box<dyn Backbone>> = build(config, &builder);
        (backbone.unwrap(), builder.parameters())
    };
    match composed {
        true => backbone(DType::F64, backbone::build_composed),
        false => backbone(DType::F32, backbone::build),
    }
}

/// Runs one training pass with the loss sum(features * direction).
fn step(backbone: &dyn Backbone, images: &Tensor) -> (Vec<f32>, Gradients) {
    let (features, tape) = backbone.forward_train(images).unwrap();
    let features = features.pooled().unwrap();
    let direction = formula::values("direction", &[1, features.elem_count()]);
    let direction = Tensor::from_vec(direction, features.shape(), features.device())
        .and_then(|t| t.to_dtype(features.dtype()))
        .unwrap();
    let loss = (&features * direction).unwrap().sum_all().unwrap();
    let mut gradients = Gradients::default();
    tape.backward(&loss.backward().unwrap(), &mut gradients)
        .unwrap();
    (flat(&features), gradients)
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    let values = tensor.flatten_all().and_then(|t| t.to_dtype(DType::F32));
    values.unwrap().to_vec1().unwrap()
}

/// Returns pooled features in evaluation mode.
fn pooled(backbone: &dyn Backbone, images: &Tensor) -> Vec<f32> {
    flat(&backbone.features(images).unwrap().pooled().unwrap())
}

/// Returns the Euclidean norm.
fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

/// Returns the Euclidean distance, relative to the norm of the expected values or to `floor`,
/// whichever is larger.
fn error(found: &[f32], expected: &[f32], floor: f64) -> f64 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    let distance = norm(pairs.map(|(f, e)| f64::from(*f) - f64::from(*e)));
    distance / norm(expected.iter().map(|&e| e.into())).max(floor)
}

fn compare(config: &BackboneConfig, batch: usize, size: usize, tolerance: f64) {
    let (engine, parameters) = build(config, false);
    let (reference, reference_parameters) = build(config, true);
    formula::fill(&parameters);
    formula::fill(&reference_parameters);
    let images = formula::images("pictures", batch, size, 1.0);

    let found = pooled(&*engine, &images);
    let expected = pooled(&*reference, &images);
    let features_error = error(&found, &expected, 0.0);
    assert!(
        features_error < 2e-5,
        "{config:?}: features {features_error}"
    );

    let (found, gradients) = step(&*engine, &images);
    let (expected, reference_gradients) = step(&*reference, &images);
    let features_error = error(&found, &expected, 0.0);
    assert!(
        features_error < 1e-4,
        "{config:?}: training {features_error}"
    );

    // The shift of a batch norm that is followed by another one without an activation between has
    // no effect on the loss: its gradient is rounding error and is compared with the other
    // gradients.
    let norms = reference_gradients
        .iter()
        .map(|(_, g)| norm(flat(&g.tensor().unwrap()).iter().map(|&v| v.into())));
    let floor = 1e-3 * norms.fold(0.0, f64::max);
    let mut worst = 0.0f64;
    let learning: Vec<&Parameter> = parameters.trainable().collect();
    assert_eq!(gradients.len(), learning.len());
    for parameter in learning {
        let name = &parameter.name;
        let found = gradients.tensor(parameter).unwrap().unwrap();
        let expected = reference_gradients.tensor(parameter).unwrap().unwrap();
        assert_eq!(found.dims(), expected.dims(), "{name}");
        let error = error(&flat(&found), &flat(&expected), floor);
        worst = worst.max(error);
        assert!(error < tolerance, "{config:?}: {name} {error}");
    }
    println!("{config:?}: largest relative error of a gradient {worst:.1e}");
    for (found, expected) in parameters.iter().zip(reference_parameters.iter()) {
        let error = error(&flat(&found.var), &flat(&expected.var), 1e-12);
        assert!(error < 1e-4, "{config:?}: {} {error}", found.name);
    }
}

#[test]
fn names_and_counts_are_torchvisions() {
    assert_eq!(backbone::names(), COUNTS.map(|(name, ..)| name));
    for (name, count, features) in COUNTS {
        let (backbone, parameters) = build(&config(name, -1, true), false);
        assert_eq!(parameters.num_trainable(), count, "{name}");
        assert_eq!(backbone.num_pooled(), features, "{name}");
    }
    let page = std::fs::read_to_string("docs/backbones.md").unwrap();
    for (name, count, features) in COUNTS {
        let digits = count.to_string();
        let groups: Vec<&str> = (digits.as_bytes().rchunks(3).rev())
            .map(|group| std::str::from_utf8(group).unwrap())
            .collect();
        let row = format!("| `{name}` | {} | {features} |", groups.join(","));
        assert!(page.contains(&row), "docs/backbones.md lacks {row}");
    }
    let (_, resnet) = build(&config("resnet50", 1, true), false);
    for name in [
        "backbone.conv1.weight",
        "backbone.bn1.running_var",
        "backbone.layer1.0.downsample.0.weight",
        "backbone.layer4.2.bn3.bias",
    ] {
        assert!(resnet.get(name).is_some(), "{name}");
    }
    let (_, mobilenet) = build(&config("mobilenet_v2", 1, true), false);
    for name in [
        "backbone.features.0.0.weight",
        "backbone.features.1.conv.0.0.weight",
        "backbone.features.1.conv.1.weight",
        "backbone.features.1.conv.2.running_mean",
        "backbone.features.17.conv.1.0.weight",
        "backbone.features.17.conv.3.weight",
        "backbone.features.18.1.bias",
    ] {
        assert!(mobilenet.get(name).is_some(), "{name}");
    }
}

#[test]
fn frozen_stages_do_not_learn() {
    let (_, parameters) = build(&config("resnet18", 1, true), false);
    let role = |name: &str| parameters.get(name).unwrap().role;
    assert_eq!(role("backbone.layer1.1.conv2.weight"), Role::Frozen);
    assert_eq!(role("backbone.layer2.0.conv1.weight"), Role::Trainable);
    assert_eq!(role("backbone.layer2.0.bn1.running_var"), Role::Buffer);
}

#[test]
fn resnet18_matches_the_composition() {
    for (frozen_stages, norm_eval) in [(-1, true), (-1, false), (1, true)] {
        let config = config("resnet18", frozen_stages, norm_eval);
        let tolerance = if norm_eval { 1e-4 } else { 1e-3 };
        compare(&config, 2, 33, tolerance);
    }
}

// Batch statistics over few values are ill-conditioned, and more so with every layer: rounding may
// flip an activation, and with it a part of a gradient. So the deeper networks train only their
// last stage there, with more pixels, and the bound is one that a wrong formula exceeds.

#[test]
fn resnet50_matches_the_composition() {
    compare(&config("resnet50", -1, true), 2, 33, 1e-4);
    compare(&config("resnet50", 3, false), 4, 48, 0.1);
}

#[test]
fn mobilenet_matches_the_composition() {
    compare(&config("mobilenet_v2", -1, true), 3, 33, 1e-4);
    compare(&config("mobilenet_v2", 3, true), 2, 32, 1e-4);
    compare(&config("mobilenet_v2", 3, false), 5, 48, 0.1);
}

#[test]
fn grouped_resnet_matches_the_composition() {
    compare(&config("resnext50_32x4d", -1, true), 2, 33, 1e-4);
}

#[test]
fn mobilenet_v3_matches_the_composition() {
    compare(&config("mobilenet_v3_large", -1, true), 3, 33, 1e-4);
    compare(&config("mobilenet_v3_large", 3, false), 5, 48, 0.1);
}

#[test]
fn efficientnets_match_the_composition() {
    compare(&config("efficientnet_b0", -1, true), 3, 33, 1e-4);
    compare(&config("efficientnet_b0", 3, false), 5, 48, 0.1);
    // Rounding may flip one of its activations.
    compare(&config("efficientnet_lite0", -1, true), 2, 33, 1e-3);
}

#[test]
fn convnext_matches_the_composition() {
    compare(&config("convnext_tiny", -1, false), 2, 33, 1e-4);
}

/// Positions are interpolated to a grid of another shape.
#[test]
fn vision_transformers_match_the_composition() {
    compare(&config("vit_tiny_patch16_224", -1, true), 3, 48, 1e-4);
    compare(&config("vit_tiny_patch16_224", 9, true), 9, 32, 1e-4);
    compare(
        &config("vit_small_patch14_reg4_dinov2", 3, true),
        2,
        42,
        1e-4,
    );
}

/// Returns the adapters, with narrow matrices of any width, in all blocks or only in the last ones.
fn adapters() -> Vec<AdapterConfig> {
    let lora = |rank, layers: &[LinearLayer]| Lora {
        rank,
        alpha: 3.0,
        layers: layers.to_vec(),
    };
    let all = [
        LinearLayer::Qkv,
        LinearLayer::Proj,
        LinearLayer::Fc1,
        LinearLayer::Fc2,
    ];
    let narrow = AdaptFormer {
        width: 10,
        scale: 0.5,
    };
    let in_last = |kind: Kind, blocks| AdapterConfig {
        blocks: Some(blocks),
        ..AdapterConfig::from(kind)
    };
    let found = vec![
        Kind::Lora(lora(8, &all[..1])).into(),
        in_last(Kind::Lora(lora(5, &all)), 3),
        // Wide enough to be summed over all pictures at once.
        in_last(Kind::Lora(lora(600, &all)), 4),
        Kind::AdaptFormer(narrow.clone()).into(),
        in_last(Kind::AdaptFormer(narrow), 2),
    ];
    for kind in Kind::NAMES {
        let there = found.iter().any(|adapter| adapter.kind.name() == *kind);
        assert!(there, "`{kind}` is not tried");
    }
    found
}

#[test]
fn adapters_match_the_composition() {
    for adapter in adapters() {
        let config = |name| BackboneConfig {
            adapter: Some(adapter.clone()),
            ..config(name, 1, true)
        };
        compare(&config("vit_tiny_patch16_224"), 3, 48, 1e-4);
        if adapter.blocks == Some(3) {
            // With layer scale after the adapted layers.
            compare(&config("vit_small_patch14_reg4_dinov2"), 2, 42, 1e-4);
        }
    }
}

/// A network with a new adapter gives the same result as without it, to the bit.
#[test]
fn adapters_begin_without_effect() {
    let images = formula::images("pictures", 2, 64, 1.0);
    let (bare, parameters) = build(&config("vit_tiny_patch16_224", 1, true), false);
    formula::fill(&parameters);
    let expected = pooled(&*bare, &images);
    for adapter in adapters() {
        let config = BackboneConfig {
            adapter: Some(adapter.clone()),
            ..config("vit_tiny_patch16_224", 1, true)
        };
        let (adapted, own) = build(&config, false);
        for parameter in parameters.iter() {
            let same = own.get(&parameter.name).unwrap();
            assert_eq!(same.role, Role::Frozen, "{}", same.name);
            same.set(parameter.var.as_tensor()).unwrap();
        }
        assert_eq!(pooled(&*adapted, &images), expected, "{adapter:?}");
        let (features, _) = adapted.forward_train(&images).unwrap();
        assert_eq!(flat(&features.pooled().unwrap()), expected, "{adapter:?}");
    }
}

#[test]
fn clips_resnet_matches_the_composition() {
    compare(&config("resnet50_clip", -1, true), 2, 64, 1e-4);
}

/// Returns an image size that the network accepts.
fn side(name: &str) -> usize {
    if name.contains("patch14") { 56 } else { 64 }
}

/// Every trainable parameter gets a gradient.
#[test]
fn every_trainable_parameter_moves() {
    for (name, ..) in COUNTS {
        if ["resnet101", "resnet152", "convnext_small"].contains(&name)
            || name.starts_with("vit_base")
        {
            // Longer or wider networks of the same blocks.
            continue;
        }
        let side = side(name);
        for norm_eval in [true, false] {
            let (backbone, parameters) = build(&config(name, -1, norm_eval), false);
            // With the formula's values, its attention over the maps saturates and has no gradient.
            if name != "resnet50_clip" {
                formula::fill(&parameters);
            }
            let (_, gradients) = step(&*backbone, &formula::images("pictures", 4, side, 1.0));
            for parameter in parameters.trainable() {
                let gradient = gradients.tensor(parameter).unwrap();
                let gradient = gradient.unwrap_or_else(|| panic!("{name}: {}", parameter.name));
                let values = flat(&gradient);
                assert!(
                    values.iter().all(|v| v.is_finite()),
                    "{name}: {}",
                    parameter.name
                );
                assert!(
                    values.iter().any(|&v| v != 0.0),
                    "{name}: {}",
                    parameter.name
                );
            }
        }
    }
}

#[test]
fn changed_weights_are_seen() {
    let (backbone, parameters) = build(&config("resnet18", 1, true), false);
    let images = formula::images("pictures", 1, 32, 1.0);
    let before = pooled(&*backbone, &images);
    formula::fill(&parameters);
    let loaded = pooled(&*backbone, &images);
    assert_ne!(before, loaded);
    let (_, gradients) = step(&*backbone, &images);
    for entry in parameters.trainable() {
        let step = (gradients.tensor(entry).unwrap().unwrap() * 1e-3).unwrap();
        let moved = entry.var.as_detached_tensor() - step;
        entry.set(&moved.unwrap()).unwrap();
    }
    assert_ne!(loaded, pooled(&*backbone, &images));
}

#[test]
fn wrong_input_is_an_error() {
    let (backbone, _) = build(&config("resnet18", 1, true), false);
    let images = Tensor::zeros((1, 3, 32, 32), DType::F32, &Device::Cpu).unwrap();
    assert!(backbone.features(&images).is_err());
    let (transformer, _) = build(&config("vit_tiny_patch16_224", 1, true), false);
    let images = Tensor::zeros((1, 40, 32, 3), DType::F32, &Device::Cpu).unwrap();
    let error = transformer.features(&images).unwrap_err().to_string();
    assert!(error.contains("patches of 16"), "{error}");
    let wrong = config("resnet18", 5, true);
    let builder = Builder::new(&Device::Cpu, DType::F32, 0);
    assert!(backbone::build(&wrong, &builder).is_err());
}

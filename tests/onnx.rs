//! Tests that ONNX graphs compute the same as the networks, by reading and running them with an
//! interpreter of the tests.

#[path = "onnx/interpreter.rs"]
mod interpreter;
#[path = "onnx/reader.rs"]
mod reader;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use dbloss::data::labels::LabelTable;
use dbloss::model::backbone::adapter;
use dbloss::model::head::Kind;
use dbloss::model::names::published;
use dbloss::model::onnx::{GraphOptions, Normalisation};
use dbloss::model::{Input, Model, ModelConfig, Role};
use dbloss::onnx::Document;
use dbloss::rng::Stream;

use reader::File;

/// Accepted difference of logits of the order of 1.
const ALLOWED: f32 = 2e-4;

/// Small backbones that cover every kind of node and pooling (TensorFlow's padding, grouped
/// convolutions and so on), with picture sizes that divide badly where that is allowed.
const BACKBONES: [(&str, usize); 7] = [
    ("resnet18", 33),
    ("mobilenet_v2", 33),
    ("mobilenet_v3_large", 35),
    ("efficientnet_lite0", 37),
    ("efficientnet_b0", 33),
    ("regnet_x_400mf", 33),
    ("vit_tiny_patch16_224", 48),
];

/// Larger backbones, which take long without optimisation.
const LARGE: [(&str, usize); 4] = [
    ("convnext_tiny", 33),
    ("resnet50_clip", 64),
    ("vit_small_patch14_reg4_dinov2", 42),
    ("vit_base_patch32_clip_quickgelu_224", 64),
];

const HEADS: [&str; 8] = [
    "kind = 'cosine'\nlearn_scale = true\nbias = true",
    "kind = 'norm-weight'\ntau = 0.5\nbias = true",
    "kind = 'csra'\ntemperatures = [1.0, 4.0, inf]",
    "kind = 'ml-decoder'\nwidth = 8\nattention_heads = 2\nfeed_forward = 12\ngroups = 2",
    "kind = 'ml-decoder'\nwidth = 8\nattention_heads = 2\nfeed_forward = 12\ngroups = 5",
    "kind = 'ml-gcn'\nhidden = 7\nthreshold = 0.3",
    "kind = 'ml-gcn'\nhidden = 7\npooling = 'embedding'",
    "kind = 'oltr'",
];

fn labels() -> LabelTable {
    let names = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    let mut labels = LabelTable::new(names);
    for (image, classes) in [[0u32, 1].as_slice(), &[1, 2], &[3], &[0, 4, 1], &[]]
        .iter()
        .enumerate()
    {
        labels.push(image.to_string(), classes.iter().copied());
    }
    labels
}

/// Returns the configuration of a backbone and a head; `head` may be followed by other tables.
fn config(backbone: &str, head: &str) -> ModelConfig {
    let neck = match head.contains("csra") || head.contains("decoder") || head.ends_with("0.3") {
        true => "kind = 'none'",
        false => "out_channels = 12",
    };
    let text = format!("backbone = '{backbone}'\nneck = {{ {neck} }}\n[head]\n{head}");
    toml::from_str(&text).unwrap()
}

/// Creates a network whose buffers and shifts differ from their initial values, which could hide
/// mistakes, and whose weights keep pictures distinguishable; a memory has classes that were never
/// seen.
fn network(config: &ModelConfig) -> Model {
    let network = Model::new(config, &labels(), &Device::Cpu, 5).unwrap();
    for parameter in network.parameters.iter() {
        let mut stream = Stream::new(7, &parameter.name, 0, 0);
        let values = parameter.values().unwrap();
        let inputs: usize = parameter.var.dims().iter().skip(1).product();
        let square = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
        let factor = (2.0 / inputs as f32 / square).sqrt();
        // Adapters are initialised to zero.
        let empty = square == 0.0;
        let values = values.into_iter();
        let name = parameter.name.as_str();
        let moved = |value: f32, stream: &mut Stream| match name {
            "head.seen" => f32::from(u8::from(stream.uniform() < 0.6)),
            _ if name.ends_with("running_var") => (0.5 + stream.uniform()) as f32,
            _ if name.ends_with("layer_scale") || name.ends_with("gamma") => 0.3,
            _ if parameter.role == Role::Buffer || parameter.var.rank() < 2 => {
                value + 0.2 * stream.normal() as f32
            }
            _ if empty => 0.2 * stream.normal() as f32,
            _ if name.ends_with("weight") => value * factor,
            _ => value,
        };
        let values = values.map(|value| moved(value, &mut stream)).collect();
        parameter.fill(values).unwrap();
    }
    network
}

fn exported(network: &Model, options: &GraphOptions) -> File {
    let graph = network.graph(5, options).unwrap();
    let document = Document {
        graph,
        name: "test".to_owned(),
        about: String::new(),
        metadata: vec![("key".to_owned(), "text".to_owned())],
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.onnx");
    document.write(&path).unwrap();
    reader::read(&std::fs::read(path).unwrap())
}

fn options(size: usize) -> GraphOptions {
    GraphOptions {
        size: (size, size),
        normalisation: None,
        probabilities: false,
    }
}

/// Returns normalised pictures, [2, size, size, 3].
fn pictures(size: usize) -> Tensor {
    let mut stream = Stream::new(1, "pictures", 0, 0);
    let values: Vec<f32> = (0..2 * size * size * 3)
        .map(|_| stream.normal() as f32)
        .collect();
    Tensor::from_vec(values, (2, size, size, 3), &Device::Cpu).unwrap()
}

/// Returns the largest difference; the two pictures must have different values.
fn difference(found: &Tensor, expected: &Tensor, what: &str) -> f32 {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let rows = expected.to_vec2::<f32>().unwrap();
    let apart = rows[0].iter().zip(&rows[1]).map(|(a, b)| (a - b).abs());
    assert!(apart.fold(0.0, f32::max) > 1e-3, "{what}: {rows:?}");
    let off = (found - expected).unwrap().abs().unwrap();
    let scale = expected.abs().unwrap().max_all().unwrap();
    let (off, scale) = (off.max_all().unwrap(), scale.to_scalar::<f32>().unwrap());
    off.to_scalar::<f32>().unwrap() / scale.max(1.0)
}

fn agrees(backbone: &str, head: &str, size: usize) {
    let what = format!("{backbone} {head}");
    let network = network(&config(backbone, head));
    let file = exported(&network, &options(size));
    let pictures = pictures(size);
    let expected = network.logits(&Input::Pictures(pictures.clone())).unwrap();
    let first = pictures
        .permute((0, 3, 1, 2))
        .unwrap()
        .contiguous()
        .unwrap();
    let found = interpreter::run(&file, &first);
    let off = difference(&found["logits"], &expected, &what);
    assert!(off < ALLOWED, "{what}: off by {off}");
}

#[test]
fn every_kind_of_node_does_what_the_network_does() {
    for (backbone, size) in BACKBONES {
        agrees(backbone, "kind = 'linear'", size);
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes long without optimisation")]
fn large_networks_do_too() {
    for (backbone, size) in LARGE {
        agrees(backbone, "kind = 'linear'", size);
    }
}

#[test]
fn every_head_does_what_it_does_in_the_program() {
    for head in HEADS {
        agrees("regnet_x_400mf", head, 65);
    }
    for head in Kind::DEFINITIONS {
        let named = format!("kind = '{}'", head.name);
        let tried = head.name == "linear" || HEADS.iter().any(|text| text.starts_with(&named));
        assert!(tried, "`{}` is not tried", head.name);
    }
    // Positions that are tokens.
    agrees("vit_tiny_patch16_224", HEADS[2], 48);
    agrees("vit_tiny_patch16_224", HEADS[5], 32);
}

#[test]
fn every_adapter_is_part_of_the_graph() {
    let backbone = "vit_tiny_patch16_224";
    let plain = network(&config(backbone, "kind = 'linear'"));
    for kind in adapter::Kind::NAMES {
        let head = format!("kind = 'linear'\n[adapter]\nkind = '{kind}'\nblocks = 2");
        agrees(backbone, &head, 32);
        // This is a real test: the adapter changes the logits.
        let adapted = network(&config(backbone, &head));
        let pictures = Input::Pictures(pictures(32));
        let with = adapted.logits(&pictures).unwrap();
        for parameter in adapted.parameters.iter() {
            if plain.parameters.get(&parameter.name).is_none() {
                let count = parameter.var.elem_count();
                parameter.fill(vec![0.0; count]).unwrap();
            }
        }
        let without = adapted.logits(&pictures).unwrap();
        assert!(difference(&with, &without, kind) > 1e-2, "{kind}");
    }
}

/// The file contains the tensors of the network bit for bit, except those that it transposes.
#[test]
fn constants_are_the_parameters_under_their_published_names() {
    let network = network(&config("mobilenet_v2", "kind = 'linear'"));
    let file = exported(&network, &options(33));
    let mut checked = 0;
    for parameter in network.parameters.iter() {
        let constant = &file.constants[&*published(&parameter.name)];
        assert_eq!(constant.dims(), parameter.var.dims());
        let found: Vec<f32> = constant.flatten_all().unwrap().to_vec1().unwrap();
        let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|v| v.to_bits()).collect() };
        assert_eq!(bits(&found), bits(&parameter.values().unwrap()));
        checked += 1;
    }
    assert!(checked > 250, "{checked}");
    assert_eq!(file.opset, 17);
    let metadata = BTreeMap::from([("key".to_owned(), "text".to_owned())]);
    assert_eq!(file.metadata, metadata);
}

#[test]
fn bytes_are_normalised_in_the_graph_and_probabilities_are_given_beside() {
    let network = network(&config("regnet_x_400mf", "kind = 'linear'"));
    // Logits small enough that no probability saturates.
    let size = 33;
    let (head, pictures) = (network.parameters.get("head.weight"), pictures(size));
    let large = network.logits(&Input::Pictures(pictures)).unwrap();
    let large = large.abs().unwrap().max_all().unwrap();
    let large = large.to_scalar::<f32>().unwrap();
    let smaller = head.unwrap().values().unwrap().into_iter();
    let smaller = smaller.map(|value| value / large).collect();
    head.unwrap().fill(smaller).unwrap();
    let (mean, std) = ([120.0, 110.0, 100.0], [60.0, 50.0, 70.0]);
    let whole = GraphOptions {
        normalisation: Some(Normalisation { mean, std }),
        probabilities: true,
        ..options(size)
    };
    let file = exported(&network, &whole);
    let sides = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
    assert_eq!(file.inputs[0].name, "pictures");
    assert_eq!(file.inputs[0].element, 2);
    assert_eq!(file.inputs[0].sides, sides("batch 33 33 3"));
    let names: Vec<&str> = file.outputs.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, ["logits", "probabilities"]);
    assert_eq!(file.outputs[1].sides, sides("batch 5"));

    let mut stream = Stream::new(1, "bytes", 0, 0);
    let values: Vec<u8> = (0..2 * size * size * 3)
        .map(|_| stream.below(256) as u8)
        .collect();
    let bytes = Tensor::from_vec(values, (2, size, size, 3), &Device::Cpu).unwrap();
    let of_channel = |values: [f32; 3]| Tensor::new(&values, &Device::Cpu).unwrap();
    let normalised = (bytes.to_dtype(DType::F32).unwrap())
        .broadcast_sub(&of_channel(mean))
        .and_then(|x| x.broadcast_div(&of_channel(std)))
        .unwrap();
    let expected = network.logits(&Input::Pictures(normalised)).unwrap();
    let found = interpreter::run(&file, &bytes);
    let off = difference(&found["logits"], &expected, "bytes");
    assert!(off < ALLOWED, "off by {off}");
    let probabilities = (expected.neg().unwrap().exp().unwrap() + 1.0).unwrap();
    let probabilities = probabilities.recip().unwrap();
    let off = difference(&found["probabilities"], &probabilities, "probabilities");
    assert!(off < ALLOWED, "off by {off}");
}

#[test]
fn a_memory_without_a_class_leaves_features_as_they_are() {
    let network = network(&config("regnet_x_400mf", "kind = 'oltr'"));
    let seen = network.parameters.get("head.seen").unwrap();
    seen.fill(vec![0.0; 5]).unwrap();
    let file = exported(&network, &options(65));
    let pictures = pictures(65);
    let expected = network.logits(&Input::Pictures(pictures.clone())).unwrap();
    let first = pictures
        .permute((0, 3, 1, 2))
        .unwrap()
        .contiguous()
        .unwrap();
    let found = interpreter::run(&file, &first);
    assert!(difference(&found["logits"], &expected, "no memory") < ALLOWED);
}

#[test]
fn what_cannot_be_written_is_refused_by_name() {
    let vit = network(&config("vit_tiny_patch16_224", "kind = 'linear'"));
    let error = vit.graph(5, &options(50)).unwrap_err().to_string();
    assert!(error.contains("patches of 16"), "{error}");
    let given = Model::on_features(
        &config("resnet18", "kind = 'linear'"),
        9,
        &labels(),
        &Device::Cpu,
        Some(0),
    );
    let error = given.unwrap().graph(5, &options(32)).unwrap_err();
    assert!(error.to_string().contains("model.features"), "{error}");
}

//! Tests weight files: under any name and any nesting, what fits is loaded, and what does not fit
//! is refused by name.

mod common;

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Var};
use common::torch::{self, Node, dict, tensor};
use dbloss::model::weights::{LoadReport, Place, hash, load_backbone};
use dbloss::model::{Parameters, Role};
use dbloss::{Error, Result};

/// Returns the tensor names of a ResNet with these numbers of blocks per stage. Tensors are 2 x 3.
fn names(depths: [usize; 4]) -> Vec<String> {
    let mut names = vec!["conv1.weight".to_owned(), "bn1.weight".to_owned()];
    for (layer, depth) in depths.into_iter().enumerate() {
        for block in 0..depth {
            for part in ["conv1", "bn1", "conv2"] {
                names.push(format!("layer{}.{block}.{part}.weight", layer + 1));
            }
        }
    }
    names
}

const RESNET18: [usize; 4] = [2, 2, 2, 2];
const RESNET34: [usize; 4] = [3, 4, 6, 3];

fn network(depths: [usize; 4]) -> Parameters {
    let mut parameters = Parameters::new();
    for name in names(depths) {
        let var = Var::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
        parameters
            .insert(format!("backbone.{name}"), var, Role::Trainable, 0)
            .unwrap();
    }
    parameters
}

/// Returns element `i` of the tensor at `place`.
fn element(place: usize, i: usize) -> f32 {
    place as f32 + i as f32 / 8.0
}

fn values(place: usize) -> Vec<f32> {
    (0..6).map(|i| element(place, i)).collect()
}

/// Returns all tensors of a network under a prefix.
fn state(depths: [usize; 4], prefix: &str) -> Vec<(String, Node)> {
    let names = names(depths).into_iter().enumerate();
    names
        .map(|(place, name)| (format!("{prefix}{name}"), tensor(&[2, 3], values(place))))
        .collect()
}

fn load(parameters: &Parameters, path: &Path) -> Result<LoadReport> {
    load_backbone(parameters, path, "resnet18", &Device::Cpu)
}

fn assert_loaded(parameters: &Parameters) {
    for (place, entry) in parameters.iter().enumerate() {
        let found = entry.var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(found, values(place), "{}", entry.name);
    }
}

fn message(error: Error) -> String {
    match error {
        Error::Input(error) => format!("{error} | {}", error.hint.as_deref().unwrap_or_default()),
        other => other.to_string(),
    }
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pth");
    (folder, path)
}

#[test]
fn nested_checkpoints_of_both_formats_are_read() {
    let (_folder, path) = folder();
    let best = || ("best_acc1", tensor(&[], vec![71.5]));
    let checkpoints = [
        ("", dict(state(RESNET18, ""))),
        ("module.", dict(state(RESNET18, "module."))),
        (
            "state_dict.module.",
            dict([
                ("epoch", Node::Int(90)),
                best(),
                ("state_dict", dict(state(RESNET18, "module."))),
                (
                    "optimizer",
                    dict([("state", dict([("0", tensor(&[2, 3], vec![9.0; 6]))]))]),
                ),
            ]),
        ),
        (
            "teacher.backbone.",
            dict([
                (
                    "student",
                    dict([("head.weight", tensor(&[2, 3], vec![9.0; 6]))]),
                ),
                ("teacher", dict(state(RESNET18, "backbone."))),
                best(),
            ]),
        ),
    ];
    for (prefix, root) in checkpoints {
        for write in [torch::write_zip, torch::write_legacy] {
            write(&path, &root);
            let parameters = network(RESNET18);
            let report = load(&parameters, &path).unwrap();
            assert_eq!((report.prefix.as_str(), report.missing.len()), (prefix, 0));
            assert_loaded(&parameters);
        }
    }
}

#[test]
fn of_two_that_fit_alike_the_first_is_taken_and_said() {
    let (_folder, path) = folder();
    let average: Vec<_> = names(RESNET18)
        .into_iter()
        .map(|name| (name, tensor(&[2, 3], vec![-1.0; 6])))
        .collect();
    let root = dict([
        ("model", dict(state(RESNET18, ""))),
        ("model_ema", dict(average)),
    ]);
    torch::write_zip(&path, &root);
    let parameters = network(RESNET18);
    let report = load(&parameters, &path).unwrap();
    assert_eq!(report.prefix, "model.");
    assert_eq!(report.rival.as_deref(), Some("model_ema."));
    assert_loaded(&parameters);
}

#[test]
fn strides_are_honoured() {
    let (_folder, path) = folder();
    for write in [torch::write_zip, torch::write_legacy] {
        let mut state = state(RESNET18, "");
        for (place, (_, node)) in state.iter_mut().enumerate() {
            // In column-major order.
            let order = [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)];
            *node = Node::Tensor(torch::Tensor {
                shape: vec![2, 3],
                strides: vec![1, 2],
                values: order
                    .map(|(row, column)| element(place, 3 * row + column))
                    .to_vec(),
            });
        }
        write(&path, &dict(state));
        let parameters = network(RESNET18);
        load(&parameters, &path).unwrap();
        assert_loaded(&parameters);
    }
}

/// Returns a safetensors file of a network in a given type, optionally with additional tensors.
fn safetensors(kind: &str, encode: impl Fn(f32) -> Vec<u8>, more: bool) -> Vec<u8> {
    let names = names(RESNET18);
    let mut tensors: Vec<(&str, &str, &[usize], Vec<u8>)> = Vec::new();
    for (place, name) in names.iter().enumerate() {
        let bytes = values(place).into_iter().flat_map(&encode).collect();
        tensors.push((name, kind, &[2, 3], bytes));
    }
    if more {
        tensors.push(("bn1.num_batches_tracked", "I64", &[], vec![0; 8]));
        tensors.push(("mask", "BOOL", &[3], vec![1; 3]));
        tensors.push(("fc.weight", "F32", &[1], vec![0; 4]));
    }
    torch::safetensors(&tensors)
}

#[test]
fn types_are_converted_and_the_name_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    // All values are sums of a few powers of two, which every type can represent.
    type Encode = fn(f32) -> Vec<u8>;
    let kinds: [(&str, Encode); 4] = [
        ("F32", |v| v.to_le_bytes().to_vec()),
        ("F64", |v| f64::from(v).to_le_bytes().to_vec()),
        ("F16", |v| half::f16::from_f32(v).to_le_bytes().to_vec()),
        ("BF16", |v| half::bf16::from_f32(v).to_le_bytes().to_vec()),
    ];
    for (kind, encode) in kinds {
        for name in ["w.safetensors", "w.SAFETENSORS", "w.pth", "w"] {
            let path = folder.path().join(name);
            std::fs::write(&path, safetensors(kind, encode, true)).unwrap();
            let parameters = network(RESNET18);
            let report = load(&parameters, &path).unwrap();
            assert_eq!(report.classifier, ["fc.weight"]);
            assert_eq!(report.unexpected, ["mask"]);
            assert_loaded(&parameters);
        }
    }
    let path = folder.path().join("i8");
    std::fs::write(&path, safetensors("I8", |v| vec![v as u8], false)).unwrap();
    let text = message(load(&network(RESNET18), &path).unwrap_err());
    assert!(
        text.contains("`conv1.weight` is stored as integers of 8 bits"),
        "{text}"
    );
    // The other format under a misleading name.
    let path = folder.path().join("torch.safetensors");
    torch::write_zip(&path, &dict(state(RESNET18, "")));
    let parameters = network(RESNET18);
    load(&parameters, &path).unwrap();
    assert_loaded(&parameters);
}

#[test]
fn what_is_no_number_is_named() {
    let (_folder, path) = folder();
    for bad in [f32::NAN, f32::INFINITY] {
        let mut state = state(RESNET18, "");
        state[3].1 = tensor(&[2, 3], vec![0.0, 1.0, bad, 3.0, bad, 5.0]);
        torch::write_zip(&path, &dict([("state_dict", dict(state))]));
        let text = message(load(&network(RESNET18), &path).unwrap_err());
        assert!(
            text.contains("`state_dict.layer1.0.bn1.weight` contains 2 values"),
            "{text}"
        );
    }
}

#[test]
fn a_network_of_another_depth_is_refused_by_its_name() {
    let (_folder, path) = folder();
    torch::write_zip(&path, &dict(state(RESNET34, "")));
    let text = message(load(&network(RESNET18), &path).unwrap_err());
    assert!(
        text.contains("this is a ResNet-34, but the configuration says `resnet18`"),
        "{text}"
    );
    assert!(text.contains("`model.backbone = \"resnet34\"`"), "{text}");
    torch::write_zip(&path, &dict(state(RESNET18, "")));
    let deeper = load_backbone(&network(RESNET34), &path, "resnet34", &Device::Cpu);
    let text = message(deeper.unwrap_err());
    assert!(
        text.contains("this is a ResNet-18, but the configuration says `resnet34`"),
        "{text}"
    );
    assert!(
        text.contains("lacks 8 of the network's 16 blocks"),
        "{text}"
    );
    // Another width.
    let mut wide = state(RESNET18, "");
    wide[2].1 = tensor(&[4, 3], vec![0.0; 12]);
    torch::write_zip(&path, &dict(wide));
    let text = message(load(&network(RESNET18), &path).unwrap_err());
    assert!(
        text.contains("`layer1.0.conv1.weight`: [4, 3], expected [2, 3]"),
        "{text}"
    );
}

#[test]
fn single_tensors_and_whole_stages_may_be_missing() {
    let (_folder, path) = folder();
    for (keep, missing) in [
        (
            (|name: &str| name != "layer4.1.conv2.weight") as fn(&str) -> bool,
            1,
        ),
        (|name| !name.starts_with("layer4."), 6),
        (|name| !name.starts_with("layer"), 24),
    ] {
        let mut state = state(RESNET18, "");
        state.retain(|(name, _)| keep(name));
        torch::write_zip(&path, &dict(state));
        let report = load(&network(RESNET18), &path).unwrap();
        assert_eq!(report.missing.len(), missing);
    }
}

#[test]
fn strangers_are_called_by_their_names() {
    let (_folder, path) = folder();
    for (bytes, expected) in [
        (&b""[..], "is empty"),
        (b"<!DOCTYPE html><html>403</html>", "is an HTML page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
            "git lfs pull",
        ),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\0", "compressed by gzip"),
        (b"{\"error\":\"not found\"}", "JSON text"),
        (
            b"\x80\x04\x95\x02\0\0\0\0\0\0\0}.",
            "not one that `torch.save` wrote",
        ),
        (b"\x01\x02\x03\xff", "is not a weight file"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let text = message(load(&network(RESNET18), &path).unwrap_err());
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("w.pth"), "{text}");
    }
    let vit = dict([
        (
            "blocks.0.attn.qkv.weight",
            tensor(&[3, 192], vec![0.0; 576]),
        ),
        (
            "patch_embed.proj.weight",
            tensor(&[1, 1, 16, 16], vec![0.0; 256]),
        ),
    ]);
    torch::write_zip(&path, &vit);
    let text = message(load(&network(RESNET18), &path).unwrap_err());
    assert!(
        text.contains("this is a vision transformer (ViT-Ti/16)"),
        "{text}"
    );
}

#[test]
fn a_model_in_several_files_is_read_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let names = names(RESNET18);
    let encode = |place| {
        values(place)
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let mut map = Vec::new();
    for (number, part) in (1..).zip([0..10, 10..names.len()]) {
        let file = format!("model-0000{number}-of-00002.safetensors");
        let tensors: Vec<(&str, &str, &[usize], Vec<u8>)> = part
            .clone()
            .map(|i| (names[i].as_str(), "F32", &[2, 3][..], encode(i)))
            .collect();
        std::fs::write(folder.path().join(&file), torch::safetensors(&tensors)).unwrap();
        map.extend(part.map(|i| format!("\"{}\": \"{file}\"", names[i])));
    }
    let index = folder.path().join("model.safetensors.index.json");
    let write = |map: &[String]| {
        std::fs::write(
            &index,
            format!("{{\"weight_map\": {{{}}}}}", map.join(", ")),
        )
        .unwrap();
    };
    write(&map);
    let shard = folder.path().join("model-00002-of-00002.safetensors");
    for path in [folder.path(), &index, &shard] {
        let parameters = network(RESNET18);
        load(&parameters, path).unwrap();
        assert_loaded(&parameters);
        assert_eq!(
            hash(&path.into()).unwrap(),
            hash(&Place::from(&index)).unwrap()
        );
    }
    map[0] = "\"conv1.weight\": \"../../etc/passwd\"".into();
    write(&map);
    let text = message(load(&network(RESNET18), &index).unwrap_err());
    assert!(text.contains("expected a file beside it"), "{text}");
    map[0] = "\"conv1.weight\": \"model-00003-of-00002.safetensors\"".into();
    write(&map);
    let text = message(load(&network(RESNET18), folder.path()).unwrap_err());
    assert!(text.contains("which does not exist"), "{text}");
}

#[test]
fn hostile_files_end_in_an_error() {
    let (_folder, path) = folder();
    let problem = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        message(load(&network(RESNET18), &path).unwrap_err())
    };
    // A header of 2^50 bytes, and offsets that overlap or lie beyond the file.
    let mut huge = (1u64 << 50).to_le_bytes().to_vec();
    huge.extend(b"{}");
    assert!(problem(&huge).contains("its header should have"));
    for (offsets, expected) in [
        ("[4,28]", "is cut off"),
        ("[0,999999999999]", "not as long as its shape"),
        ("[24,0]", "is a damaged safetensors file"),
    ] {
        let header = format!(
            r#"{{"conv1.weight":{{"dtype":"F32","shape":[2,3],"data_offsets":{offsets}}}}}"#
        );
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend([0; 24]);
        let text = problem(&file);
        assert!(
            text.contains(expected) || text.contains("damaged"),
            "{text}"
        );
    }
    let two = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    let mut file = (two.len() as u64).to_le_bytes().to_vec();
    file.extend(two.as_bytes());
    file.extend([0; 12]);
    let text = problem(&file);
    assert!(text.contains("is a damaged safetensors file"), "{text}");
    // Code, next to tensors that would fit.
    let mut root = state(RESNET18, "");
    root.push((
        "x".into(),
        Node::Raw(b"cposix\nsystem\n(X\x04\0\0\0truetR".to_vec()),
    ));
    for write in [torch::write_zip, torch::write_legacy] {
        write(&path, &dict(root.clone()));
        let text = message(load(&network(RESNET18), &path).unwrap_err());
        assert!(text.contains("`posix.system`"), "{text}");
    }
    // A storage that is shorter than its tensor claims.
    let mut short = state(RESNET18, "");
    short[0].1 = tensor(&[2, 3], vec![0.0; 2]);
    torch::write_zip(&path, &dict(short));
    let text = message(load(&network(RESNET18), &path).unwrap_err());
    assert!(text.contains("`conv1.weight` reaches beyond"), "{text}");
}

#[test]
fn damaged_files_never_panic() {
    let (_folder, path) = folder();
    let mut files = vec![safetensors("F32", |v| v.to_le_bytes().to_vec(), true)];
    for write in [torch::write_zip, torch::write_legacy] {
        write(&path, &dict(state(RESNET18, "module.")));
        files.push(std::fs::read(&path).unwrap());
    }
    for whole in files {
        for cut in (0..whole.len()).step_by(whole.len() / 150 + 1) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(
                load(&network(RESNET18), &path).is_err(),
                "cut at {cut} of {}",
                whole.len()
            );
        }
        for at in (0..whole.len()).step_by(whole.len() / 400 + 1) {
            let mut broken = whole.clone();
            broken[at] ^= 0xFF;
            std::fs::write(&path, &broken).unwrap();
            let _ = load(&network(RESNET18), &path);
        }
    }
}

#[test]
#[ignore = "needs DBLOSS_DATA"]
fn real_data_are_recognised() {
    for (file, expected) in [
        (
            "efficientnet_lite0.f16.safetensors",
            "this is an EfficientNet-Lite0",
        ),
        ("mobilenet_v2.safetensors", "this is a MobileNetV2"),
        ("resnet50_pruned.f16.safetensors", "this is a ResNet-50"),
        (
            "vit_tiny_patch16_224.f16.safetensors",
            "this is a vision transformer (ViT-Ti/16)",
        ),
    ] {
        let path = common::real_data(&format!("weights/{file}"));
        let text = message(load(&network(RESNET18), &path).unwrap_err());
        assert!(text.contains(expected), "{text}");
    }
}

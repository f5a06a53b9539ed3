//! Tests weights of vision transformers under the tensor names used by other publishers.

mod common;

use std::path::Path;

use candle_core::{DType, Device, Var};
use common::torch::{self, Node, dict, tensor};
use dbloss::model::weights::load_backbone;
use dbloss::model::{Parameters, Role};

const WIDTH: u32 = 2;
const BLOCKS: usize = 2;

/// A tensor of a file and its destination: a tensor of the network, the first of the rows in it
/// that come from this one, and whether the matrix is transposed.
struct Row {
    published: String,
    shape: Vec<u32>,
    own: String,
    first_row: usize,
    transposed: bool,
}

fn row(published: impl Into<String>, shape: &[u32], own: impl Into<String>) -> Row {
    Row {
        published: published.into(),
        shape: shape.to_vec(),
        own: own.into(),
        first_row: 0,
        transposed: false,
    }
}

/// Returns the weight and bias of a module.
fn pair(published: &str, weight: &[u32], own: &str) -> [Row; 2] {
    let (name, own) = (
        |part| format!("{published}.{part}"),
        |part| format!("{own}.{part}"),
    );
    [
        row(name("weight"), weight, own("weight")),
        row(name("bias"), &weight[..1], own("bias")),
    ]
}

/// Returns queries, keys and values of a block, each with weight and bias.
fn thirds(published: [String; 3], own: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, name) in published.iter().enumerate() {
        for row in pair(name, &[WIDTH, WIDTH], own) {
            rows.push(Row {
                first_row: index * WIDTH as usize,
                ..row
            });
        }
    }
    rows
}

/// Returns element `i` of the tensor at `place` of a file.
fn element(place: usize, i: usize) -> f32 {
    place as f32 + i as f32 / 64.0
}

/// Creates a network with the named tensors and their shapes.
fn network(own: &[(&str, &[usize])]) -> Parameters {
    let mut parameters = Parameters::new();
    for (name, shape) in own {
        let var = Var::zeros(*shape, DType::F32, &Device::Cpu).unwrap();
        let name = format!("backbone.{name}");
        parameters.insert(name, var, Role::Trainable, 0).unwrap();
    }
    parameters
}

/// Returns names and shapes of the network's own tensors, which are also timm's names.
fn own(more: &[(&str, &[usize])]) -> Vec<(String, Vec<usize>)> {
    let mut all: Vec<(String, Vec<usize>)> = vec![
        ("cls_token".into(), vec![1, 1, 2]),
        ("patch_embed.proj.weight".into(), vec![2, 3, 1, 1]),
        ("norm.weight".into(), vec![2]),
        ("norm.bias".into(), vec![2]),
    ];
    for block in 0..BLOCKS {
        for (name, shape) in [
            ("norm1", vec![2]),
            ("attn.qkv", vec![6, 2]),
            ("attn.proj", vec![2, 2]),
            ("norm2", vec![2]),
            ("mlp.fc1", vec![8, 2]),
            ("mlp.fc2", vec![2, 8]),
        ] {
            let bias = vec![shape[0]];
            all.push((format!("blocks.{block}.{name}.weight"), shape));
            all.push((format!("blocks.{block}.{name}.bias"), bias));
        }
    }
    let more = more
        .iter()
        .map(|(name, shape)| ((*name).to_owned(), shape.to_vec()));
    all.extend(more);
    all
}

/// Loads a file of these rows into the network and compares every value with its row.
fn check(own: &[(String, Vec<usize>)], rows: &[Row], strangers: &[&str], prefix: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pth");
    write(&path, rows, strangers);
    let own: Vec<(&str, &[usize])> = own.iter().map(|(n, s)| (&n[..], &s[..])).collect();
    let parameters = network(&own);
    let report = load_backbone(&parameters, &path, "vit", &Device::Cpu).unwrap();
    assert!(
        report.missing.is_empty() && report.unexpected.is_empty(),
        "{report}"
    );
    assert_eq!(report.prefix, prefix);
    assert_eq!(report.loaded.len(), own.len());
    for (place, row) in rows.iter().enumerate() {
        let found = parameters.var(&format!("backbone.{}", row.own)).unwrap();
        let width = found.dims().last().copied().unwrap();
        let one_row = found.dims().len() == 1;
        let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let count = row.shape.iter().product::<u32>() as usize;
        let first = row.first_row * if one_row { 1 } else { width };
        for i in 0..count {
            let at = match row.transposed {
                true => {
                    i % row.shape[1] as usize * row.shape[0] as usize + i / row.shape[1] as usize
                }
                false => i,
            };
            assert_eq!(found[first + at], element(place, i), "{}", row.published);
        }
    }
}

fn write(path: &Path, rows: &[Row], strangers: &[&str]) {
    let stranger = |name: &&str| ((*name).to_owned(), tensor(&[3], vec![9.0; 3]));
    let tensors = rows.iter().enumerate().map(|(place, row)| {
        let count = row.shape.iter().product::<u32>() as usize;
        let values = (0..count).map(|i| element(place, i)).collect();
        (row.published.clone(), tensor(&row.shape, values))
    });
    let all: Vec<(String, Node)> = strangers.iter().map(stranger).chain(tensors).collect();
    torch::write_zip(path, &dict(all));
}

#[test]
fn clip_of_transformers_is_read() {
    let mut rows = vec![
        row("vision_model.embeddings.class_embedding", &[2], "cls_token"),
        row(
            "vision_model.embeddings.patch_embedding.weight",
            &[2, 3, 1, 1],
            "patch_embed.proj.weight",
        ),
        row(
            "vision_model.embeddings.position_embedding.weight",
            &[5, 2],
            "pos_embed",
        ),
        row("visual_projection.weight", &[3, 2], "head.weight"),
    ];
    rows.extend(pair("vision_model.pre_layrnorm", &[2], "norm_pre"));
    rows.extend(pair("vision_model.post_layernorm", &[2], "norm"));
    for block in 0..BLOCKS {
        let name = |part: &str| format!("vision_model.encoder.layers.{block}.{part}");
        let own = |part: &str| format!("blocks.{block}.{part}");
        rows.extend(pair(&name("layer_norm1"), &[2], &own("norm1")));
        let parts = ["q_proj", "k_proj", "v_proj"].map(|p| name(&format!("self_attn.{p}")));
        rows.extend(thirds(parts, &own("attn.qkv")));
        rows.extend(pair(
            &name("self_attn.out_proj"),
            &[2, 2],
            &own("attn.proj"),
        ));
        rows.extend(pair(&name("layer_norm2"), &[2], &own("norm2")));
        rows.extend(pair(&name("mlp.fc1"), &[8, 2], &own("mlp.fc1")));
        rows.extend(pair(&name("mlp.fc2"), &[2, 8], &own("mlp.fc2")));
    }
    let strangers = [
        "logit_scale",
        "text_model.encoder.layers.0.self_attn.q_proj.weight",
        "text_projection.weight",
        "vision_model.embeddings.position_ids",
    ];
    let own = own(&[
        ("pos_embed", &[1, 5, 2]),
        ("norm_pre.weight", &[2]),
        ("norm_pre.bias", &[2]),
        ("head.weight", &[3, 2]),
    ]);
    check(&own, &rows, &strangers, "vision_model.");
}

#[test]
fn clip_of_openai_is_read() {
    let mut rows = vec![
        row("visual.class_embedding", &[2], "cls_token"),
        row(
            "visual.conv1.weight",
            &[2, 3, 1, 1],
            "patch_embed.proj.weight",
        ),
        row("visual.positional_embedding", &[5, 2], "pos_embed"),
        Row {
            transposed: true,
            ..row("visual.proj", &[2, 3], "head.weight")
        },
    ];
    rows.extend(pair("visual.ln_pre", &[2], "norm_pre"));
    rows.extend(pair("visual.ln_post", &[2], "norm"));
    for block in 0..BLOCKS {
        let name = |part: &str| format!("visual.transformer.resblocks.{block}.{part}");
        let own = |part: &str| format!("blocks.{block}.{part}");
        rows.extend(pair(&name("ln_1"), &[2], &own("norm1")));
        rows.push(row(
            name("attn.in_proj_weight"),
            &[6, 2],
            own("attn.qkv.weight"),
        ));
        rows.push(row(name("attn.in_proj_bias"), &[6], own("attn.qkv.bias")));
        rows.extend(pair(&name("attn.out_proj"), &[2, 2], &own("attn.proj")));
        rows.extend(pair(&name("ln_2"), &[2], &own("norm2")));
        rows.extend(pair(&name("mlp.c_fc"), &[8, 2], &own("mlp.fc1")));
        rows.extend(pair(&name("mlp.c_proj"), &[2, 8], &own("mlp.fc2")));
    }
    let strangers = [
        "positional_embedding",
        "text_projection",
        "transformer.resblocks.0.ln_1.weight",
        "token_embedding.weight",
        "logit_scale",
    ];
    let own = own(&[
        ("pos_embed", &[1, 5, 2]),
        ("norm_pre.weight", &[2]),
        ("norm_pre.bias", &[2]),
        ("head.weight", &[3, 2]),
    ]);
    check(&own, &rows, &strangers, "visual.");
}

/// Returns the rows of DINOv2 as in `transformers`, with names below `prefix`.
fn dinov2(prefix: &str) -> Vec<Row> {
    let name = |part: &str| format!("{prefix}{part}");
    let mut rows = vec![
        row(name("embeddings.cls_token"), &[1, 1, 2], "cls_token"),
        row(
            name("embeddings.position_embeddings"),
            &[1, 5, 2],
            "pos_embed",
        ),
    ];
    let patches = name("embeddings.patch_embeddings.projection");
    rows.push(row(
        patches + ".weight",
        &[2, 3, 1, 1],
        "patch_embed.proj.weight",
    ));
    rows.extend(pair(&name("layernorm"), &[2], "norm"));
    for block in 0..BLOCKS {
        let name = |part: &str| format!("{prefix}encoder.layer.{block}.{part}");
        let own = |part: &str| format!("blocks.{block}.{part}");
        rows.extend(pair(&name("norm1"), &[2], &own("norm1")));
        let parts = ["query", "key", "value"];
        let parts = parts.map(|part| name(&format!("attention.attention.{part}")));
        rows.extend(thirds(parts, &own("attn.qkv")));
        rows.extend(pair(
            &name("attention.output.dense"),
            &[2, 2],
            &own("attn.proj"),
        ));
        rows.push(row(name("layer_scale1.lambda1"), &[2], own("ls1.gamma")));
        rows.extend(pair(&name("norm2"), &[2], &own("norm2")));
        rows.extend(pair(&name("mlp.fc1"), &[8, 2], &own("mlp.fc1")));
        rows.extend(pair(&name("mlp.fc2"), &[2, 8], &own("mlp.fc2")));
        rows.push(row(name("layer_scale2.lambda1"), &[2], own("ls2.gamma")));
    }
    rows
}

const SCALES: [(&str, &[usize]); 4] = [
    ("blocks.0.ls1.gamma", &[2]),
    ("blocks.0.ls2.gamma", &[2]),
    ("blocks.1.ls1.gamma", &[2]),
    ("blocks.1.ls2.gamma", &[2]),
];

#[test]
fn dinov2_of_transformers_is_read() {
    let mut more = SCALES.to_vec();
    more.push(("pos_embed", &[1, 5, 2]));
    for prefix in ["", "dinov2."] {
        let stranger = format!("{prefix}embeddings.mask_token");
        check(&own(&more), &dinov2(prefix), &[&stranger], prefix);
    }
}

/// The position of the class token is added to it, since the network has no separate one.
#[test]
fn registers_leave_the_class_token_without_a_position() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pth");
    let mut rows = dinov2("");
    rows.push(row("embeddings.register_tokens", &[1, 4, 2], "reg_token"));
    write(&path, &rows, &[]);
    let mut more = SCALES.to_vec();
    more.extend([("pos_embed", &[1, 4, 2][..]), ("reg_token", &[1, 4, 2][..])]);
    let own = own(&more);
    let own: Vec<(&str, &[usize])> = own.iter().map(|(n, s)| (&n[..], &s[..])).collect();
    let parameters = network(&own);
    let report = load_backbone(&parameters, &path, "vit", &Device::Cpu).unwrap();
    assert!(
        report.missing.is_empty() && report.unexpected.is_empty(),
        "{report}"
    );
    let values = |name: &str| -> Vec<f32> {
        let var = parameters.var(&format!("backbone.{name}")).unwrap();
        var.flatten_all().unwrap().to_vec1().unwrap()
    };
    // The class token is the first tensor of the file, the positions are the second.
    let sum = |i: usize| element(0, i) + element(1, i);
    assert_eq!(values("cls_token"), [sum(0), sum(1)]);
    let expected: Vec<f32> = (2..10).map(|i| element(1, i)).collect();
    assert_eq!(values("pos_embed"), expected);
}

/// Queries without keys cannot be stacked: the error names what is missing.
#[test]
fn a_part_that_is_missing_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pth");
    let mut rows = dinov2("");
    rows.retain(|row| !row.published.contains("layer.1.attention.attention.key"));
    write(&path, &rows, &[]);
    let mut more = SCALES.to_vec();
    more.push(("pos_embed", &[1, 5, 2]));
    let own = own(&more);
    let own: Vec<(&str, &[usize])> = own.iter().map(|(n, s)| (&n[..], &s[..])).collect();
    let report = load_backbone(&network(&own), &path, "vit", &Device::Cpu).unwrap();
    let missing = [
        "backbone.blocks.1.attn.qkv.weight",
        "backbone.blocks.1.attn.qkv.bias",
    ];
    assert_eq!(report.missing, missing);
    assert_eq!(report.unexpected.len(), 4, "{report}");
}

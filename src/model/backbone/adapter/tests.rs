use super::super::BackboneKind;
use super::super::architecture::{Affine, Operation};
use super::*;
use crate::error::{KeyPath, Result};

fn read(text: &str) -> Result<AdapterConfig> {
    AdapterConfig::from_table(&text.parse().unwrap(), &KeyPath::from("model.adapter"))
}

fn check(text: &str, backbone: &str) -> Result<()> {
    let architecture = BackboneKind::named(backbone).unwrap().architecture();
    read(text)?.check(&KeyPath::from("model.adapter"), &architecture)
}

#[test]
fn what_is_written_is_read_back_the_same() {
    for kind in Kind::defaults() {
        for blocks in [None, Some(3)] {
            let config = AdapterConfig {
                blocks,
                frozen: blocks.is_some(),
                kind: kind.clone(),
            };
            let written = toml::to_string(&config).unwrap();
            assert_eq!(read(&written).unwrap(), config, "{written}");
        }
    }
    assert_eq!(read("").unwrap(), Kind::Lora(Lora::default()).into());
}

#[test]
fn mistakes_are_told_with_what_is_accepted() {
    let tiny = "vit_tiny_patch16_224";
    for (text, backbone, expected) in [
        ("kind = 'lara'", tiny, "one of `lora`, `adaptformer`"),
        ("width = 8", tiny, "model.adapter.width"),
        ("kind = 'adaptformer'\nrank = 8", tiny, "model.adapter.rank"),
        ("rank = 0", tiny, "model.adapter.rank"),
        ("alpha = 0.0", tiny, "model.adapter.alpha"),
        ("layers = []", tiny, "model.adapter.layers"),
        ("layers = ['qkw']", tiny, "expected one of `qkv`"),
        ("blocks = 13", tiny, "model.adapter.blocks"),
        ("blocks = 0", tiny, "model.adapter.blocks"),
        ("", "resnet50", "`model.backbone` is not one"),
        ("", "resnet50_clip", "`model.backbone` is not one"),
    ] {
        let error = check(text, backbone).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    check("blocks = 12", tiny).unwrap();
    check("blocks = 1\nlayers = ['fc2']", tiny).unwrap();
}

/// Returns the names of the convolutions that the adapter adds or modifies.
fn adapted(text: &str) -> Vec<String> {
    let tiny = BackboneKind::named("vit_tiny_patch16_224").unwrap();
    let architecture = read(text).unwrap().adapt(tiny.architecture());
    let all = architecture.convolutions();
    all.filter(|(_, conv)| conv.added || conv.low_rank.is_some())
        .map(|(_, conv)| conv.conv.clone())
        .collect()
}

#[test]
fn the_last_blocks_are_adapted() {
    assert_eq!(adapted("").len(), 12);
    assert_eq!(adapted("blocks = 1"), ["blocks.11.attn.qkv"]);
    let all = "layers = ['qkv', 'proj', 'fc1', 'fc2']";
    assert_eq!(adapted(all).len(), 48);
    assert_eq!(adapted("kind = 'adaptformer'").len(), 24);
    assert_eq!(
        adapted("kind = 'adaptformer'\nblocks = 1"),
        ["blocks.11.adaptmlp.down_proj", "blocks.11.adaptmlp.up_proj"]
    );
}

/// The branch reads the norm that the first linear layer reads, and sits between that layer and the
/// residual that was added to the second.
#[test]
fn the_branch_lies_beside_the_linear_layers() {
    let tiny = BackboneKind::named("vit_tiny_patch16_224").unwrap();
    let bare = tiny.architecture();
    let adapter = AdapterConfig::from(Kind::AdaptFormer(AdaptFormer::default()));
    let adapted = adapter.adapt(bare.clone());
    assert_eq!(adapted.nodes.len(), bare.nodes.len() + 24);
    let conv = |net: &super::super::architecture::Architecture, name: &str| {
        let index = net
            .nodes
            .iter()
            .position(|node| matches!(&node.operation, Operation::Conv(conv) if conv.conv == name));
        let index = index.unwrap();
        match &net.nodes[index].operation {
            Operation::Conv(conv) => (index, conv.clone()),
            _ => unreachable!(),
        }
    };
    let (_, first) = conv(&adapted, "blocks.7.mlp.fc1");
    let (down_at, down) = conv(&adapted, "blocks.7.adaptmlp.down_proj");
    let (up_at, up) = conv(&adapted, "blocks.7.adaptmlp.up_proj");
    let (_, last) = conv(&adapted, "blocks.7.mlp.fc2");
    let (attended, _) = conv(&adapted, "blocks.7.attn.proj");
    assert_eq!(down.input, first.input);
    assert_eq!(up.input, super::super::architecture::Source::Node(down_at));
    assert_eq!((last.residual, up.residual), (Some(up_at), Some(attended)));
    assert_eq!(up.affine, Affine::Scaled(0.1));
}

#[test]
fn the_page_names_every_kind_and_key() {
    let page = fs_err::read_to_string("docs/adapters.md").unwrap();
    for kind in Kind::defaults() {
        let (_, section) = page
            .split_once(&format!("\n## `{}`\n", kind.name()))
            .unwrap();
        let section = section.split("\n## ").next().unwrap();
        for (key, value) in kind.keys().unwrap() {
            let row = format!("\n| `{key}` | `{value}` | ");
            assert!(section.contains(&row), "docs/adapters.md lacks {row}");
        }
    }
    for name in Kind::NAMES {
        assert!(page.contains(&format!("| `kind` | `{}` | ", Kind::NAMES[0])));
        assert!(page.contains(&format!("`{name}`")));
    }
}

#[test]
fn names_of_adapters_are_none_of_published_networks() {
    for kind in BackboneKind::all() {
        for (_, conv) in kind.architecture().convolutions() {
            assert!(!owns(&conv.conv), "{kind} {}", conv.conv);
        }
    }
    for name in [
        "blocks.0.attn.qkv.lora_A.weight",
        "blocks.0.attn.qkv.lora_B.weight",
        "blocks.3.adaptmlp.up_proj.bias",
    ] {
        assert!(owns(name), "{name}");
    }
}

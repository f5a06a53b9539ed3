//! Identifies the network that the tensors of a file belong to, from their names and shapes, to
//! explain why they do not fit the configured one.

use std::collections::{BTreeSet, HashMap};

/// A kind of network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kind {
    /// A description that follows "this is": `a ResNet-34`.
    pub name: String,
    /// Its name in configurations, whether or not such a backbone exists.
    pub backbone: Option<String>,
}

/// The tensors under the prefix at which a signature was found.
struct View<'a> {
    shapes: HashMap<&'a str, &'a [usize]>,
}

impl View<'_> {
    fn has(&self, name: &str) -> bool {
        self.shapes.contains_key(name)
    }

    /// Returns the length of a tensor's dimension, or 0 if there is none.
    fn size(&self, name: &str, dimension: usize) -> usize {
        (self.shapes.get(name))
            .and_then(|shape| shape.get(dimension).copied())
            .unwrap_or(0)
    }

    /// Returns the number of distinct parts that follow `prefix`, such as the blocks of a stage.
    fn count(&self, prefix: &str) -> usize {
        let parts: BTreeSet<&str> = (self.shapes.keys())
            .filter_map(|name| name.strip_prefix(prefix)?.split('.').next())
            .filter(|part| part.bytes().all(|b| b.is_ascii_digit()))
            .collect();
        parts.len()
    }

    fn any(&self, test: impl Fn(&str, &[usize]) -> bool) -> bool {
        self.shapes.iter().any(|(name, shape)| test(name, shape))
    }
}

fn kind(name: impl Into<String>) -> Kind {
    Kind {
        name: name.into(),
        backbone: None,
    }
}

fn named(name: impl Into<String>, backbone: &str) -> Kind {
    Kind {
        name: name.into(),
        backbone: Some(backbone.to_owned()),
    }
}

type Describe = fn(&View) -> Kind;

/// Tensors by which a kind is recognised, each with a function that describes the network. The
/// first one found wins, so more specific ones come first.
const SIGNATURES: &[(&str, Describe)] = &[
    ("visual.layer1.0.conv1.weight", |view| {
        let depths = [1, 2, 3, 4].map(|layer| view.count(&format!("visual.layer{layer}.")));
        match (depths, view.size("visual.conv1.weight", 0)) {
            ([3, 4, 6, 3], 32) => named("CLIP with a ResNet-50", "resnet50_clip"),
            _ => kind("CLIP with a ResNet"),
        }
    }),
    ("visual.transformer.resblocks.0.attn.in_proj_weight", clip),
    (
        "vision_model.encoder.layers.0.self_attn.q_proj.weight",
        clip_of_transformers,
    ),
    ("layer1.0.conv1.weight", resnet),
    ("layer1.0.bn1.weight", resnet),
    (
        "encoder.stages.0.layers.0.layer.0.convolution.weight",
        |_| kind("a ResNet in the naming of `transformers`"),
    ),
    ("features.1.conv.0.0.weight", mobilenet_v2),
    ("features.1.block.0.0.weight", |view| {
        let large = view.has("features.16.0.weight");
        match large {
            true => named("a MobileNetV3-Large", "mobilenet_v3_large"),
            false => kind("a MobileNetV3-Small"),
        }
    }),
    ("features.1.0.block.0.0.weight", |view| {
        let stem = view.size("features.0.0.weight", 0);
        match (stem, view.count("features.1."), view.count("features.6.")) {
            (32, 1, 4) => named("an EfficientNet-B0", "efficientnet_b0"),
            _ => kind("an EfficientNet"),
        }
    }),
    ("features.1.0.attn.relative_position_bias_table", |_| {
        kind("a Swin Transformer")
    }),
    (
        "layers.0.blocks.0.attn.relative_position_bias_table",
        |_| kind("a Swin Transformer"),
    ),
    ("features.1.0.layer_scale", |view| {
        let width = view.size("features.0.0.weight", 0);
        match (width, view.count("features.5.")) {
            (96, 9) => named("a ConvNeXt-Tiny", "convnext_tiny"),
            (96, 27) => named("a ConvNeXt-Small", "convnext_small"),
            _ => kind("a ConvNeXt"),
        }
    }),
    ("stages.0.blocks.0.conv_dw.weight", convnext),
    ("blocks.0.0.conv_dw.weight", timm_mobile),
    ("blocks.0.attn.qkv.weight", vit),
    (
        "encoder.layers.encoder_layer_0.self_attention.in_proj_weight",
        |view| {
            let width = view.size(
                "encoder.layers.encoder_layer_0.self_attention.in_proj_weight",
                1,
            );
            kind(vit_name(width, view.size("conv_proj.weight", 2)))
        },
    ),
    (
        "encoder.layer.0.attention.attention.query.weight",
        vit_of_transformers,
    ),
    ("encoder.layer.0.attention.self.query.weight", |_| {
        kind("a BERT, a network for text")
    }),
    ("features.denseblock1.denselayer1.conv1.weight", |_| {
        kind("a DenseNet")
    }),
    ("Mixed_5b.branch1x1.conv.weight", |_| {
        kind("an Inception v3")
    }),
    ("inception3a.branch1.conv.weight", |_| kind("a GoogLeNet")),
    ("trunk_output.block1.block1-0.f.a.0.weight", |_| {
        kind("a RegNet")
    }),
    ("s1.b1.conv1.conv.weight", |_| kind("a RegNet")),
    ("stage2.0.branch2.0.weight", |_| kind("a ShuffleNetV2")),
    ("features.3.squeeze.weight", |_| kind("a SqueezeNet")),
    ("classifier.6.weight", |view| {
        let alexnet = view.size("features.0.weight", 2) == 11;
        kind(if alexnet { "an AlexNet" } else { "a VGG" })
    }),
    ("model.diffusion_model.input_blocks.0.0.weight", |_| {
        kind("a diffusion model")
    }),
    ("model.layers.0.self_attn.q_proj.weight", |_| {
        kind("a language model")
    }),
];

/// Returns the kind of network that tensors with these names and shapes belong to.
pub(super) fn recognise<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a [usize])> + Clone,
) -> Option<Kind> {
    for (anchor, describe) in SIGNATURES {
        let prefix = (tensors.clone()).find_map(|(name, _)| {
            let prefix = name.strip_suffix(anchor)?;
            (prefix.is_empty() || prefix.ends_with('.')).then_some(prefix)
        });
        if let Some(prefix) = prefix {
            let shapes = (tensors.clone())
                .filter_map(|(name, shape)| Some((name.strip_prefix(prefix)?, shape)))
                .collect();
            return Some(describe(&View { shapes }));
        }
    }
    None
}

fn resnet(view: &View) -> Kind {
    let depths = [1, 2, 3, 4].map(|layer| view.count(&format!("layer{layer}.")));
    let blocks: usize = depths.iter().sum();
    let bottleneck = view.has("layer1.0.conv3.weight") || view.has("layer1.1.conv3.weight");
    let depth = match (bottleneck, depths) {
        (false, [2, 2, 2, 2]) => "18".into(),
        (false, [3, 4, 6, 3]) => "34".into(),
        (true, [3, 4, 6, 3]) => "50".into(),
        (true, [3, 4, 23, 3]) => "101".into(),
        (true, [3, 8, 36, 3]) => "152".into(),
        _ => {
            let layers = blocks * if bottleneck { 3 } else { 2 } + 2;
            return kind(format!("a ResNet of {layers} layers, blocks {depths:?}"));
        }
    };
    let depth: String = depth;
    let width = view.size("layer1.0.conv2.weight", 0);
    let per_group = view.size("layer1.0.conv2.weight", 1).max(1);
    let groups = width / per_group;
    if view.any(|name, _| name.contains(".se.") || name.contains(".se_module.")) {
        return kind(format!("an SE-ResNet-{depth}"));
    }
    if view.has("conv1.0.weight") {
        return kind(format!(
            "a ResNet-{depth}-D, with a stem of three convolutions"
        ));
    }
    if view.size("conv1.weight", 2) == 3 {
        return kind(format!(
            "a ResNet-{depth} for small pictures, with a 3x3 stem"
        ));
    }
    if bottleneck && groups > 1 {
        let name = format!("a ResNeXt-{depth} {groups}x{per_group}d");
        return named(name, &format!("resnext{depth}_{groups}x{per_group}d"));
    }
    if bottleneck && width > 64 {
        let name = format!("a Wide ResNet-{depth}-{}", width / 64);
        return named(name, &format!("wide_resnet{depth}_{}", width / 64));
    }
    named(format!("a ResNet-{depth}"), &format!("resnet{depth}"))
}

fn mobilenet_v2(view: &View) -> Kind {
    match view.size("features.18.0.weight", 1) {
        320 | 0 => named("a MobileNetV2", "mobilenet_v2"),
        width => kind(format!(
            "a MobileNetV2 of width {:.2}",
            width as f64 / 320.0
        )),
    }
}

/// timm builds the mobile networks from one set of blocks.
fn timm_mobile(view: &View) -> Kind {
    let squeezes = view.any(|name, _| name.contains(".se.conv_reduce"));
    let wide_kernels =
        view.any(|name, shape| name.ends_with("conv_dw.weight") && shape.get(2) == Some(&5));
    let lite0 = view.size("conv_stem.weight", 0) == 32 && view.count("blocks.3.") == 3;
    if !squeezes && wide_kernels && lite0 {
        return named("an EfficientNet-Lite0", "efficientnet_lite0");
    }
    let name = match (squeezes, wide_kernels) {
        (true, _) if view.has("conv_head.bias") => "a MobileNetV3",
        (true, _) => "an EfficientNet",
        (false, true) => "an EfficientNet-Lite",
        (false, false) => "a MobileNetV2",
    };
    kind(format!("{name} in timm's naming"))
}

fn convnext(view: &View) -> Kind {
    let depth = view.count("stages.2.blocks.");
    let size = match (view.size("stages.0.blocks.0.conv_dw.weight", 0), depth) {
        (96, 9) => "-Tiny",
        (96, 27) => "-Small",
        (128, _) => "-Base",
        (192, _) => "-Large",
        (256, _) => "-XLarge",
        _ => "",
    };
    kind(format!("a ConvNeXt{size}"))
}

fn vit(view: &View) -> Kind {
    let width = view.size("blocks.0.attn.qkv.weight", 1);
    let patch = view.size("patch_embed.proj.weight", 2);
    let dinov2 = view.has("blocks.0.ls1.gamma");
    let clip = !dinov2 && view.has("norm_pre.weight") && vit_size(width).is_some();
    match clip {
        true => clip_vit(width, patch),
        false => {
            let registers = view.has("reg_token") || view.has("register_tokens");
            plain_vit(width, patch, dinov2.then_some(registers))
        }
    }
}

/// Describes a vision transformer, or DINOv2 with or without registers.
fn plain_vit(width: usize, patch: usize, dinov2: Option<bool>) -> Kind {
    let name = vit_name(width, patch);
    match (vit_size(width), dinov2) {
        (None, _) => kind(name),
        (Some(size), None) => named(name, &format!("vit_{size}_patch{patch}_224")),
        (Some(size), Some(registers)) => {
            let registers = if registers { "_reg4" } else { "" };
            let own = format!("vit_{size}_patch{patch}{registers}_dinov2");
            named(format!("{name} as DINOv2 trains it"), &own)
        }
    }
}

/// Returns timm's word for a width.
fn vit_size(width: usize) -> Option<&'static str> {
    match width {
        192 => Some("tiny"),
        384 => Some("small"),
        768 => Some("base"),
        _ => None,
    }
}

fn clip_vit(width: usize, patch: usize) -> Kind {
    let name = format!("CLIP with {}", vit_name(width, patch));
    match vit_size(width) {
        Some(size) => named(name, &format!("vit_{size}_patch{patch}_clip_224")),
        None => kind(name),
    }
}

fn clip_of_transformers(view: &View) -> Kind {
    let patches = "vision_model.embeddings.patch_embedding.weight";
    if !view.has("vision_model.pre_layrnorm.weight") {
        return kind("a SigLIP model in the naming of `transformers`");
    }
    clip_vit(view.size(patches, 0), view.size(patches, 2))
}

/// Describes DINOv2 and the vision transformer with the names of `transformers`.
fn vit_of_transformers(view: &View) -> Kind {
    let patches = "embeddings.patch_embeddings.projection.weight";
    let registers = view.has("embeddings.register_tokens");
    let dinov2 = view.has("encoder.layer.0.layer_scale1.lambda1");
    plain_vit(
        view.size(patches, 0),
        view.size(patches, 2),
        dinov2.then_some(registers),
    )
}

fn clip(view: &View) -> Kind {
    let patches = "visual.conv1.weight";
    clip_vit(view.size(patches, 0), view.size(patches, 2))
}

fn vit_name(width: usize, patch: usize) -> String {
    let size = match width {
        192 => "-Ti",
        384 => "-S",
        768 => "-B",
        1024 => "-L",
        1280 => "-H",
        _ => "",
    };
    match patch {
        0 => format!("a vision transformer (ViT{size})"),
        _ => format!("a vision transformer (ViT{size}/{patch})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tensors: &[(&str, &[usize])]) -> String {
        recognise(tensors.iter().copied()).map_or_else(String::new, |kind| kind.name)
    }

    #[test]
    fn kinds_are_told_from_names_and_shapes() {
        for (expected, depths, conv2, bottleneck) in [
            ("a ResNet-18", [2, 2, 2, 2], [64, 64], false),
            ("a ResNet-34", [3, 4, 6, 3], [64, 64], false),
            ("a ResNet-50", [3, 4, 6, 3], [64, 64], true),
            ("a ResNet-101", [3, 4, 23, 3], [64, 64], true),
            ("a ResNet-152", [3, 8, 36, 3], [64, 64], true),
            ("a ResNeXt-50 32x4d", [3, 4, 6, 3], [128, 4], true),
            ("a Wide ResNet-50-2", [3, 4, 6, 3], [128, 128], true),
            (
                "a ResNet of 10 layers, blocks [1, 1, 1, 1]",
                [1, 1, 1, 1],
                [64, 64],
                false,
            ),
        ] {
            let mut names = Vec::new();
            for (layer, depth) in depths.into_iter().enumerate() {
                for block in 0..depth {
                    for conv in 1..=if bottleneck { 3 } else { 2 } {
                        names.push(format!(
                            "state_dict.module.layer{}.{block}.conv{conv}.weight",
                            layer + 1
                        ));
                    }
                }
            }
            let shape = [conv2[0], conv2[1], 3, 3];
            let tensors: Vec<(&str, &[usize])> = names
                .iter()
                .map(|name| (name.as_str(), &shape[..]))
                .collect();
            assert_eq!(of(&tensors), expected);
        }
        type Tensors<'a> = &'a [(&'a str, &'a [usize])];
        let cases: [(&str, Tensors); 6] = [
            (
                "a MobileNetV2",
                &[("features.1.conv.0.0.weight", &[32, 1, 3, 3])],
            ),
            (
                "a vision transformer (ViT-Ti/16)",
                &[
                    ("blocks.0.attn.qkv.weight", &[576, 192]),
                    ("patch_embed.proj.weight", &[192, 3, 16, 16]),
                ],
            ),
            (
                "a Swin Transformer",
                &[
                    ("layers.0.blocks.0.attn.qkv.weight", &[288, 96]),
                    (
                        "layers.0.blocks.0.attn.relative_position_bias_table",
                        &[169, 3],
                    ),
                ],
            ),
            (
                "an EfficientNet-Lite in timm's naming",
                &[
                    ("blocks.0.0.conv_dw.weight", &[32, 1, 3, 3]),
                    ("blocks.2.0.conv_dw.weight", &[144, 1, 5, 5]),
                ],
            ),
            (
                "CLIP with a vision transformer (ViT-B/32)",
                &[
                    (
                        "visual.transformer.resblocks.0.attn.in_proj_weight",
                        &[2304, 768],
                    ),
                    ("visual.conv1.weight", &[768, 3, 32, 32]),
                ],
            ),
            ("", &[("encoder.weight", &[2, 2])]),
        ];
        for (expected, tensors) in cases {
            assert_eq!(of(tensors), expected);
        }
    }
}

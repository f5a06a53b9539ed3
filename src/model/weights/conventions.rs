//! The naming conventions of published vision transformers, translated to the network's own names,
//! which are timm's. A convention is recognised by a name that the others do not have.

use super::stored::Stored;
use super::weight::Weight;

/// What is done to a tensor besides renaming it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Nothing.
    Same,
    /// Dimensions of length 1 are prepended until there are three.
    Wrapped,
    /// Rows and columns are swapped.
    Transposed,
    /// It is one of three tensors to be stacked: queries, keys, values.
    Third(usize),
    /// It is dropped: the network does not use it.
    Dropped,
}

use How::{Dropped, Same, Third, Transposed, Wrapped};

/// The naming convention of one origin.
struct Convention {
    /// A name by which it is recognised.
    anchor: &'static str,
    /// The prefix of the network's tensors, which is prepended to their new names.
    root: &'static str,
    /// Its own rules, and those shared with others.
    rules: &'static [&'static [Rule]],
}

/// The name of a tensor or module, with `*` for the number of a block; its new name; what is done
/// to the tensor.
type Rule = (&'static str, &'static str, How);

/// Queries, keys and values with their published names, as far as they have been found.
type Thirds = [Option<(String, Stored)>; 3];

/// The names that DINOv2 and the vision transformer have in common in `transformers`.
const ENCODER: &[Rule] = &[
    ("embeddings.cls_token", "cls_token", Same),
    ("embeddings.mask_token", "", Dropped),
    ("embeddings.position_embeddings", "pos_embed", Same),
    (
        "embeddings.patch_embeddings.projection",
        "patch_embed.proj",
        Same,
    ),
    (
        "encoder.layer.*.attention.attention.query",
        "blocks.*.attn.qkv",
        Third(0),
    ),
    (
        "encoder.layer.*.attention.attention.key",
        "blocks.*.attn.qkv",
        Third(1),
    ),
    (
        "encoder.layer.*.attention.attention.value",
        "blocks.*.attn.qkv",
        Third(2),
    ),
    (
        "encoder.layer.*.attention.output.dense",
        "blocks.*.attn.proj",
        Same,
    ),
    ("layernorm", "norm", Same),
];

/// All known conventions. The first match wins.
const CONVENTIONS: &[Convention] = &[
    // CLIP and its relatives in `transformers`, with or without the text tower.
    Convention {
        anchor: "vision_model.encoder.layers.0.self_attn.q_proj.weight",
        root: "vision_model.",
        rules: &[&[
            (
                "vision_model.embeddings.class_embedding",
                "cls_token",
                Wrapped,
            ),
            (
                "vision_model.embeddings.position_embedding.weight",
                "pos_embed",
                Wrapped,
            ),
            ("vision_model.embeddings.position_ids", "", Dropped),
            (
                "vision_model.embeddings.patch_embedding",
                "patch_embed.proj",
                Same,
            ),
            ("vision_model.pre_layrnorm", "norm_pre", Same),
            (
                "vision_model.encoder.layers.*.layer_norm1",
                "blocks.*.norm1",
                Same,
            ),
            (
                "vision_model.encoder.layers.*.self_attn.q_proj",
                "blocks.*.attn.qkv",
                Third(0),
            ),
            (
                "vision_model.encoder.layers.*.self_attn.k_proj",
                "blocks.*.attn.qkv",
                Third(1),
            ),
            (
                "vision_model.encoder.layers.*.self_attn.v_proj",
                "blocks.*.attn.qkv",
                Third(2),
            ),
            (
                "vision_model.encoder.layers.*.self_attn.out_proj",
                "blocks.*.attn.proj",
                Same,
            ),
            (
                "vision_model.encoder.layers.*.layer_norm2",
                "blocks.*.norm2",
                Same,
            ),
            ("vision_model.encoder.layers.*.mlp", "blocks.*.mlp", Same),
            ("vision_model.post_layernorm", "norm", Same),
            ("visual_projection", "head", Same),
        ]],
    },
    // CLIP as OpenAI and OpenCLIP publish it.
    Convention {
        anchor: "visual.transformer.resblocks.0.attn.in_proj_weight",
        root: "visual.",
        rules: &[&[
            ("visual.class_embedding", "cls_token", Wrapped),
            ("visual.positional_embedding", "pos_embed", Wrapped),
            ("visual.conv1", "patch_embed.proj", Same),
            ("visual.ln_pre", "norm_pre", Same),
            (
                "visual.transformer.resblocks.*.ln_1",
                "blocks.*.norm1",
                Same,
            ),
            (
                "visual.transformer.resblocks.*.attn.in_proj_weight",
                "blocks.*.attn.qkv.weight",
                Same,
            ),
            (
                "visual.transformer.resblocks.*.attn.in_proj_bias",
                "blocks.*.attn.qkv.bias",
                Same,
            ),
            (
                "visual.transformer.resblocks.*.attn.out_proj",
                "blocks.*.attn.proj",
                Same,
            ),
            (
                "visual.transformer.resblocks.*.ln_2",
                "blocks.*.norm2",
                Same,
            ),
            (
                "visual.transformer.resblocks.*.mlp.c_fc",
                "blocks.*.mlp.fc1",
                Same,
            ),
            (
                "visual.transformer.resblocks.*.mlp.c_proj",
                "blocks.*.mlp.fc2",
                Same,
            ),
            ("visual.ln_post", "norm", Same),
            ("visual.proj", "head.weight", Transposed),
        ]],
    },
    // DINOv2 in `transformers`, with and without registers.
    Convention {
        anchor: "encoder.layer.0.layer_scale1.lambda1",
        root: "",
        rules: &[
            ENCODER,
            &[
                ("embeddings.register_tokens", "reg_token", Same),
                ("encoder.layer.*.norm1", "blocks.*.norm1", Same),
                (
                    "encoder.layer.*.layer_scale1.lambda1",
                    "blocks.*.ls1.gamma",
                    Same,
                ),
                ("encoder.layer.*.norm2", "blocks.*.norm2", Same),
                ("encoder.layer.*.mlp", "blocks.*.mlp", Same),
                (
                    "encoder.layer.*.layer_scale2.lambda1",
                    "blocks.*.ls2.gamma",
                    Same,
                ),
            ],
        ],
    },
    // The vision transformer in `transformers`.
    Convention {
        anchor: "encoder.layer.0.layernorm_before.weight",
        root: "",
        rules: &[
            ENCODER,
            &[
                ("encoder.layer.*.layernorm_before", "blocks.*.norm1", Same),
                ("encoder.layer.*.layernorm_after", "blocks.*.norm2", Same),
                (
                    "encoder.layer.*.intermediate.dense",
                    "blocks.*.mlp.fc1",
                    Same,
                ),
                ("encoder.layer.*.output.dense", "blocks.*.mlp.fc2", Same),
            ],
        ],
    },
    // DINOv2 as published by Meta: timm's names except for the registers.
    Convention {
        anchor: "blocks.0.ls1.gamma",
        root: "",
        rules: &[&[
            ("register_tokens", "reg_token", Same),
            ("mask_token", "", Dropped),
        ]],
    },
];

/// Translates the tensors of a file to the network's own names if their convention is known; other
/// tensors keep their names.
pub(super) fn translate(tensors: Vec<(String, Stored)>) -> Vec<(String, Weight)> {
    let known = CONVENTIONS.iter().find_map(|convention| {
        let prefix = tensors.iter().find_map(|(name, _)| {
            let prefix = name.strip_suffix(convention.anchor)?;
            (prefix.is_empty() || prefix.ends_with('.')).then(|| prefix.to_owned())
        });
        Some((convention, prefix?))
    });
    match known {
        Some((convention, prefix)) => convention.translate(&prefix, tensors),
        None => (tensors.into_iter())
            .map(|(name, stored)| (name, stored.into()))
            .collect(),
    }
}

impl Convention {
    fn translate(&self, prefix: &str, tensors: Vec<(String, Stored)>) -> Vec<(String, Weight)> {
        let root = format!("{prefix}{}", self.root);
        let mut translated: Vec<(String, Weight)> = Vec::with_capacity(tensors.len());
        // Keyed by the new name.
        let mut thirds: Vec<(String, Thirds)> = Vec::new();
        for (name, stored) in tensors {
            let rule = name
                .strip_prefix(prefix)
                .and_then(|bare| self.renamed(bare));
            let Some((new, how)) = rule else {
                translated.push((name, stored.into()));
                continue;
            };
            let new = format!("{root}{new}");
            match how {
                Same => translated.push((new, stored.into())),
                Wrapped => {
                    let mut shape = vec![1; 3_usize.saturating_sub(stored.shape.len())];
                    shape.extend(&stored.shape);
                    translated.push((new, Weight::from(stored).reshaped(shape)));
                }
                Transposed => translated.push((new, Weight::from(stored).transposed())),
                Third(index) => {
                    let place = match thirds.iter().position(|(known, _)| *known == new) {
                        Some(place) => place,
                        None => {
                            thirds.push((new, [None, None, None]));
                            thirds.len() - 1
                        }
                    };
                    thirds[place].1[index] = Some((name, stored));
                }
                Dropped => {}
            }
        }
        for (new, parts) in thirds {
            let found: Vec<(String, Stored)> = parts.into_iter().flatten().collect();
            let stored: Vec<Stored> = found.iter().map(|(_, stored)| stored.clone()).collect();
            match Weight::stacked(stored).filter(|_| found.len() == 3) {
                Some(weight) => translated.push((new, weight)),
                // Parts that do not fit together keep their names, so that they are reported.
                None => translated.extend(found.into_iter().map(|(n, s)| (n, s.into()))),
            }
        }
        absorb_class_position(&root, &mut translated);
        translated
    }

    /// Returns the new name of a tensor, and what is done to it.
    fn renamed(&self, name: &str) -> Option<(String, How)> {
        self.rules
            .iter()
            .copied()
            .flatten()
            .find_map(|(from, to, how)| {
                let (number, rest) = matched(from, name)?;
                Some((format!("{}{rest}", to.replacen('*', number, 1)), *how))
            })
    }
}

/// Matches the beginning of a name. Returns what `*` stands for, and the rest: nothing, or a dot
/// and more.
fn matched<'a>(pattern: &str, name: &'a str) -> Option<(&'a str, &'a str)> {
    let (number, rest) = match pattern.split_once('*') {
        None => ("", name.strip_prefix(pattern)?),
        Some((before, after)) => {
            let rest = name.strip_prefix(before)?;
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = rest.split_at(digits);
            (number, rest.strip_prefix(after).filter(|_| digits > 0)?)
        }
    };
    (rest.is_empty() || rest.starts_with('.')).then_some((number, rest))
}

/// Adds the published position embedding of the class token, if there is one, to the class token
/// itself: with registers, the network's class token has no position embedding.
fn absorb_class_position(root: &str, tensors: &mut [(String, Weight)]) {
    let place = |name: &str| {
        let full = format!("{root}{name}");
        tensors.iter().position(|(name, _)| *name == full)
    };
    let (Some(_), Some(class), Some(positions)) =
        (place("reg_token"), place("cls_token"), place("pos_embed"))
    else {
        return;
    };
    let places = tensors[positions].1.shape.get(1).copied().unwrap_or(0);
    if places.isqrt().pow(2) == places {
        return;
    }
    if let Some(own) = tensors[positions].1.take_first_row() {
        let token = tensors[class].1.clone();
        if token.shape == own.shape {
            tensors[class].1 = token.plus(own);
        }
    }
}

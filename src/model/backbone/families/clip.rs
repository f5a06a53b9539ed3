//! The image towers of CLIP as timm builds them: features lie in the space that texts share.

use super::super::architecture::Architecture;
use super::definition::{Definition, ExpectedInput};
use super::transformer::Transformer;
use crate::ops::Activation;

const fn definition(name: &'static str, architecture: fn() -> Architecture) -> Definition {
    Definition {
        name,
        source: "Radford, Kim, Hallacy et al.: Learning Transferable Visual Models From Natural \
                 Language Supervision, ICML 2021",
        input: ExpectedInput::CLIP,
        architecture,
    }
}

/// The networks: OpenAI's with the rougher GELU, OpenCLIP's with the exact one.
pub(super) const DEFINITIONS: &[Definition] = &[
    definition("vit_base_patch32_clip_224", || PATCH32.network()),
    definition("vit_base_patch16_clip_224", || PATCH16.network()),
    definition("vit_base_patch32_clip_quickgelu_224", || {
        quick(PATCH32).network()
    }),
    definition("vit_base_patch16_clip_quickgelu_224", || {
        quick(PATCH16).network()
    }),
];

const PATCH16: Transformer = Transformer {
    epsilon: 1e-5,
    norm_before: true,
    projection: Some(512),
    ..Transformer::VIT
};

const PATCH32: Transformer = Transformer {
    patch: 32,
    side: 7,
    ..PATCH16
};

fn quick(exact: Transformer) -> Transformer {
    Transformer {
        activation: Activation::QuickGelu,
        ..exact
    }
}

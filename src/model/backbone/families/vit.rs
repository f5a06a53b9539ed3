//! The vision transformer as timm builds it.

use super::super::architecture::Architecture;
use super::definition::{Definition, ExpectedInput, Published};
use super::transformer::Transformer;

const fn definition(
    name: &'static str,
    architecture: fn() -> Architecture,
) -> Definition {
    Definition {
        name,
        source: "Dosovitskiy, Beyer, Kolesnikov et al.: An Image is Worth 16x16 Words, ICLR 2021; \
                 weights of Steiner et al.: How to train your ViT?, TMLR 2022",
        published: Published::timm(name),
        input: ExpectedInput::CENTRED,
        architecture,
    }
}

/// The networks.
pub(super) const DEFINITIONS: &[Definition] = &[
    definition("vit_tiny_patch16_224", || {
        let tiny = Transformer {
            width: 192,
            heads: 3,
            ..Transformer::VIT
        };
        tiny.network()
    }),
    definition("vit_small_patch16_224", || {
        let small = Transformer {
            width: 384,
            heads: 6,
            ..Transformer::VIT
        };
        small.network()
    }),
    definition("vit_base_patch16_224", || Transformer::VIT.network()),
];

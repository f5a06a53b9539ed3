//! DINOv2 as timm builds it: vision transformers with layer scale, pretrained without labels, with
//! and without registers.

use super::super::architecture::Architecture;
use super::definition::{Definition, ExpectedInput, Published};
use super::transformer::Transformer;

const fn definition(
    name: &'static str,
    source: &'static str,
    architecture: fn() -> Architecture,
) -> Definition {
    Definition {
        name,
        source,
        published: Published::timm(name),
        input: ExpectedInput {
            size: 518,
            ..ExpectedInput::IMAGENET
        },
        architecture,
    }
}

const DINOV2: &str = "Oquab, Darcet, Moutakanni et al.: DINOv2: Learning Robust Visual Features \
                      without Supervision, TMLR 2024";
const REGISTERS: &str = "Darcet, Oquab, Mairal, Bojanowski: Vision Transformers Need Registers, \
                         ICLR 2024";

/// The networks.
pub(super) const DEFINITIONS: &[Definition] = &[
    definition("vit_small_patch14_dinov2", DINOV2, || SMALL.network()),
    definition("vit_base_patch14_dinov2", DINOV2, || BASE.network()),
    definition("vit_small_patch14_reg4_dinov2", REGISTERS, || {
        registered(SMALL).network()
    }),
    definition("vit_base_patch14_reg4_dinov2", REGISTERS, || {
        registered(BASE).network()
    }),
];

const BASE: Transformer = Transformer {
    patch: 14,
    side: 37,
    layer_scale: Some(1e-5),
    ..Transformer::VIT
};

const SMALL: Transformer = Transformer {
    width: 384,
    heads: 6,
    ..BASE
};

/// Adds four registers; the position of the class token is then part of the token itself.
fn registered(without: Transformer) -> Transformer {
    Transformer {
        registers: 4,
        class_has_position: false,
        ..without
    }
}

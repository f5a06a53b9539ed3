//! Exports a trained model as one file for use elsewhere: weights under published names with a card
//! that describes everything else, or an ONNX graph with the same card.

mod card;
mod file;
mod page;

pub use card::{Bounds, Card, ClassCard, NetworkCard, Preprocessing, Scores, SplitCard};
pub use file::{
    BACKBONE_KEY, KEY, card_of, is_exported, restore, write_backbone, write_onnx, write_safetensors,
};

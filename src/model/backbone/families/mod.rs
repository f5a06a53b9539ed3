//! The list of backbones, with one file per family of networks.

mod definition;
mod inverted;
mod style;
mod transformer;

use std::sync::LazyLock;

pub use definition::{Definition, ExpectedInput, Published};

/// Declares the families; each file lists its members in `DEFINITIONS`.
macro_rules! backbones {
    ($($file:ident,)*) => {
        $(mod $file;)*

        /// Returns all backbones, in the order of the list.
        pub fn definitions() -> impl Iterator<Item = &'static Definition> {
            [$($file::DEFINITIONS),*].into_iter().flatten()
        }
    };
}

backbones! {
    resnet,
    mobilenet_v2,
    mobilenet_v3,
    efficientnet,
    convnext,
    regnet,
    vit,
    dinov2,
    clip,
}

pub(super) use resnet::RESNET50;

/// Returns the names of all backbones.
pub fn names() -> &'static [&'static str] {
    static NAMES: LazyLock<Vec<&str>> =
        LazyLock::new(|| definitions().map(|definition| definition.name).collect());
    &NAMES
}

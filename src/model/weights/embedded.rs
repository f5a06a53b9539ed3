//! Weights that the program holds: small backbones for the embedded pictures.

use crate::error::{Error, Result};
use crate::wording::first_named;

/// A backbone in the program.
#[derive(Debug)]
pub struct Embedded {
    /// What `model.weights` says for it: [`Embedded::PREFIX`] and a name.
    pub source: &'static str,
    /// The safetensors file, as `dbloss export --format backbone` wrote it.
    pub(super) bytes: &'static [u8],
}

/// All of them. What made each stands in the head of the experiment that it is named after.
static ALL: [Embedded; 1] = [
    // A `resnet10_w16`: experiments/shapes-pretrain.toml.
    Embedded {
        source: "embedded:shapes",
        bytes: include_bytes!("embedded/shapes.safetensors"),
    },
];

impl Embedded {
    /// What the names of embedded weights begin with.
    pub(super) const PREFIX: &str = "embedded:";

    /// The weights of a name, without the prefix.
    pub(super) fn named(name: &str) -> Result<&'static Self> {
        let of = |weights: &Self| weights.source.strip_prefix(Self::PREFIX) == Some(name);
        (ALL.iter().find(|weights| of(weights))).ok_or_else(|| {
            let source = format!("{}{name}", Self::PREFIX);
            let known = first_named(ALL.iter().map(|weights| weights.source));
            Error::input(source, "the program contains no such weights")
                .hint(format_args!("it has {known}"))
        })
    }
}

//! Weights embedded in the program: small backbones for the embedded images.

use crate::error::{Error, Result};
use crate::wording::first_named;

/// A backbone embedded in the program.
#[derive(Debug)]
pub struct Embedded {
    /// Its value of `model.weights`: [`Embedded::PREFIX`] and a name.
    pub source: &'static str,
    /// The safetensors file written by `dbloss export --format backbone`.
    pub(super) bytes: &'static [u8],
}

/// All embedded backbones. How each was made is described at the top of the experiment it is named
/// after.
static ALL: [Embedded; 1] = [
    // A `resnet10_w16`: experiments/shapes-pretrain.toml.
    Embedded {
        source: "embedded:shapes",
        bytes: include_bytes!("embedded/shapes.safetensors"),
    },
];

impl Embedded {
    /// The prefix of the names of embedded weights.
    pub(super) const PREFIX: &str = "embedded:";

    /// Returns the weights of that name, given without the prefix.
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

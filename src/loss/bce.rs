//! Binary cross-entropy.

use super::definition::{Definition, Form};

/// BCE.
pub const DEFINITIONS: &[Definition] = &[Definition {
    name: "bce",
    title: "BCE (ERM)",
    formula: "mean over images and classes of l,  l = softplus(z) - y z",
    form: Form::Preset(""),
    keys: &["reduction", "scale"],
    source: "binary cross-entropy with logits; the ERM row of Wu et al., ECCV 2020 \
        (arXiv 2007.09654)",
    when: "you want the baseline to compare with; sufficient for balanced classes",
    notes: "",
}];

//! Binary cross-entropy.

use super::common::{REDUCTION, SCALE, base};
use super::definition::{Build, Definition};

/// BCE.
pub const DEFINITIONS: &[Definition] = &[Definition {
    name: "bce",
    title: "BCE (ERM)",
    formula: "mean over images and classes of l,  l = softplus(z) - y z",
    parameters: &[REDUCTION, SCALE],
    source: "binary cross-entropy with logits; the ERM row of Wu et al., ECCV 2020 (arXiv 2007.09654)",
    when: "the baseline to compare with; enough where classes are balanced",
    notes: "",
    build: Build::Composition(base),
}];

//! Re-weighting by the inverse class frequency.

use super::definition::{Definition, Form};

const NOTES: &str = "A class without a training image is weighted as if it had one.";

/// RW with the inverse class frequency, and with its square root.
pub const DEFINITIONS: &[Definition] = &[
    Definition {
        name: "rw",
        title: "RW, inverse frequency",
        formula: "mean of w_c l,  w_c = N / n_c,  l = softplus(z) - y z",
        form: Form::Preset("weight = { kind = 'inverse', power = 1.0 }"),
        keys: &["normalisation", "reduction", "scale"],
        source: "re-weighting by inverse class frequency, positives and negatives alike",
        when: "you want a simple counterweight to the imbalance; rare classes can dominate, so try \
            the square root first",
        notes: NOTES,
    },
    Definition {
        name: "rw-sqrt",
        title: "RW, square-root inverse frequency",
        formula: "mean of w_c l,  w_c = sqrt(N / n_c),  l = softplus(z) - y z",
        form: Form::Preset("weight = { kind = 'inverse', power = 0.5 }"),
        keys: &["normalisation", "reduction", "scale"],
        source: "the RW row of Wu et al., ECCV 2020 (arXiv 2007.09654): square-root inverse \
            class frequency",
        when: "you want a milder counterweight than `rw`; the usual choice of the two",
        notes: NOTES,
    },
];

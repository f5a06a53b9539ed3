//! Negative-tolerant regularisation alone.

use super::definition::{Definition, Form};

/// NTR.
pub const DEFINITIONS: &[Definition] = &[Definition {
    name: "ntr",
    title: "NTR",
    formula: "mean of l',  \
        positives softplus(-(z + s)), negatives softplus(lambda (z + s)) / lambda;  \
        s = nu_c / lambda (bias = code) or nu_c (paper),  \
        nu_c = kappa b_c,  \
        b_c = -log(N / n_c - 1)",
    form: Form::Preset("tolerance = {}"),
    keys: &["tolerance", "reduction", "scale"],
    source: "Wu et al., Distribution-Balanced Loss, ECCV 2020 (arXiv 2007.09654), section \
        3.2",
    when: "negatives outnumber positives by so much that the logits of rare classes are pushed \
        down endlessly; combines with any weight",
    notes: "b_c stays finite: a class without a training image is treated as if it had one, a \
        class in every image as if half an image lacked it.",
}];

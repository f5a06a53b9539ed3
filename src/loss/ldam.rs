//! Label-distribution-aware margins, multi-label.

use super::common::{REDUCTION, SCALE, base};
use super::composition::{Composition, Margin};
use super::definition::{Build, Definition, Parameter, Range};

/// LDAM.
pub const DEFINITIONS: &[Definition] = &[Definition {
    name: "ldam",
    title: "LDAM, multi-label",
    formula: "mean of softplus(u) - y u,  u = logit_scale (z - y Delta_c),  Delta_c = max_margin (n_min / n_c)^(1/4)",
    parameters: &[
        Parameter::number(
            "max_margin",
            0.5,
            Range::NotNegative,
            "margin of the rarest class",
        )
        .unit("logits"),
        Parameter::number(
            "logit_scale",
            1.0,
            Range::Positive,
            "factor on the logits after the margin; 30 where logits are cosines",
        ),
        REDUCTION,
        SCALE,
    ],
    source: "Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, NeurIPS 2019 (arXiv 1906.07413), as binary cross-entropy",
    when: "rare classes overfit their few images; usually with normalised features",
    notes: "A class without a training image gets the margin of one with a single image.",
    build: Build::Composition(|s| Composition {
        margin: Some(Margin::ClassFrequency {
            max_margin: s.number("max_margin"),
            power: 0.25,
            logit_scale: s.number("logit_scale"),
        }),
        ..base(s)
    }),
}];

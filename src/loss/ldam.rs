//! Label-distribution-aware margins for multi-label classification.

use super::definition::{Definition, Form};

/// LDAM.
pub const DEFINITIONS: &[Definition] = &[Definition {
    name: "ldam",
    title: "LDAM, multi-label",
    formula: "mean of softplus(u) - y u,  \
        u = logit_scale (z - y Delta_c),  \
        Delta_c = max_margin (n_min / n_c)^(1/4)",
    form: Form::Preset("margin = { kind = 'class-frequency' }"),
    keys: &[
        "margin.max_margin",
        "margin.logit_scale",
        "reduction",
        "scale",
    ],
    source: "Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin \
        Loss, NeurIPS 2019 (arXiv 1906.07413), as binary cross-entropy",
    when: "rare classes overfit their few images; usually with normalised features",
    notes: "A class without a training image gets the margin of one with a single image.",
}];

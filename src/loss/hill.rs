//! Hill loss.

use super::definition::{Definition, Form};

/// Hill.
pub const DEFINITIONS: &[Definition] = &[Definition {
    name: "hill",
    title: "Hill",
    formula: "sum of: positives (1 - p_m)^gamma (-log p_m),  \
        p_m = sigmoid(z - margin); negatives (limit - p) p^2",
    form: Form::Preset(
        "kernel = { kind = 'hill' }
             margin = { kind = 'constant' }
             reduction = 'sum'",
    ),
    keys: &["kernel", "margin", "reduction", "scale"],
    source: "Zhang et al., Simple and Robust Loss Design for Multi-Label Learning with \
        Missing Labels (arXiv 2112.07368)",
    when: "labels are missing: negatives with a high probability are probably unlabelled \
        positives and are pushed less",
    notes: "The sum grows with the batch: lower the learning rate, or set reduction = \"mean\".",
}];

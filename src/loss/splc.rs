//! Self-paced loss correction.

use super::definition::{Definition, Form};

/// SPLC.
pub const DEFINITIONS: &[Definition] = &[Definition {
    name: "splc",
    title: "SPLC",
    formula: "sum of (1 - p_t)^gamma (softplus(u) - y u),  \
        u = z - y margin; from the epoch from_epoch on, negatives with p > tau count as \
        positives without margin",
    form: Form::Preset(
        "margin = { kind = 'constant' }
             focal = { balance = 1.0 }
             relabel = {}
             reduction = 'sum'",
    ),
    keys: &["relabel", "margin", "focal.gamma", "reduction", "scale"],
    source: "Zhang et al., Simple and Robust Loss Design for Multi-Label Learning with \
        Missing Labels (arXiv 2112.07368)",
    when: "labels are missing, and after some epochs the model is good enough to find them",
    notes: "The loss has a step at p = tau; its gradient is that of the side that the logit is on.",
}];

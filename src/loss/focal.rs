//! Focal loss.

use super::definition::{Definition, Form};

/// Focal loss without class weights.
pub const DEFINITIONS: &[Definition] = &[Definition {
    name: "focal",
    title: "Focal",
    formula: "mean of balance (1 - p_t)^gamma l,  p_t = exp(-l),  l = softplus(z) - y z",
    form: Form::Preset("focal = { balance = 0.25 }"),
    keys: &["focal", "reduction", "scale"],
    source: "Lin et al., Focal Loss for Dense Object Detection, ICCV 2017 (arXiv 1708.02002)",
    when: "many easy negatives drown out the signal; combines with any weight",
    notes: "`balance` is a plain factor on positives and negatives alike, as in the \
        re-balancing literature.",
}];

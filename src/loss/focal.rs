//! Focal loss.

use super::common::{BALANCE, FOCAL_GAMMA, REDUCTION, SCALE, base, focal};
use super::composition::Composition;
use super::definition::{Build, Definition, Value};

/// Focal loss without class weights.
pub const DEFINITIONS: &[Definition] = &[Definition {
    name: "focal",
    title: "Focal",
    formula: "mean of balance (1 - p_t)^gamma l,  p_t = exp(-l),  l = softplus(z) - y z",
    parameters: &[
        FOCAL_GAMMA,
        BALANCE.with_default(Value::Number(0.25)),
        REDUCTION,
        SCALE,
    ],
    source: "Lin et al., Focal Loss for Dense Object Detection, ICCV 2017 (arXiv 1708.02002)",
    when: "many easy negatives drown the signal; combines with any weight",
    notes: "`balance` is a plain factor on positives and negatives alike, as in the re-balancing literature.",
    build: Build::Composition(|s| Composition {
        focal: focal(s),
        ..base(s)
    }),
}];

//! Hill loss.

use super::common::{REDUCTION_SUM, SCALE, base};
use super::composition::{Composition, Kernel, Margin};
use super::definition::{Build, Definition, Parameter, Range};

/// Hill.
pub const DEFINITIONS: &[Definition] = &[Definition {
    name: "hill",
    title: "Hill",
    formula: "sum of: positives (1 - p_m)^gamma (-log p_m),  p_m = sigmoid(z - margin); negatives (limit - p) p^2",
    parameters: &[
        Parameter::number(
            "limit",
            1.5,
            Range::NotNegative,
            "the loss of negatives turns down beyond p = 2 limit / 3",
        ),
        Parameter::number("margin", 1.0, Range::Finite, "taken off positive logits").unit("logits"),
        Parameter::number(
            "gamma",
            2.0,
            Range::NotNegative,
            "focusing exponent of positives",
        ),
        REDUCTION_SUM,
        SCALE,
    ],
    source: "Zhang et al., Simple and Robust Loss Design for Multi-Label Learning with Missing Labels (arXiv 2112.07368)",
    when: "labels are missing: negatives with a high probability are probably unlabelled positives and are pushed less",
    notes: "The sum grows with the batch: lower the learning rate, or take reduction = \"mean\".",
    build: Build::Composition(|s| Composition {
        kernel: Kernel::Hill {
            limit: s.number("limit"),
            gamma: s.number("gamma"),
        },
        margin: Some(Margin::Constant {
            margin: s.number("margin"),
        }),
        ..base(s)
    }),
}];

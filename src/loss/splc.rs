//! Self-paced loss correction.

use super::common::{REDUCTION_SUM, SCALE, base};
use super::composition::{Composition, Focal, Margin, Relabel};
use super::definition::{Build, Definition, Parameter, Range};

/// SPLC.
pub const DEFINITIONS: &[Definition] = &[Definition {
    name: "splc",
    title: "SPLC",
    formula: "sum of (1 - p_t)^gamma (softplus(u) - y u),  u = z - y margin; from the epoch from_epoch on, negatives with p > tau count as positives without margin",
    parameters: &[
        Parameter::number(
            "tau",
            0.6,
            Range::Within(0.0, 1.0),
            "negatives above it are taken for missing labels",
        )
        .unit("probability"),
        Parameter::whole(
            "from_epoch",
            1,
            "epochs",
            "the first epoch that corrects labels, counted from 0",
        ),
        Parameter::number("margin", 1.0, Range::Finite, "taken off positive logits").unit("logits"),
        Parameter::number("gamma", 2.0, Range::NotNegative, "focusing exponent"),
        REDUCTION_SUM,
        SCALE,
    ],
    source: "Zhang et al., Simple and Robust Loss Design for Multi-Label Learning with Missing Labels (arXiv 2112.07368)",
    when: "labels are missing and the model is good enough after some epochs to find them",
    notes: "The loss has a step where p = tau; its gradient is that of the side the logit is on.",
    build: Build::Composition(|s| Composition {
        margin: Some(Margin::Constant {
            margin: s.number("margin"),
        }),
        focal: Some(Focal {
            gamma: s.number("gamma"),
            balance: 1.0,
        }),
        relabel: Some(Relabel {
            tau: s.number("tau"),
            from_epoch: s.integer("from_epoch"),
        }),
        ..base(s)
    }),
}];

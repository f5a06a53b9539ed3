//! ZLPR: zero-bounded log-sum-exp and pairwise rank-based loss.

use super::definition::{Definition, Form, own};
use super::part::Accepts::Value;
use super::part::part;
use super::two_way::log_sum_exp;
use super::batch::Batch;
use super::objective::Loss;
use crate::range::Range::Positive;

/// ZLPR.
pub const DEFINITIONS: &[Definition] = &[Definition {
    name: "zlpr",
    title: "ZLPR",
    formula: "mean over images of log(1 + sum over negatives of e^z) + log(1 + sum over \
        positives of e^-z)",
    form: Form::Own(Zlpr::KINDS, own::<Zlpr>),
    keys: &["scale"],
    source: "Su et al., ZLPR: A Novel Loss for Multi-label Classification (arXiv 2208.02955)",
    when: "the labels of an image depend on each other, and 0 should be the threshold of the \
        logits",
    notes: "",
}];

part! {
    /// ZLPR (Su et al., arXiv 2208.02955, section 3).
    pub struct Zlpr {
        /// A factor on the whole loss.
        scale: f64 = 1.0, Value(Positive);
    }
}

impl Loss for Zlpr {
    fn value_and_gradient(&self, batch: &Batch, gradient: &mut [f64]) -> f64 {
        let classes = batch.num_classes();
        let factor = self.scale / batch.num_images() as f64;
        let mut total = 0.0;
        let rows = (batch.logits().chunks(classes)).zip(batch.targets().chunks(classes));
        for ((logits, targets), gradient) in rows.zip(gradient.chunks_mut(classes)) {
            // The 1 inside the logarithm is an additional term, e^0.
            let side = |positive: bool| {
                let terms = (logits.iter().zip(targets))
                    .filter(move |&(_, &target)| (target > 0.5) == positive)
                    .map(move |(&z, _)| if positive { -z } else { z });
                log_sum_exp(std::iter::once(0.0).chain(terms))
            };
            let (positives, negatives) = (side(true), side(false));
            total += positives + negatives;
            for ((gradient, &z), &target) in gradient.iter_mut().zip(logits).zip(targets) {
                *gradient = factor
                    * if target > 0.5 {
                        -(-z - positives).exp()
                    } else {
                        (z - negatives).exp()
                    };
            }
        }
        factor * total
    }
}

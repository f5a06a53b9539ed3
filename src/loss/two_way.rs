//! Two-way multi-label loss: positives against negatives, image by image and class by class.

use super::definition::{Definition, Form, own};
use super::dual::sigmoid_and_softplus;
use super::part::Accepts::Value;
use super::part::part;
use super::batch::Batch;
use super::objective::Loss;
use crate::range::Range::Positive;

/// Two-way.
pub const DEFINITIONS: &[Definition] = &[Definition {
    name: "two-way",
    title: "Two-way",
    formula: "mean over images with a positive of softplus(T_n lse(z- / T_n) + T_p lse(-z+ / \
        T_p)), plus the same over classes of the batch; lse = log of the sum of \
        exponentials, z+ and z- the logits of positives and negatives",
    form: Form::Own(TwoWay::KINDS, own::<TwoWay>),
    keys: &["temperature_positive", "temperature_negative", "scale"],
    source: "Kobayashi, Two-Way Multi-Label Loss, CVPR 2023",
    when: "ranking is what counts (mAP), and a batch contains several images of many classes",
    notes: "Images and classes without a positive are left out; a batch without any positive has a \
        loss of 0. Without a negative, the term is 0. The value depends on the whole batch: that \
        of two halves does not add up to it.",
}];

part! {
    /// The two-way loss (Kobayashi, CVPR 2023, equations 6 and 7).
    pub struct TwoWay {
        /// T_p: the larger, the more positives share the pull.
        temperature_positive: f64 = 4.0, Value(Positive);
        /// T_n: the larger, the more negatives share the push.
        temperature_negative: f64 = 1.0, Value(Positive);
        /// A factor on the whole loss.
        scale: f64 = 1.0, Value(Positive);
    }
}

impl TwoWay {
    /// Returns the mean over groups (rows or columns) of the softplus term and adds its gradient.
    fn side(
        &self,
        batch: &Batch,
        groups: usize,
        index: impl Fn(usize, usize) -> usize,
        length: usize,
        gradient: &mut [f64],
    ) -> f64 {
        let positive = |i: usize| batch.targets()[i] > 0.5;
        let counted: Vec<usize> = (0..groups)
            .filter(|&group| (0..length).any(|k| positive(index(group, k))))
            .collect();
        let mut total = 0.0;
        for &group in &counted {
            let members = || (0..length).map(|k| index(group, k));
            let (t_p, t_n) = (self.temperature_positive, self.temperature_negative);
            let exponent = |i: usize| {
                let z = batch.logits()[i];
                if positive(i) { -z / t_p } else { z / t_n }
            };
            let of = |sign: bool| members().filter(move |&i| positive(i) == sign);
            let log_positive = log_sum_exp(of(true).map(exponent));
            let log_negative = log_sum_exp(of(false).map(exponent));
            if log_negative == f64::NEG_INFINITY {
                continue;
            }
            let (sigmoid, softplus) = sigmoid_and_softplus(t_n * log_negative + t_p * log_positive);
            total += softplus;
            let factor = self.scale * sigmoid / counted.len() as f64;
            for i in members() {
                // The outer temperature and the one inside the sum cancel in the derivative.
                gradient[i] += factor
                    * if positive(i) {
                        -(exponent(i) - log_positive).exp()
                    } else {
                        (exponent(i) - log_negative).exp()
                    };
            }
        }
        self.scale * total / counted.len().max(1) as f64
    }
}

/// Returns the log of the sum of e^x, or minus infinity if there are no values.
pub(super) fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + values.map(|x| (x - largest).exp()).sum::<f64>().ln()
}

impl Loss for TwoWay {
    fn value_and_gradient(&self, batch: &Batch, gradient: &mut [f64]) -> f64 {
        let (images, classes) = (batch.num_images(), batch.num_classes());
        gradient.fill(0.0);
        let rows = self.side(batch, images, |i, c| i * classes + c, classes, gradient);
        let columns = self.side(batch, classes, |c, i| i * classes + c, images, gradient);
        rows + columns
    }
}

//! Logit adjustment during training.

use super::definition::{Definition, Form};

/// Logit-adjusted BCE.
pub const DEFINITIONS: &[Definition] = &[Definition {
    name: "logit-adjusted",
    title: "Logit-adjusted BCE",
    formula: "mean of softplus(u) - y u,  u = z + tau log(pi_c / (1 - pi_c)),  pi_c = n_c / N",
    form: Form::Preset("adjustment = {}"),
    keys: &["adjustment", "reduction", "scale"],
    source: "Menon et al., Long-Tail Learning via Logit Adjustment, ICLR 2021 \
        (arXiv 2007.07314), for sigmoid outputs",
    when: "you want scores without the class prior: the bias of the class frequency is removed \
        from the logits during training",
    notes: "Adding the same term to the scores after training changes F1 at a fixed threshold, but \
        never the AP of a class.",
}];

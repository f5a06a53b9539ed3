//! Focal loss with a margin, under a power of the inverse class frequency.

use crate::loss::definition::{Definition, Form};

/// The example's loss.
pub(super) const DEFINITIONS: &[Definition] = &[Definition {
    name: "power-focal",
    title: "Power-Focal",
    formula: "mean of (N / n_c)^power balance (1 - p_t)^gamma l,  \
        l = softplus(u) - y u,  \
        u = z - y margin",
    form: Form::Preset(
        "weight = { kind = 'inverse', power = 0.5 }
         margin = { kind = 'constant' }
         focal = {}",
    ),
    keys: &["weight", "margin", "focal", "reduction", "scale"],
    source: "author, title, venue, year",
    when: "what it is good for, in a line",
    notes: "",
}];

//! The re-balanced weighting of the ECCV 2020 paper.

use super::definition::{Definition, Form};

const SOURCE: &str = "Wu et al., Distribution-Balanced Loss, ECCV 2020 (arXiv 2007.09654), \
    section 3.1";
const NOTES: &str = "r of an image without positives is 0 for all its classes, so its weight is \
    alpha + sigmoid(-beta mu). A class without a training image is weighted as if it had one.";

/// R-BCE and R-BCE-Focal.
pub const DEFINITIONS: &[Definition] = &[
    Definition {
        name: "r-bce",
        title: "R-BCE",
        formula: "mean of r^ l,  \
            r^ = alpha + sigmoid(beta (r - mu)),  \
            r = (1 / n_c) / sum over the image's positives j of 1 / n_j,  \
            l = softplus(z) - y z",
        form: Form::Preset("weight = { kind = 'rebalanced' }"),
        keys: &["weight", "normalisation", "reduction", "scale"],
        source: SOURCE,
        when: "you sample class-aware: the weights undo the extra draws that images get through \
            their other labels",
        notes: NOTES,
    },
    Definition {
        name: "r-bce-focal",
        title: "R-BCE-Focal",
        formula: "mean of r^ balance (1 - p_t)^gamma l,  \
            r^ = alpha + sigmoid(beta (r - mu)),  \
            r = (1 / n_c) / sum over the image's positives j of 1 / n_j,  \
            p_t = exp(-l),  \
            l = softplus(z) - y z",
        form: Form::Preset(
            "weight = { kind = 'rebalanced' }
             focal = {}",
        ),
        keys: &["weight", "focal", "normalisation", "reduction", "scale"],
        source: SOURCE,
        when: "as for `r-bce`, with a focus on hard logits",
        notes: NOTES,
    },
];

//! Class-balanced losses, weighted by the effective number of images.

use super::definition::{Definition, Form};

const SOURCE: &str = "Cui et al., Class-Balanced Loss Based on Effective Number of Samples, \
    CVPR 2019 (arXiv 1901.05555)";
const NOTES: &str = "In the modes with one weight per image, an image without positives is \
    weighted like one of the most frequent class. A class without a training image is weighted as \
    if it had \
    one.";

/// CB, CB-Focal and CB-NTR.
pub const DEFINITIONS: &[Definition] = &[
    Definition {
        name: "cb",
        title: "CB",
        formula: "mean of w l,  \
            w = (1 - beta) / (1 - beta^n),  \
            l = softplus(z) - y z; n by class, or one w per image",
        form: Form::Preset("weight = { kind = 'class-balanced' }"),
        keys: &["weight", "normalisation", "reduction", "scale"],
        source: SOURCE,
        when: "you want re-weighting that levels off for classes with many images",
        notes: NOTES,
    },
    Definition {
        name: "cb-focal",
        title: "CB-Focal",
        formula: "mean of w balance (1 - p_t)^gamma l,  \
            w = (1 - beta) / (1 - beta^n),  \
            p_t = exp(-l),  \
            l = softplus(z) - y z",
        form: Form::Preset(
            "weight = { kind = 'class-balanced' }
             focal = {}",
        ),
        keys: &["weight", "focal", "normalisation", "reduction", "scale"],
        source: SOURCE,
        when: "you want class-balanced weights and a focus on hard logits; the CB-Focal row of the \
            ECCV 2020 paper",
        notes: NOTES,
    },
    Definition {
        name: "cb-ntr",
        title: "CB-NTR",
        formula: "mean of w balance (1 - p_t)^gamma l',  \
            w = (1 - beta) / (1 - beta^n),  \
            l' = softplus(-(z + s)) for positives, softplus(lambda (z + s)) / lambda for \
            negatives,  \
            s = nu_c / lambda (bias = code) or nu_c (paper),  \
            nu_c = kappa b_c,  \
            b_c = -log(N / n_c - 1),  \
            p_t = exp(-softplus(-(z + s))) for positives, exp(-softplus(lambda (z + s))) for \
            negatives",
        form: Form::Preset(
            "weight = { kind = 'class-balanced', mode = 'by-class' }
             tolerance = {}
             focal = {}",
        ),
        keys: &[
            "weight",
            "tolerance",
            "focal",
            "normalisation",
            "reduction",
            "scale",
        ],
        source: "Huang et al., Balancing Methods for Multi-label Text Classification with \
            Long-Tailed Class Distribution, EMNLP 2021 (arXiv 2109.04712)",
        when: "you want class-balanced weights, and suppression by negatives is the main problem, \
            as with text",
        notes: NOTES,
    },
];

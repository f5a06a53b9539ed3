//! Asymmetric focusing: ASL, its polynomial form APL, and the multi-focal modifier MFM.

use super::definition::{Definition, Form};

const NOTES: &str = "The sum grows with the batch: lower the learning rate, or set reduction = \
    \"mean\". With eps above 0, 1 - p of negatives without clip is computed in float32, as in the \
    published code: it is 0 from z = 17 on.";

/// ASL, APL and MFM.
pub const DEFINITIONS: &[Definition] = &[
    Definition {
        name: "asl",
        title: "ASL",
        formula: "sum of:  \
            positives -(1 - p)^gamma_positive log p,  \
            negatives -(1 - q)^gamma_negative log q,  \
            q = min(1 - p + clip, 1)",
        form: Form::Preset(
            "kernel = { kind = 'asymmetric', gamma_positive = 1.0, eps = 1e-8 }
             reduction = 'sum'",
        ),
        keys: &[
            "kernel.gamma_negative",
            "kernel.gamma_positive",
            "kernel.clip",
            "kernel.eps",
            "kernel.detach_focusing",
            "reduction",
            "scale",
        ],
        source: "Ridnik et al., Asymmetric Loss For Multi-Label Classification, ICCV 2021 \
            (arXiv 2009.14119)",
        when: "there are many easy or mislabelled negatives; the usual baseline for multi-label \
            classification",
        notes: NOTES,
    },
    Definition {
        name: "apl",
        title: "APL",
        formula: "sum of:  \
            positives -(1 - p)^gamma_positive (log p + first_order (1 - p) + second_order / 2 \
            (1 - p)^2),  \
            negatives -(1 - q)^gamma_negative log q,  \
            q = min(1 - p + clip, 1)",
        form: Form::Preset(
            "kernel.kind = 'asymmetric'
             kernel.first_order = 1.0
             kernel.second_order = -2.5
             kernel.eps = 1e-8
             kernel.detach_focusing = true
             reduction = 'sum'",
        ),
        keys: &["kernel", "reduction", "scale"],
        source: "Huang et al., Asymmetric Polynomial Loss for Multi-Label Classification, \
            ICASSP 2023 (arXiv 2304.05361)",
        when: "as for `asl`, if the shape of the loss on positives is worth tuning",
        notes: NOTES,
    },
    Definition {
        name: "mfm",
        title: "MFM (COMIC)",
        formula: "sum of w_c times:  \
            positives -(1 - p)^gamma_positive log p,  \
            negatives -(1 - q)^gamma_negative log q,  \
            q = min(1 - p + clip, 1),  \
            w_c = (1 - log(n_c / n_max))^power",
        form: Form::Preset(
            "kernel = { kind = 'asymmetric', gamma_positive = 1.0, eps = 1e-8 }
             weight = { kind = 'logarithmic' }
             reduction = 'sum'",
        ),
        keys: &[
            "weight.power",
            "kernel.gamma_negative",
            "kernel.gamma_positive",
            "kernel.clip",
            "kernel.eps",
            "kernel.detach_focusing",
            "reduction",
            "scale",
        ],
        source: "Zhang et al., Learning in Imperfect Environment: Multi-Label Classification \
            with Long-Tailed Distribution and Partial Labels, ICCV 2023 \
            (arXiv 2304.10539)",
        when: "as for `asl`, with long-tailed classes: rare ones weigh a little more",
        notes: "A class without a training image is weighted as if it had one.",
    },
];

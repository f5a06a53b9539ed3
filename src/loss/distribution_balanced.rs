//! Distribution-balanced losses: re-balanced weights and negative-tolerant regularisation.

use super::definition::{Definition, Form};

const SOURCE: &str = "Wu et al., Distribution-Balanced Loss, ECCV 2020 (arXiv 2007.09654), \
    section 3.3";
const NOTES: &str = "The defaults are those of VOC-MLT; for COCO-MLT, mu = 0.2 and lambda = 2. r \
    of an image without positives is 0 for all its classes; the bias of a class in no image or in \
    every image is finite, as in `ntr`.";

/// DB, DB-Focal, DB* and DB-0FL.
pub const DEFINITIONS: &[Definition] = &[
    Definition {
        name: "db",
        title: "DB",
        formula: "mean of r^ l',  \
            r^ = alpha + sigmoid(beta (r - mu)),  \
            r = (1 / n_c) / sum over the image's positives j of 1 / n_j,  \
            l' = softplus(-(z + s)) for positives, softplus(lambda (z + s)) / lambda for \
            negatives,  \
            s = nu_c / lambda (bias = code) or nu_c (paper),  \
            nu_c = kappa b_c,  \
            b_c = -log(N / n_c - 1)",
        form: Form::Preset(
            "weight = { kind = 'rebalanced' }
             tolerance = {}",
        ),
        keys: &["weight", "tolerance", "normalisation", "reduction", "scale"],
        source: SOURCE,
        when: "classes are long-tailed and co-occur, with class-aware sampling",
        notes: NOTES,
    },
    Definition {
        name: "db-focal",
        title: "DB-Focal",
        formula: "mean of r^ balance (1 - p_t)^gamma l',  \
            r^ = alpha + sigmoid(beta (r - mu)),  \
            r = (1 / n_c) / sum over the image's positives j of 1 / n_j,  \
            l' = softplus(-(z + s)) for positives, softplus(lambda (z + s)) / lambda for \
            negatives,  \
            s = nu_c / lambda (bias = code) or nu_c (paper),  \
            nu_c = kappa b_c,  \
            b_c = -log(N / n_c - 1),  \
            p_t = exp(-softplus(-(z + s))) for positives, exp(-softplus(lambda (z + s))) for \
            negatives",
        form: Form::Preset(
            "weight = { kind = 'rebalanced' }
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
        source: SOURCE,
        when: "classes are long-tailed and co-occur, with class-aware sampling; the paper's method \
            in its best form",
        notes: NOTES,
    },
    Definition {
        name: "db-star",
        title: "DB*",
        formula: "mean of r^ balance (1 - p_t)^gamma l',  \
            r^ = alpha + sigmoid(beta (r - mu)),  \
            r = (1 / n_c) / sum over the image's positives j of 1 / n_j,  \
            l' = softplus(-w_c (z + s)) for positives, softplus(lambda (z + s)) / lambda for \
            negatives,  \
            w_c = (n_c / n_max)^power,  \
            s = nu_c / lambda (bias = code) or nu_c (paper),  \
            nu_c = kappa b_c,  \
            b_c = -log(N / n_c - 1),  \
            p_t = exp(-softplus(-w_c (z + s))) for positives, exp(-softplus(lambda (z + s))) for \
            negatives",
        form: Form::Preset(
            "weight = { kind = 'rebalanced' }
             tolerance = {}
             positive_scale = {}
             focal = {}",
        ),
        keys: &[
            "weight",
            "tolerance",
            "positive_scale",
            "focal",
            "normalisation",
            "reduction",
            "scale",
        ],
        source: "HP-DVAL, IEEE TIP, equations 14 and 15, after Wu et al., ECCV 2020",
        when: "as for DB-Focal, if the loss of rare positives should fade later",
        notes: NOTES,
    },
    Definition {
        name: "db-0fl",
        title: "DB-0FL",
        formula: "scale x mean of r^ l',  \
            scale = 0.5,  \
            r^ = alpha + sigmoid(beta (r - mu)),  \
            r = (1 / n_c) / sum over the image's positives j of 1 / n_j,  \
            l' = softplus(-(z + s)) for positives, softplus(lambda (z + s)) / lambda for \
            negatives,  \
            s = nu_c / lambda (bias = code) or nu_c (paper),  \
            nu_c = kappa b_c,  \
            b_c = -log(N / n_c - 1)",
        form: Form::Preset(
            "weight = { kind = 'rebalanced' }
             tolerance = {}
             scale = 0.5",
        ),
        keys: &["weight", "tolerance", "normalisation", "reduction", "scale"],
        source: "Huang et al., Balancing Methods for Multi-label Text Classification with \
            Long-Tailed Class Distribution, EMNLP 2021 (arXiv 2109.04712)",
        when: "you want the ablation of DB-Focal without its focal factor; mu = 0.9 for text",
        notes: NOTES,
    },
];

//! Re-balanced weighting of the ECCV 2020 paper.

use super::common::{
    ALPHA, BALANCE, BETA, FOCAL_GAMMA, MU, NORMALISATION, REDUCTION, SCALE, focal, rebalanced,
    weighted,
};
use super::composition::Composition;
use super::definition::{Build, Definition};

const SOURCE: &str = "Wu et al., Distribution-Balanced Loss, ECCV 2020 (arXiv 2007.09654), section 3.1";
const NOTES: &str = "r of an image without positives is 0 for all its classes, so its weight is \
    alpha + sigmoid(-beta mu). A class without a training image is weighted as though it had one.";

/// R-BCE and R-BCE-Focal.
pub const DEFINITIONS: &[Definition] = &[
    Definition {
        name: "r-bce",
        title: "R-BCE",
        formula: "mean of r^ l,  r^ = alpha + sigmoid(beta (r - mu)),  r = (1 / n_c) / sum over the image's positives j of 1 / n_j,  l = softplus(z) - y z",
        parameters: &[ALPHA, BETA, MU, NORMALISATION, REDUCTION, SCALE],
        source: SOURCE,
        when: "with class-aware sampling: takes back the extra draws that images get through their other labels",
        notes: NOTES,
        build: Build::Composition(|s| weighted(s, rebalanced(s))),
    },
    Definition {
        name: "r-bce-focal",
        title: "R-BCE-Focal",
        formula: "mean of r^ balance (1 - p_t)^gamma l,  r^ = alpha + sigmoid(beta (r - mu)),  r = (1 / n_c) / sum over the image's positives j of 1 / n_j,  p_t = exp(-l),  l = softplus(z) - y z",
        parameters: &[
            ALPHA,
            BETA,
            MU,
            FOCAL_GAMMA,
            BALANCE,
            NORMALISATION,
            REDUCTION,
            SCALE,
        ],
        source: SOURCE,
        when: "`r-bce` with focus on hard logits",
        notes: NOTES,
        build: Build::Composition(|s| Composition {
            focal: focal(s),
            ..weighted(s, rebalanced(s))
        }),
    },
];

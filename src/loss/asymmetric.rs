//! Asymmetric focusing: ASL, its polynomial form APL, and the multi-focal modifier MFM.

use super::common::{REDUCTION_SUM, SCALE, base};
use super::composition::{Composition, Kernel, Weight};
use super::definition::{Build, Definition, Parameter, Range, Settings, Value};

const GAMMA_NEGATIVE: Parameter = Parameter::number(
    "gamma_negative",
    4.0,
    Range::NotNegative,
    "focusing exponent of negatives",
);
const GAMMA_POSITIVE: Parameter = Parameter::number(
    "gamma_positive",
    1.0,
    Range::NotNegative,
    "focusing exponent of positives",
);
const CLIP: Parameter = Parameter::number(
    "clip",
    0.05,
    Range::Within(0.0, 0.999),
    "margin m: negatives with a probability below it cost nothing",
)
.unit("probability");
const EPS: Parameter = Parameter::number(
    "eps",
    1e-8,
    Range::Within(0.0, 0.1),
    "smallest probability in a logarithm, below which the published code has no gradient; 0 takes the exact logarithm",
)
.unit("probability");
const DETACH: Parameter = Parameter::flag(
    "detach_focusing",
    false,
    "hold the focusing weight constant in the gradient",
);

const NOTES: &str = "The sum grows with the batch: lower the learning rate, or take reduction = \"mean\". \
    With eps above 0, 1 - p of negatives without clip is taken in float32, as the published code does: it is 0 from z = 17 on.";

fn asymmetric(settings: &Settings, first_order: f64, second_order: f64) -> Composition {
    Composition {
        kernel: Kernel::Asymmetric {
            gamma_negative: settings.number("gamma_negative"),
            gamma_positive: settings.number("gamma_positive"),
            clip: settings.number("clip"),
            first_order,
            second_order,
            eps: settings.number("eps"),
            detach_focusing: settings.flag("detach_focusing"),
        },
        ..base(settings)
    }
}

/// ASL, APL and MFM.
pub const DEFINITIONS: &[Definition] = &[
    Definition {
        name: "asl",
        title: "ASL",
        formula: "sum of:  positives -(1 - p)^gamma_positive log p,  negatives -(1 - q)^gamma_negative log q,  q = min(1 - p + clip, 1)",
        parameters: &[
            GAMMA_NEGATIVE,
            GAMMA_POSITIVE,
            CLIP,
            EPS,
            DETACH,
            REDUCTION_SUM,
            SCALE,
        ],
        source: "Ridnik et al., Asymmetric Loss For Multi-Label Classification, ICCV 2021 (arXiv 2009.14119)",
        when: "many easy or mislabelled negatives; the common baseline of multi-label work",
        notes: NOTES,
        build: Build::Composition(|s| asymmetric(s, 0.0, 0.0)),
    },
    Definition {
        name: "apl",
        title: "APL",
        formula: "sum of:  positives -(1 - p)^gamma_positive (log p + first_order (1 - p) + second_order / 2 (1 - p)^2),  negatives -(1 - q)^gamma_negative log q,  q = min(1 - p + clip, 1)",
        parameters: &[
            Parameter::number(
                "first_order",
                1.0,
                Range::Finite,
                "coefficient of 1 - p on positives",
            ),
            Parameter::number(
                "second_order",
                -2.5,
                Range::Finite,
                "coefficient of (1 - p)^2 / 2 on positives",
            ),
            GAMMA_NEGATIVE,
            GAMMA_POSITIVE.with_default(Value::Number(0.0)),
            CLIP,
            EPS,
            DETACH.with_default(Value::Flag(true)),
            REDUCTION_SUM,
            SCALE,
        ],
        source: "Huang et al., Asymmetric Polynomial Loss for Multi-Label Classification, ICASSP 2023 (arXiv 2304.05361)",
        when: "as `asl`, where the shape of the loss on positives is worth tuning",
        notes: NOTES,
        build: Build::Composition(|s| {
            asymmetric(s, s.number("first_order"), s.number("second_order"))
        }),
    },
    Definition {
        name: "mfm",
        title: "MFM (COMIC)",
        formula: "sum of w_c times:  positives -(1 - p)^gamma_positive log p,  negatives -(1 - q)^gamma_negative log q,  q = min(1 - p + clip, 1),  w_c = (1 - log(n_c / n_max))^power",
        parameters: &[
            Parameter::number(
                "power",
                1.0 / 6.0,
                Range::NotNegative,
                "exponent of the class weight; 0 for none",
            ),
            GAMMA_NEGATIVE,
            GAMMA_POSITIVE,
            CLIP,
            EPS,
            DETACH,
            REDUCTION_SUM,
            SCALE,
        ],
        source: "Zhang et al., Learning in Imperfect Environment: Multi-Label Classification with Long-Tailed Distribution and Partial Labels, ICCV 2023 (arXiv 2304.10539)",
        when: "as `asl` with long-tailed classes: rare ones weigh a little more",
        notes: "A class without a training image is weighted as though it had one.",
        build: Build::Composition(|s| Composition {
            weight: Weight::Logarithmic {
                power: s.number("power"),
            },
            ..asymmetric(s, 0.0, 0.0)
        }),
    },
];

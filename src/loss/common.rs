//! Parameters that several losses share.

use super::composition::{
    BiasForm, ClassBalancedMode, Composition, Normalisation, Reduction, Tolerance, Weight,
};
use super::definition::{Parameter, Range, Settings, Value};

const REDUCTIONS: [(&str, Reduction); 3] = [
    ("mean", Reduction::Mean),
    ("sum", Reduction::Sum),
    ("image-mean", Reduction::ImageMean),
];
const NORMALISATIONS: [(&str, Normalisation); 3] = [
    ("none", Normalisation::None),
    ("instance", Normalisation::Instance),
    ("batch", Normalisation::Batch),
];
const MODES: [(&str, ClassBalancedMode); 4] = [
    ("by-class", ClassBalancedMode::ByClass),
    ("average-n", ClassBalancedMode::AverageN),
    ("average-w", ClassBalancedMode::AverageW),
    ("min-n", ClassBalancedMode::MinN),
];
const BIASES: [(&str, BiasForm); 2] = [("code", BiasForm::Code), ("paper", BiasForm::Paper)];

pub const SCALE: Parameter =
    Parameter::number("scale", 1.0, Range::Positive, "a factor on the whole loss");

pub const REDUCTION: Parameter = Parameter::choice(
    "reduction",
    "mean",
    &["mean", "sum", "image-mean"],
    "mean or sum over images x classes, or the sum over classes with the mean over images",
);

pub const REDUCTION_SUM: Parameter = REDUCTION.with_default(Value::Choice("sum"));

pub const NORMALISATION: Parameter = Parameter::choice(
    "normalisation",
    "none",
    &["none", "instance", "batch"],
    "divide the weights by the largest of their image (`instance`) or of the batch",
);

pub const ALPHA: Parameter = Parameter::number(
    "alpha",
    0.1,
    Range::NotNegative,
    "overall lift of the re-balanced weight",
);

pub const BETA: Parameter = Parameter::number(
    "beta",
    10.0,
    Range::Finite,
    "steepness of the smoothing function",
);

pub const MU: Parameter = Parameter::number(
    "mu",
    0.3,
    Range::Finite,
    "position of the step on the re-balanced weight r; 0.3 on VOC-MLT, 0.2 on COCO-MLT, 0.9 for text",
);

pub const KAPPA: Parameter = Parameter::number(
    "kappa",
    0.05,
    Range::NotNegative,
    "scale of the class bias; 0 for none",
);

pub const LAMBDA: Parameter = Parameter::number(
    "lambda",
    5.0,
    Range::Positive,
    "scale of negative logits: the larger, the sooner a negative is left in peace; 5 on VOC-MLT, 2 on COCO-MLT",
);

pub const BIAS: Parameter = Parameter::choice(
    "bias",
    "code",
    &["code", "paper"],
    "shift of the logits: nu_c / lambda as in the public code (the published figures), or nu_c as the paper writes it",
);

pub const FOCAL_GAMMA: Parameter = Parameter::number(
    "gamma",
    2.0,
    Range::NotNegative,
    "focusing exponent; 0 for no focusing",
);

pub const BALANCE: Parameter = Parameter::number(
    "balance",
    2.0,
    Range::Positive,
    "a constant factor beside the focusing",
);

pub const CB_BETA: Parameter = Parameter::number(
    "beta",
    0.9,
    Range::Below(0.0, 1.0),
    "how fast further images of a class stop counting; 0 gives equal weights",
);

pub const CB_MODE: Parameter = Parameter::choice(
    "mode",
    "average-w",
    &["by-class", "average-n", "average-w", "min-n"],
    "each class its own weight, or one an image: from the average n of its positives, the average weight, or the smallest n",
);

/// A composition with the scale, reduction and normalisation of the settings.
pub fn base(settings: &Settings) -> Composition {
    Composition {
        scale: settings.number("scale"),
        reduction: settings.choice("reduction", &REDUCTIONS),
        ..Composition::default()
    }
}

/// [`base`] for weighted losses, which can be normalised.
pub fn weighted(settings: &Settings, weight: Weight) -> Composition {
    Composition {
        normalisation: settings.choice("normalisation", &NORMALISATIONS),
        weight,
        ..base(settings)
    }
}

/// The re-balanced weight of the settings.
pub fn rebalanced(settings: &Settings) -> Weight {
    Weight::Rebalanced {
        alpha: settings.number("alpha"),
        beta: settings.number("beta"),
        mu: settings.number("mu"),
    }
}

/// The class-balanced weight of the settings.
pub fn class_balanced(settings: &Settings) -> Weight {
    Weight::ClassBalanced {
        beta: settings.number("beta"),
        mode: settings.choice("mode", &MODES),
    }
}

/// The tolerance of the settings.
pub fn tolerance(settings: &Settings) -> Option<Tolerance> {
    Some(Tolerance {
        kappa: settings.number("kappa"),
        lambda: settings.number("lambda"),
        bias: settings.choice("bias", &BIASES),
    })
}

/// The focal factor of the settings.
pub fn focal(settings: &Settings) -> Option<super::composition::Focal> {
    Some(super::composition::Focal {
        gamma: settings.number("gamma"),
        balance: settings.number("balance"),
    })
}

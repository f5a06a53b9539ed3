//! The parts of an element-wise loss, as written in TOML.
//!
//! For every image i and class c:
//!
//! loss = scale * reduction over (i, c) of weight(i, c) * focal(u) * kernel(u) / tolerance,
//! u = the logit after adjustment, margin and tolerance.
//!
//! Each part may be left out; any combination is a loss. The lists and the documentation
//! pages print the comments below.

use toml::Table;

use super::part::Accepts::{Part, Value};
use super::part::{complete, part, table, words};
use crate::error::{Error, KeyPath, Result};
use crate::range::Range::{Below, Finite, Flag, NotNegative, OneOf, Positive, Whole, Within};

part! {
    /// Any combination of kernel, weight, tolerance, margin, adjustment, focal factor and
    /// relabelling.
    pub struct Composition {
        /// A factor on the whole loss.
        scale: f64 = 1.0, Value(Positive);
        /// Mean or sum over images x classes, or the sum over classes with the mean over images.
        reduction: Reduction = Reduction::Mean, Value(OneOf(Reduction::WORDS));
        /// Divide the weights by the largest of their image (`instance`) or of the batch.
        normalisation: Normalisation = Normalisation::None, Value(OneOf(Normalisation::WORDS));
        /// The loss of one logit, before weights.
        kernel: Kernel = Kernel::CrossEntropy {}, Part(Kernel::KINDS);
        /// How much each image and class counts.
        weight: Weight = Weight::None {}, Part(Weight::KINDS);
        /// Negative-tolerant regularisation: a shift by class, and a scale on negatives.
        tolerance: Option<Tolerance> = None, Part(Tolerance::KINDS);
        /// What is subtracted from the logits of positives.
        margin: Option<Margin> = None, Part(Margin::KINDS);
        /// A factor on the shifted logits of positives, by class.
        positive_scale: Option<PositiveScale> = None, Part(PositiveScale::KINDS);
        /// What is added to all logits of a class.
        adjustment: Option<Adjustment> = None, Part(Adjustment::KINDS);
        /// The focal factor.
        focal: Option<Focal> = None, Part(Focal::KINDS);
        /// From some epoch on, confident negatives count as positives.
        relabel: Option<Relabel> = None, Part(Relabel::KINDS);
    }
}

words! {
    /// How the terms of images and classes are reduced to one number.
    pub enum Reduction {
        /// The mean over images x classes.
        Mean = "mean",
        /// The sum over images x classes.
        Sum = "sum",
        /// The sum over classes and the mean over images, which does not grow with the batch.
        ImageMean = "image-mean",
    }
}

words! {
    /// How the weights are divided by their largest value.
    pub enum Normalisation {
        /// Weights as they are.
        None = "none",
        /// Each image's weights are divided by that image's largest.
        Instance = "instance",
        /// All weights are divided by the batch's largest.
        Batch = "batch",
    }
}

part! {
    /// The loss of one logit, before weights.
    pub enum Kernel {
        /// Binary cross-entropy with logits: softplus(u) - y u.
        CrossEntropy = "cross-entropy" {}
        /// Asymmetric focusing with a probability margin on negatives (ASL, ICCV 2021, equations 4
        /// to 7), and a polynomial on positives (APL, ICASSP 2023): positives
        /// -(1 - p)^gamma_positive (log p + first_order (1 - p) + second_order / 2 (1 - p)^2),
        /// negatives -(1 - q)^gamma_negative log q, q = min(1 - p + clip, 1).
        Asymmetric = "asymmetric" {
            /// Focusing exponent of negatives.
            gamma_negative: f64 = 4.0, Value(NotNegative);
            /// Focusing exponent of positives.
            gamma_positive: f64 = 0.0, Value(NotNegative);
            /// Margin of negatives: those with a probability below it cost nothing.
            clip: f64 = 0.05, Value(Within(0.0, 0.999)), "probability";
            /// Coefficient of 1 - p on positives.
            first_order: f64 = 0.0, Value(Finite);
            /// Coefficient of (1 - p)^2 / 2 on positives.
            second_order: f64 = 0.0, Value(Finite);
            /// Smallest probability in a logarithm, below which the published code has no gradient;
            /// 0 uses the exact logarithm.
            eps: f64 = 0.0, Value(Within(0.0, 0.1)), "probability";
            /// Hold the focusing weight constant in the gradient.
            detach_focusing: bool = false, Value(Flag);
        }
        /// Positives -(1 - p)^gamma log p; negatives (limit - p) p^2, whose gradient falls again
        /// for p near 1 (Hill, arXiv 2112.07368).
        Hill = "hill" {
            /// The loss of negatives turns down beyond p = 2 limit / 3.
            limit: f64 = 1.5, Value(NotNegative);
            /// Focusing exponent of positives.
            gamma: f64 = 2.0, Value(NotNegative);
        }
    }
}

part! {
    /// How much each image and class counts.
    pub enum Weight {
        /// 1 everywhere.
        None = "none" {}
        /// (N / n_c)^power.
        Inverse = "inverse" {
            /// Exponent of the class weight: 1 for the inverse frequency, 0.5 for its square root.
            power: f64 = 1.0, Value(NotNegative);
        }
        /// (1 - beta) / (1 - beta^n), the inverse effective number of images (Cui et al.,
        /// CVPR 2019, equation 2).
        ClassBalanced = "class-balanced" {
            /// How fast additional images of a class stop counting; 0 gives equal weights.
            beta: f64 = 0.9, Value(Below(0.0, 1.0));
            /// One weight per class, or one per image: from the average n of its positives, their
            /// average weight, or their smallest n.
            mode: ClassBalancedMode = ClassBalancedMode::AverageW, Value(OneOf(ClassBalancedMode::WORDS));
        }
        /// alpha + sigmoid(beta (r - mu)), r = (1 / n_c) / sum over the image's positives j of
        /// 1 / n_j (Wu et al., ECCV 2020, section 3.1).
        Rebalanced = "rebalanced" {
            /// Overall lift of the re-balanced weight.
            alpha: f64 = 0.1, Value(NotNegative);
            /// Steepness of the smoothing function.
            beta: f64 = 10.0, Value(Finite);
            /// Position of the step on the re-balanced weight r; 0.3 on VOC-MLT, 0.2 on COCO-MLT,
            /// 0.9 for text.
            mu: f64 = 0.3, Value(Finite);
        }
        /// (1 - log(n_c / n_max))^power, the multi-focal modifier (Zhang et al., ICCV 2023).
        Logarithmic = "logarithmic" {
            /// Exponent of the class weight; 0 for none.
            power: f64 = 1.0 / 6.0, Value(NotNegative);
        }
    }
}

words! {
    /// The count of images from which the class-balanced weight is computed.
    pub enum ClassBalancedMode {
        /// One weight per class, from its own n_c.
        ByClass = "by-class",
        /// One weight per image, from the average n_c of its positives.
        AverageN = "average-n",
        /// One weight per image, the average of the weights of its positives.
        AverageW = "average-w",
        /// One weight per image, from the smallest n_c of its positives.
        MinN = "min-n",
    }
}

part! {
    /// Positives softplus(-(z + s)), negatives softplus(lambda (z + s)) / lambda;
    /// s = nu_c / lambda (bias = code) or nu_c (paper), nu_c = kappa b_c, b_c = -log(N / n_c - 1)
    /// (Wu et al., ECCV 2020, section 3.2).
    pub struct Tolerance {
        /// Scale of the class bias; 0 for none.
        kappa: f64 = 0.05, Value(NotNegative);
        /// Scale of the logits of negatives: the larger, the sooner the gradient of a negative
        /// fades; 5 on VOC-MLT, 2 on COCO-MLT.
        lambda: f64 = 5.0, Value(Positive);
        /// Shift of the logits: nu_c / lambda as in the public code (the published figures), or
        /// nu_c as in the paper.
        bias: BiasForm = BiasForm::Code, Value(OneOf(BiasForm::WORDS));
    }
}

words! {
    /// The two forms of the shift s of negative-tolerant regularisation, nu_c = kappa b_c.
    pub enum BiasForm {
        /// s = nu_c / lambda, as in the public code, which produced the published figures.
        Code = "code",
        /// s = nu_c, as written in the paper.
        Paper = "paper",
    }
}

part! {
    /// What is subtracted from the logits of positives, and the scale of the logits after it.
    pub enum Margin {
        /// The same for every class.
        Constant = "constant" {
            /// Subtracted from the logits of positives.
            margin: f64 = 1.0, Value(Finite), "logits";
        }
        /// max_margin (n_min / n_c)^power, the label-distribution-aware margin (Cao et al.,
        /// NeurIPS 2019, section 3.2).
        ClassFrequency = "class-frequency" {
            /// Margin of the rarest class.
            max_margin: f64 = 0.5, Value(NotNegative), "logits";
            /// How fast the margin falls with the number of images; 1/4 in the paper.
            power: f64 = 0.25, Value(NotNegative);
            /// Factor on the logits after the margin; 30 if the logits are cosines.
            logit_scale: f64 = 1.0, Value(Positive);
        }
    }
}

part! {
    /// Multiplies the logits of positives, after every shift, by (n_c / n_max)^power (DB* of
    /// HP-DVAL, IEEE TIP, equation 14).
    pub struct PositiveScale {
        /// How much smaller the logits of rare classes become: 0 for no scale, 1 for the published
        /// one.
        power: f64 = 1.0, Value(NotNegative);
    }
}

part! {
    /// Adds tau log(pi_c / (1 - pi_c)) to the logits, pi_c = n_c / N (Menon et al., ICLR 2021,
    /// section 4, for sigmoid outputs).
    pub struct Adjustment {
        /// Strength of the adjustment; 0 for none.
        tau: f64 = 1.0, Value(Finite);
    }
}

part! {
    /// balance (1 - p_t)^gamma, p_t of u, without weight and without 1 / lambda (Lin et al.,
    /// ICCV 2017, section 3).
    pub struct Focal {
        /// Focusing exponent; 0 for no focusing.
        gamma: f64 = 2.0, Value(NotNegative);
        /// A constant factor in addition to the focusing, the same for positives and negatives.
        balance: f64 = 2.0, Value(Positive);
    }
}

part! {
    /// From the epoch from_epoch on, negatives with p > tau count as positives, without margin
    /// (SPLC, arXiv 2112.07368).
    pub struct Relabel {
        /// Negatives above it are treated as missing labels.
        tau: f64 = 0.6, Value(Within(0.0, 1.0)), "probability";
        /// The first epoch that corrects labels, counted from 0.
        from_epoch: usize = 1, Value(Whole), "epochs";
    }
}

impl Composition {
    /// Reads the parts given by the table at the key `at`; parts that are left out keep their
    /// defaults. An error names the offending key, for example `loss.weight.beta`.
    pub fn read(given: &Table, at: &KeyPath) -> Result<Self> {
        let complete = complete(Self::KINDS, given, at)?;
        (complete.try_into()).map_err(|e: toml::de::Error| Error::key(at, e.message()))
    }

    /// Checks the range of every number. An error names the offending key below `at`.
    pub fn check(&self, at: &KeyPath) -> Result<()> {
        complete(Self::KINDS, &table(self), at).map(drop)
    }
}

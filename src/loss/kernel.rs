//! Losses of a single logit. Each is written as its formula over [`Dual`] numbers, which yield the
//! derivative.

use super::composition::Kernel;
use super::dual::Dual;
use crate::ops::cuda::loss as device;

impl Kernel {
    /// Returns the kernel in the form that the GPU takes; the formulas there are the ones below.
    pub(super) fn for_device(&self) -> device::Kernel {
        match *self {
            Kernel::CrossEntropy {} => device::Kernel::CrossEntropy,
            Kernel::Asymmetric {
                gamma_negative,
                gamma_positive,
                clip,
                first_order,
                second_order,
                eps,
                detach_focusing,
            } => device::Kernel::Asymmetric {
                gammas: [gamma_negative, gamma_positive],
                clip,
                orders: [first_order, second_order],
                eps,
                hold: detach_focusing,
            },
            Kernel::Hill { limit, gamma } => device::Kernel::Hill { limit, gamma },
        }
    }

    /// Returns the loss of the logit `z` of a positive or a negative.
    #[inline]
    pub fn loss(&self, z: Dual, positive: bool) -> Dual {
        match *self {
            Kernel::CrossEntropy {} => cross_entropy(z, positive),
            Kernel::Asymmetric {
                gamma_negative,
                gamma_positive,
                clip,
                first_order,
                second_order,
                eps,
                detach_focusing,
            } => {
                let (focusing, loss) = if positive {
                    let miss = (-z).sigmoid();
                    let polynomial = miss * first_order + miss * miss * (0.5 * second_order);
                    let log = log_sigmoid(z, eps);
                    ((-z).sigmoid_power(gamma_positive), -(log + polynomial))
                } else if clip > 0.0 {
                    let kept = ((-z).sigmoid() + clip).at_most(1.0);
                    let focusing = (-kept + 1.0).power(gamma_negative);
                    (focusing, -kept.ln_floored(eps))
                } else {
                    (z.sigmoid_power(gamma_negative), -log_complement(z, eps))
                };
                let focusing = if detach_focusing {
                    focusing.detach()
                } else {
                    focusing
                };
                focusing * loss
            }
            Kernel::Hill { limit, gamma } => {
                if positive {
                    (-z).sigmoid_power(gamma) * cross_entropy(z, true)
                } else {
                    let p = z.sigmoid();
                    (-p + limit) * p * p
                }
            }
        }
    }
}

/// softplus(z) - y z.
#[inline]
pub fn cross_entropy(z: Dual, positive: bool) -> Dual {
    if positive {
        (-z).softplus()
    } else {
        z.softplus()
    }
}

/// The focal factor (1 - p_t)^gamma.
#[inline]
pub fn focal_factor(z: Dual, positive: bool, gamma: f64) -> Dual {
    if positive {
        (-z).sigmoid_power(gamma)
    } else {
        z.sigmoid_power(gamma)
    }
}

/// log max(1 - p, eps), or the exact logarithm without a floor if eps = 0.
///
/// The floor reproduces published code that works in float32, where 1 - p is a multiple of 6e-8 and
/// is 0 from z = 17 on. With a floor, 1 - p is therefore rounded to those multiples too; otherwise
/// confident negatives would cost up to 2 less than published. The derivative is the exact one
/// above the floor.
fn log_complement(z: Dual, eps: f64) -> Dual {
    if eps == 0.0 {
        return log_sigmoid(-z, eps);
    }
    let p = 1.0 / (1.0 + (-z.value).exp() as f32);
    let complement = f64::from(1.0 - p);
    if complement < eps {
        return Dual::constant(eps.ln());
    }
    Dual {
        value: complement.ln(),
        ..log_sigmoid(-z, 0.0)
    }
}

/// log max(sigmoid(z), eps), or the exact logarithm without a floor if eps = 0.
fn log_sigmoid(z: Dual, eps: f64) -> Dual {
    let log = -(-z).softplus();
    if eps > 0.0 && log.value < eps.ln() {
        Dual::constant(eps.ln())
    } else {
        log
    }
}

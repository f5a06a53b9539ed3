//! Dual numbers, which carry their derivative with respect to one logit. A loss is written once, as
//! its formula, and its gradient is exact.

use std::ops::{Add, Mul, Neg, Sub};

/// A value and its derivative, for forward-mode differentiation in one variable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dual {
    /// The value.
    pub value: f64,
    /// Its derivative with respect to the logit.
    pub derivative: f64,
}

impl Dual {
    /// Creates the variable itself, with derivative 1.
    pub fn variable(value: f64) -> Self {
        Dual {
            value,
            derivative: 1.0,
        }
    }

    /// Creates a constant, with derivative 0.
    pub fn constant(value: f64) -> Self {
        Dual {
            value,
            derivative: 0.0,
        }
    }

    /// Returns the same value as a constant, with derivative 0.
    pub fn detach(self) -> Self {
        Self::constant(self.value)
    }

    /// log(1 + e^x), finite for every finite x.
    pub fn softplus(self) -> Self {
        let (sigmoid, softplus) = sigmoid_and_softplus(self.value);
        Dual {
            value: softplus,
            derivative: sigmoid * self.derivative,
        }
    }

    /// 1 / (1 + e^-x).
    pub fn sigmoid(self) -> Self {
        let (value, _) = sigmoid_and_softplus(self.value);
        let complement = sigmoid_and_softplus(-self.value).0;
        Dual {
            value,
            derivative: value * complement * self.derivative,
        }
    }

    /// sigmoid(x)^exponent, computed through its logarithm, so that neither the value nor the
    /// derivative is lost where the sigmoid underflows, whatever the exponent. An exponent of 0
    /// gives the constant 1.
    pub fn sigmoid_power(self, exponent: f64) -> Self {
        if exponent == 0.0 {
            return Self::constant(1.0);
        }
        // log sigmoid(x) = -softplus(-x), with the derivative sigmoid(-x).
        let (complement, minus_log) = sigmoid_and_softplus(-self.value);
        let value = if exponent == 1.0 {
            sigmoid_and_softplus(self.value).0
        } else {
            (-exponent * minus_log).exp()
        };
        Dual {
            value,
            derivative: exponent * complement * value * self.derivative,
        }
    }

    /// Natural logarithm of max(x, `floor`); constant below the floor.
    pub fn ln_floored(self, floor: f64) -> Self {
        if self.value < floor {
            return Self::constant(floor.ln());
        }
        Dual {
            value: self.value.ln(),
            derivative: self.derivative / self.value,
        }
    }

    /// x^exponent for x >= 0. An exponent of 0 gives the constant 1; at x = 0 the derivative is 0.
    pub fn power(self, exponent: f64) -> Self {
        if exponent == 0.0 {
            return Self::constant(1.0);
        }
        if self.value <= 0.0 {
            return Self::constant(0.0);
        }
        let value = self.value.powf(exponent);
        Dual {
            value,
            derivative: exponent * value / self.value * self.derivative,
        }
    }

    /// min(x, `upper`); constant above `upper`.
    pub fn at_most(self, upper: f64) -> Self {
        if self.value > upper {
            Self::constant(upper)
        } else {
            self
        }
    }
}

impl Add for Dual {
    type Output = Dual;
    fn add(self, other: Dual) -> Dual {
        Dual {
            value: self.value + other.value,
            derivative: self.derivative + other.derivative,
        }
    }
}

impl Add<f64> for Dual {
    type Output = Dual;
    fn add(self, other: f64) -> Dual {
        Dual {
            value: self.value + other,
            derivative: self.derivative,
        }
    }
}

impl Sub<f64> for Dual {
    type Output = Dual;
    fn sub(self, other: f64) -> Dual {
        self + -other
    }
}

impl Mul for Dual {
    type Output = Dual;
    fn mul(self, other: Dual) -> Dual {
        Dual {
            value: self.value * other.value,
            derivative: self.value * other.derivative + self.derivative * other.value,
        }
    }
}

impl Mul<f64> for Dual {
    type Output = Dual;
    fn mul(self, other: f64) -> Dual {
        Dual {
            value: self.value * other,
            derivative: self.derivative * other,
        }
    }
}

impl Neg for Dual {
    type Output = Dual;
    fn neg(self) -> Dual {
        self * -1.0
    }
}

/// Returns (sigmoid(x), softplus(x)), computed from one exponential that never overflows.
pub fn sigmoid_and_softplus(x: f64) -> (f64, f64) {
    let e = (-x.abs()).exp();
    let sigmoid = if x >= 0.0 { 1.0 } else { e } / (1.0 + e);
    (sigmoid, x.max(0.0) + e.ln_1p())
}

/// 1 / (1 + e^-x), stable for large positive and negative x.
pub fn sigmoid(x: f64) -> f64 {
    sigmoid_and_softplus(x).0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares every operation with central differences.
    #[test]
    fn derivatives_match_central_differences() {
        type Operation = fn(Dual) -> Dual;
        let operations: [(&str, Operation); 8] = [
            ("softplus", Dual::softplus),
            ("sigmoid", Dual::sigmoid),
            ("sigmoid_power 0.5", |x| x.sigmoid_power(0.5)),
            ("sigmoid_power 1", |x| x.sigmoid_power(1.0)),
            ("ln_floored", |x| (x + 10.0).ln_floored(1e-8)),
            ("power", |x| (x * x + 0.5).power(1.7)),
            ("product", |x| -x.sigmoid() * (x - 2.0) * x),
            ("at_most", |x| (x * 2.0).at_most(100.0)),
        ];
        let step = 1e-5;
        for (name, operation) in operations {
            for x in [-6.0, -1.0, 0.3, 2.5, 9.0] {
                let at = |x| operation(Dual::variable(x)).value;
                let difference = (at(x + step) - at(x - step)) / (2.0 * step);
                let exact = operation(Dual::variable(x)).derivative;
                assert!(
                    (difference - exact).abs() <= 1e-8 * exact.abs().max(1.0),
                    "{name} at {x}: {exact}, by differences {difference}"
                );
            }
        }
    }

    #[test]
    fn extreme_logits_stay_finite() {
        for x in [-1e4, -800.0, 800.0, 1e4] {
            let x = Dual::variable(x);
            for y in [x.softplus(), x.sigmoid(), x.sigmoid_power(0.25)] {
                assert!(y.value.is_finite() && y.derivative.is_finite(), "{x:?}");
            }
        }
        assert_eq!(Dual::variable(1e4).softplus().value, 1e4);
        assert_eq!(Dual::variable(-1e4).softplus().value, 0.0);
    }
}

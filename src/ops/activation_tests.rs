//! Tests activations against closed forms in double precision.

use super::*;
use crate::ops::reference::ACTIVATIONS;
use crate::ops::{Isa, elementwise};

/// The error function: its Taylor series near 0, otherwise Laplace's continued fraction of the
/// complement.
fn erf(x: f64) -> f64 {
    if x < 0.0 {
        return -erf(-x);
    }
    let root = std::f64::consts::PI.sqrt();
    if x < 3.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return 2.0 / root * sum;
    }
    let fraction = (1..200).rev().fold(x, |f, n| x + 0.5 * f64::from(n) / f);
    1.0 - (-x * x).exp() / root / fraction
}

fn exact(activation: Activation, x: f64) -> f64 {
    let gate = (x + 3.0).clamp(0.0, 6.0) / 6.0;
    match activation {
        Activation::None => x,
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::HardSwish => x * gate,
        Activation::Gelu => 0.5 * x * (1.0 + erf(x / 2f64.sqrt())),
        Activation::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::HardSigmoid => gate,
    }
}

/// A dense grid over the interesting range, and some points far out.
fn grid() -> Vec<f32> {
    let mut points: Vec<f32> = (-40_000..=40_000).map(|i| i as f32 / 2000.0).collect();
    for far in [25.0, 86.9, 87.1, 88.0, 100.0, 1e3, 1e4, 3e38] {
        points.extend([far, -far]);
    }
    points.extend([0.0, -0.0, 1e-30, -1e-30]);
    points
}

/// Returns the outputs, and the values from which the derivatives are obtained.
fn activate(isa: Isa, activation: Activation, input: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let mut output = vec![f32::NAN; input.len()];
    let mut slopes = input.to_vec();
    elementwise::activate(isa, activation, &mut slopes, &mut output);
    let told = match activation.keeps_slope() {
        true => slopes,
        false => output.clone(),
    };
    (output, told)
}

/// Returns whether two values are equal except for the last bits.
fn near(found: f32, expected: f32) -> bool {
    found == expected || (found - expected).abs() < 2e-7
}

fn slopes(isa: Isa, activation: Activation, told: &[f32]) -> Vec<f32> {
    let mut gradient = vec![1.0; told.len()];
    elementwise::add_mask(isa, &mut gradient, None, Some((told, activation)));
    gradient
}

#[test]
fn the_reference_knows_the_error_function() {
    for (x, y) in [
        (0.5, 0.520_499_877_813_046_5),
        (2.9, 0.999_958_902_121_900_5),
        (3.1, 0.999_988_351_342_632_5),
    ] {
        assert!((erf(x) - y).abs() < 1e-12, "{x}");
    }
}

#[test]
fn activations_match_their_closed_forms() {
    let input = grid();
    for isa in Isa::available() {
        for activation in ACTIVATIONS {
            let (output, _) = activate(isa, activation, &input);
            for (&x, &y) in input.iter().zip(&output) {
                let expected = exact(activation, f64::from(x));
                // Far out in the tails, the result only has to be as good as 0; where one half is
                // subtracted from one half, only as good as the cancellation permits.
                let error = (f64::from(y) - expected).abs();
                let close = if activation == Activation::Gelu {
                    0.5
                } else {
                    1e-3
                };
                // The product with the factor is rounded before the exponential is taken.
                let product = match activation {
                    Activation::QuickGelu => 1.2e-7 * 1.702 * f64::from(x.abs()).min(60.0),
                    _ => 0.0,
                };
                let size = expected.abs().max(close * f64::from(x.abs().min(6.0)));
                let limit = (4e-7 + product) * size + 2e-35;
                let name = isa.name();
                assert!(
                    error <= limit,
                    "{name} {activation:?}({x}) = {y} for {expected}"
                );
            }
        }
    }
}

#[test]
fn derivatives_match_central_differences() {
    // Points away from the corners.
    let input: Vec<f32> = (-20_000..20_000)
        .map(|i| (i as f32 + 0.5) / 1999.0)
        .collect();
    for isa in Isa::available() {
        for activation in ACTIVATIONS {
            let (_, told) = activate(isa, activation, &input);
            for (&x, &slope) in input.iter().zip(&slopes(isa, activation, &told)) {
                let (x, step) = (f64::from(x), 1e-6);
                if [-3.0, 0.0, 3.0, 6.0]
                    .iter()
                    .any(|c: &f64| (c - x).abs() < 1e-5)
                {
                    continue;
                }
                let rise = exact(activation, x + step) - exact(activation, x - step);
                let expected = rise / (2.0 * step);
                let error = (f64::from(slope) - expected).abs();
                let name = isa.name();
                assert!(
                    error < 1e-6,
                    "{name} {activation:?}'({x}) = {slope} for {expected}"
                );
            }
        }
    }
}

#[test]
fn corners_limits_and_what_is_no_number() {
    let infinity = f32::INFINITY;
    // At minus infinity, the corners from left to right, and infinity.
    let points = [-infinity, -3.0, 0.0, 3.0, 6.0, infinity];
    let table = [
        (
            Activation::None,
            [-infinity, -3.0, 0.0, 3.0, 6.0, infinity],
            [1.0; 6],
        ),
        (
            Activation::Relu,
            [0.0, 0.0, 0.0, 3.0, 6.0, infinity],
            [0.0, 0.0, 0.0, 1.0, 1.0, 1.0],
        ),
        (
            Activation::Relu6,
            [0.0, 0.0, 0.0, 3.0, 6.0, 6.0],
            [0.0, 0.0, 0.0, 1.0, 0.0, 0.0],
        ),
        (
            Activation::HardSwish,
            [0.0, 0.0, 0.0, 3.0, 6.0, infinity],
            [0.0, 0.0, 0.5, 1.0, 1.0, 1.0],
        ),
        (
            Activation::HardSigmoid,
            [0.0, 0.0, 0.5, 1.0, 1.0, 1.0],
            [0.0, 0.0, 1.0 / 6.0, 0.0, 0.0, 0.0],
        ),
    ];
    for isa in Isa::available() {
        for (activation, outputs, derivatives) in table {
            let (found, told) = activate(isa, activation, &points);
            assert_eq!(found, outputs, "{activation:?}");
            assert_eq!(
                slopes(isa, activation, &told),
                derivatives,
                "{activation:?}"
            );
        }
        for activation in ACTIVATIONS {
            // A payload in the lowest bits of a NaN must not become an exponent.
            let nothing = [
                f32::NAN,
                f32::from_bits(0x7fc0_0001),
                f32::from_bits(0xffff_ffff),
            ];
            for value in activate(isa, activation, &nothing).0 {
                assert!(value.is_nan(), "{} {activation:?}", isa.name());
            }
        }
        for (activation, right) in [
            (Activation::Silu, infinity),
            (Activation::Gelu, infinity),
            (Activation::QuickGelu, infinity),
            (Activation::Sigmoid, 1.0),
        ] {
            let (found, told) = activate(isa, activation, &[-infinity, infinity]);
            assert!(found[0].abs() < 1e-32, "{activation:?}: {}", found[0]);
            assert!(near(found[1], right), "{activation:?}: {}", found[1]);
            let found = slopes(isa, activation, &told);
            let right = if activation.keeps_slope() { 1.0 } else { 0.0 };
            assert!(
                found[0].abs() < 1e-32 && near(found[1], right),
                "{activation:?} {found:?}"
            );
        }
    }
}

#[test]
fn slices_need_no_instruction_set() {
    let mut values = [-1.0, 2.0, 9.0];
    Activation::Relu6.apply(&mut values);
    assert_eq!(values, [0.0, 2.0, 6.0]);
    let mut gradient = [5.0; 3];
    Activation::Relu6.mask(&mut gradient, &values);
    assert_eq!(gradient, [0.0, 5.0, 0.0]);
}

//! Tests batch norm, residual and activation.

use dbloss::ops::batch_norm::{GradientSums, Normalisation, Statistics, moments};
use dbloss::ops::cuda::affine::{self, Affine};
use dbloss::ops::{Activation, Isa};

use super::common::host_kernels::use_host_kernels;
use super::{assert_close, drawn, random, tensor, values};

/// Returns numbers of pixels and channels: awkward ones, then random ones.
fn shapes() -> impl Iterator<Item = (usize, usize)> {
    let awkward = [(2, 1), (2, 33), (7, 32), (255, 3), (513, 65), (2000, 31)];
    let drawn = (0..6).map(|i| (drawn("pixels", i, 2, 900), drawn("channels", i, 1, 130)));
    awkward.into_iter().chain(drawn)
}

fn shifted(name: &str, len: usize, shift: f32) -> Vec<f32> {
    random(name, len).iter().map(|v| v + shift).collect()
}

#[test]
#[cfg_attr(not(has_cxx), ignore = "needs a C++ compiler")]
fn statistics_are_those_of_the_cpu() {
    use_host_kernels();
    for (pixels, channels) in shapes() {
        // A mean far from 0, at which a plain sum of squares would lose precision.
        let x = shifted("x", pixels * channels, 300.0);
        let found = affine::statistics(&tensor(&x, &[pixels, channels]), 1e-5).unwrap();
        let isa = Isa::best();
        let expected = Statistics::combine(channels, &moments(isa, &x, channels));
        let inverse = expected.inverse_deviation(1e-5);
        let what = format!("{pixels} x {channels}");
        assert_close(&what, &values(&found.mean), &expected.mean, 1e-7);
        assert_close(&what, &values(&found.variance), &expected.variance, 1e-5);
        assert_close(&what, &values(&found.inverse), &inverse, 1e-5);
    }
}

#[test]
#[cfg_attr(not(has_cxx), ignore = "needs a C++ compiler")]
fn the_batchs_own_norm_and_its_gradients_are_those_of_the_cpu() {
    use_host_kernels();
    let isa = Isa::best();
    for (index, (pixels, channels)) in shapes().enumerate() {
        let what = format!("{pixels} x {channels}");
        let [x, residual, gradient] =
            ["x", "residual", "gradient"].map(|n| random(n, pixels * channels));
        let (gamma, beta) = (shifted("gamma", channels, 1.5), random("beta", channels));
        let parts = moments(isa, &x, channels);
        let statistics = Statistics::combine(channels, &parts);
        let norm = Normalisation::new(statistics, 1e-3, gamma.clone(), beta.clone());
        let branch = (index % 2 == 0).then_some(&residual[..]);
        let mut y = vec![0.0; x.len()];
        norm.apply(isa, &x, branch, Activation::Relu, &mut y);
        let mut masked = gradient.clone();
        Activation::Relu.mask(&mut masked, &y);
        let sums = norm.sums(isa, &x, &masked);
        let sums = GradientSums::combine(channels, [&sums]);
        let expected = norm.gradient(&sums);
        let mut of_x = vec![0.0; x.len()];
        expected.apply(isa, &x, &masked, &mut of_x);

        let shape = [pixels, channels];
        let given = tensor(&x, &shape);
        let found = affine::statistics(&given, 1e-3).unwrap();
        let affine = Affine {
            mean: Some(found.mean),
            inverse: Some(found.inverse),
            gamma: Some(tensor(&gamma, &[channels])),
            beta: Some(tensor(&beta, &[channels])),
            ..Affine::default()
        };
        let branch = branch.map(|branch| tensor(branch, &shape));
        let output = affine::forward(&given, &affine, branch.as_ref(), Activation::Relu).unwrap();
        assert_close(&what, &values(&output), &y, 1e-5);
        let found = affine::backward(
            &given,
            &affine,
            branch.as_ref(),
            Activation::Relu,
            &tensor(&gradient, &shape),
            (true, true),
        )
        .unwrap();
        assert_close(&what, &values(&found.of_value), &masked, 0.0);
        assert_close(
            &what,
            &values(&found.of_gamma.unwrap()),
            &expected.gamma,
            2e-5,
        );
        assert_close(
            &what,
            &values(&found.of_shift.unwrap()),
            &expected.beta,
            2e-5,
        );
        assert_close(&what, &values(&found.of_x), &of_x, 5e-5);
    }
}

/// Returns the formula in double precision.
fn formula(affine: &[Vec<f32>; 5], factor: f64, channels: usize, i: usize, x: f64) -> f64 {
    let at = |n: usize| f64::from(affine[n][i % channels]);
    (x + at(0) - at(1)) * at(2) * at(3) * factor + at(4)
}

/// Applies an activation by its definition.
fn activated(activation: Activation, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match activation {
        Activation::None => x,
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::Silu => x * sigmoid(x),
        Activation::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Activation::Gelu => x * statrs_normal(x),
        Activation::QuickGelu => x * sigmoid(1.702 * x),
        Activation::Sigmoid => sigmoid(x),
        Activation::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
    }
}

/// Returns the normal distribution function as an integral from 0 (Simpson's rule).
fn statrs_normal(x: f64) -> f64 {
    let steps = 400;
    let width = x / f64::from(steps);
    let density = |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let sum: f64 = (0..steps)
        .map(|n| {
            let from = f64::from(n) * width;
            density(from) + 4.0 * density(from + width / 2.0) + density(from + width)
        })
        .sum();
    0.5 + sum * width / 6.0
}

#[test]
#[cfg_attr(not(has_cxx), ignore = "needs a C++ compiler")]
fn every_activation_and_its_slope_follow_the_formula() {
    use_host_kernels();
    const ALL: [Activation; 9] = [
        Activation::None,
        Activation::Relu,
        Activation::Relu6,
        Activation::Silu,
        Activation::HardSwish,
        Activation::Gelu,
        Activation::QuickGelu,
        Activation::Sigmoid,
        Activation::HardSigmoid,
    ];
    for (number, activation) in ALL.into_iter().enumerate() {
        let channels = 3 + 37 * (number % 2);
        let len = channels * 41;
        let wide = |name: &str| {
            random(name, len)
                .iter()
                .map(|v| 9.0 * v)
                .collect::<Vec<_>>()
        };
        let (x, residual, gradient) = (wide("x"), random("residual", len), random("g", len));
        let affine =
            ["before", "mean", "inverse", "gamma", "beta"].map(|name| shifted(name, channels, 0.2));
        let factor = 0.75;
        let at = |i: usize, x: f64| {
            let u = formula(&affine, factor, channels, i, x) + f64::from(residual[i]);
            activated(activation, u)
        };
        let expected: Vec<f32> = (0..len).map(|i| at(i, x[i].into()) as f32).collect();
        let slopes: Vec<f32> = (0..len)
            .map(|i| {
                let (low, high) = (f64::from(x[i]) - 1e-5, f64::from(x[i]) + 1e-5);
                ((at(i, high) - at(i, low)) / 2e-5 * f64::from(gradient[i])) as f32
            })
            .collect();
        let channel = |n: usize| Some(tensor(&affine[n], &[channels]));
        let given = Affine {
            before: channel(0),
            mean: channel(1),
            inverse: channel(2),
            gamma: channel(3),
            beta: channel(4),
            factor,
        };
        let shape = [41, channels];
        let (x, residual) = (tensor(&x, &shape), tensor(&residual, &shape));
        let y = affine::forward(&x, &given, Some(&residual), activation).unwrap();
        assert_close(&format!("{activation:?}"), &values(&y), &expected, 2e-6);
        let gradient = tensor(&gradient, &shape);
        let ways = (false, true);
        let found =
            affine::backward(&x, &given, Some(&residual), activation, &gradient, ways).unwrap();
        let what = format!("slope of {activation:?}");
        assert_close(&what, &values(&found.of_x), &slopes, 1e-5);
        // Gradients of the per-channel values are sums of the gradient before the activation.
        let of_value = values(&found.of_value);
        let mut of_gamma = vec![0.0f64; channels];
        let mut of_before = vec![0.0f64; channels];
        let xs = values(&x);
        for (i, g) in of_value.iter().enumerate() {
            let c = i % channels;
            let part = |n: usize| f64::from(affine[n][c]);
            let centred = f64::from(xs[i]) + part(0) - part(1);
            of_gamma[c] += f64::from(*g) * centred * part(2);
            of_before[c] += f64::from(*g) * part(3) * factor;
        }
        let single = |all: &[f64]| all.iter().map(|&v| v as f32).collect::<Vec<_>>();
        assert_close(
            &what,
            &values(&found.of_gamma.unwrap()),
            &single(&of_gamma),
            1e-5,
        );
        assert_close(
            &what,
            &values(&found.of_shift.unwrap()),
            &single(&of_before),
            1e-5,
        );
    }
}

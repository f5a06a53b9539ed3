//! Tests layer norm against its definition in double precision, and gradients against finite
//! differences.

use super::*;
use crate::ops::reference::{TOLERANCE, assert_within, random};

const EPSILON: f32 = 1e-6;

/// Returns the layer norm of one pixel.
fn norm(pixel: &[f64], gamma: &[f64], beta: &[f64]) -> Vec<f64> {
    let n = pixel.len() as f64;
    let mean = pixel.iter().sum::<f64>() / n;
    let variance = pixel.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    let inverse = 1.0 / (variance + f64::from(EPSILON)).sqrt();
    (0..pixel.len())
        .map(|c| (pixel[c] - mean) * inverse * gamma[c] + beta[c])
        .collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// Returns the sum of outputs times `gradient`, the scalar that is differentiated.
fn total(pixel: &[f64], gamma: &[f64], beta: &[f64], gradient: &[f64]) -> f64 {
    let outputs = norm(pixel, gamma, beta);
    outputs.iter().zip(gradient).map(|(o, g)| o * g).sum()
}

/// Returns the central difference of `f` with respect to value `c`.
fn slope(values: &[f64], c: usize, f: impl Fn(&[f64]) -> f64) -> f64 {
    let step = 1e-5;
    let moved = |by: f64| {
        let mut values = values.to_vec();
        values[c] += by;
        f(&values)
    };
    (moved(step) - moved(-step)) / (2.0 * step)
}

#[test]
fn norms_and_gradients_match_their_definition() {
    for (pixels, channels, mean) in [(1, 2, 0.0), (5, 33, 0.5), (70, 96, -3.0), (3, 200, 100.0)] {
        let input: Vec<f32> = random("input", pixels * channels)
            .iter()
            .map(|v| v + mean)
            .collect();
        let gradient = random("gradient", input.len());
        let (gamma, beta) = (random("gamma", channels), random("beta", channels));
        let other = random("other", input.len());
        let (mut output, mut back) = (Vec::new(), wide(&other));
        let mut sums = vec![0.0; 2 * channels];
        let (g, b) = (wide(&gamma), wide(&beta));
        for p in 0..pixels {
            let range = p * channels..(p + 1) * channels;
            let (pixel, gradient) = (wide(&input[range.clone()]), wide(&gradient[range]));
            output.extend(norm(&pixel, &g, &b));
            for c in 0..channels {
                back[p * channels + c] += slope(&pixel, c, |v| total(v, &g, &b, &gradient));
                sums[c] += slope(&g, c, |g| total(&pixel, g, &b, &gradient));
                sums[channels + c] += slope(&b, c, |b| total(&pixel, &g, b, &gradient));
            }
        }
        let mut slopes = vec![1.0; input.len()];
        Activation::Silu.mask(&mut slopes, &input);
        let masked: Vec<f64> = back
            .iter()
            .zip(&slopes)
            .map(|(b, &s)| b * f64::from(s))
            .collect();
        let alone: Vec<f64> = back
            .iter()
            .zip(&other)
            .map(|(b, &o)| b - f64::from(o))
            .collect();
        for isa in Isa::available() {
            let what = format!("{} {pixels}x{channels} around {mean}", isa.name());
            // Single precision resolves numbers around 100 to about 1e-5.
            let tolerance = TOLERANCE * if mean > 10.0 { 3.0 } else { 1.0 };
            let mut found = vec![f32::NAN; input.len()];
            forward(isa, channels, EPSILON, &input, &gamma, &beta, &mut found);
            assert_within(&what, &found, &output, 1, tolerance);
            let mut found = vec![f32::NAN; input.len()];
            let call = |add, mask, found: &mut [f32]| {
                input_gradient(
                    isa, channels, EPSILON, &input, &gamma, &gradient, add, mask, found,
                );
            };
            call(false, None, &mut found);
            assert_within(&what, &found, &alone, 1, tolerance);
            let mut found = other.clone();
            call(true, Some((input.as_slice(), Activation::Silu)), &mut found);
            assert_within(&what, &found, &masked, 1, tolerance);
            let mut found = vec![f32::NAN; 2 * channels];
            partial_sums(isa, channels, EPSILON, &input, &gradient, &mut found);
            assert_within(&what, &found, &sums, 1, tolerance);
        }
    }
}

#[test]
fn a_pixel_of_equal_values_is_flat() {
    let (input, gamma) = ([7.3f32; 96], [2.0f32; 96]);
    let beta = [0.25f32; 96];
    for isa in Isa::available() {
        let mut found = [f32::NAN; 96];
        forward(isa, 96, EPSILON, &input, &gamma, &beta, &mut found);
        for value in found {
            assert!((value - 0.25).abs() < 1e-2, "{value}");
        }
        forward(isa, 96, EPSILON, &[], &gamma, &beta, &mut []);
    }
}

//! Tests gates and global averages against their definitions in double precision.

use super::*;
use crate::ops::pool;
use crate::ops::reference::{TOLERANCE, assert_within, random};

const SHAPES: [(usize, usize, usize); 4] = [(1, 1, 1), (2, 9, 17), (3, 200, 40), (0, 4, 4)];

/// Returns the derivative of hard swish at `points`; activations have tests of their own.
fn slopes(points: &[f32]) -> Vec<f64> {
    let mut slopes = vec![1.0; points.len()];
    Activation::HardSwish.mask(&mut slopes, points);
    slopes.into_iter().map(f64::from).collect()
}

#[test]
fn gates_match_their_definition() {
    for (batch, pixels, channels) in SHAPES {
        let len = batch * pixels * channels;
        let (x, s) = (random("x", len), random("s", batch * channels));
        let (gradient, other) = (random("gradient", len), random("other", len));
        let factor = |i: usize| i / (pixels * channels) * channels + i % channels;
        let f = |v: f32| f64::from(v);
        let output: Vec<f64> = (0..len).map(|i| f(x[i]) * f(s[factor(i)])).collect();
        let back: Vec<f64> = (0..len).map(|i| f(gradient[i]) * f(s[factor(i)])).collect();
        let masked: Vec<f64> = (slopes(&x).iter().enumerate())
            .map(|(i, slope)| (back[i] + f(other[i])) * slope)
            .collect();
        let mut gate = vec![0.0; s.len()];
        for i in 0..len {
            gate[factor(i)] += f(x[i]) * f(gradient[i]);
        }
        for isa in Isa::available() {
            let what = format!("{} {batch}x{pixels}x{channels}", isa.name());
            let mut found = vec![f32::NAN; len];
            forward(isa, pixels, channels, &x, &s, &mut found);
            assert_within(&what, &found, &output, 1, TOLERANCE);
            let mut found = vec![f32::NAN; s.len()];
            gate_gradient(
                isa, pixels, channels, &x, &gradient, false, None, &mut found,
            );
            assert_within(&what, &found, &gate, pixels, TOLERANCE);
            let before = random("before", s.len());
            let added: Vec<f64> = (slopes(&s).iter().enumerate())
                .map(|(i, slope)| (gate[i] + f(before[i])) * slope)
                .collect();
            let mut found = before;
            let mask = Some((s.as_slice(), Activation::HardSwish));
            gate_gradient(isa, pixels, channels, &x, &gradient, true, mask, &mut found);
            assert_within(&what, &found, &added, pixels, TOLERANCE);
            let mut found = vec![f32::NAN; len];
            input_gradient(
                isa, pixels, channels, &s, &gradient, false, None, &mut found,
            );
            assert_within(&what, &found, &back, 1, TOLERANCE);
            let mut found = other.clone();
            let mask = Some((x.as_slice(), Activation::HardSwish));
            input_gradient(isa, pixels, channels, &s, &gradient, true, mask, &mut found);
            assert_within(&what, &found, &masked, 1, TOLERANCE);
        }
    }
}

#[test]
fn averages_match_their_definition() {
    for (batch, pixels, channels) in SHAPES {
        let len = batch * pixels * channels;
        let (x, gradient) = (random("x", len), random("gradient", batch * channels));
        let other = random("other", len);
        let place = |i: usize| i / (pixels * channels) * channels + i % channels;
        let mut mean = vec![0.0; gradient.len()];
        for (i, &x) in x.iter().enumerate() {
            mean[place(i)] += f64::from(x) / pixels as f64;
        }
        let back: Vec<f64> = (0..len)
            .map(|i| f64::from(gradient[place(i)]) / pixels as f64)
            .collect();
        let masked: Vec<f64> = (slopes(&x).iter().enumerate())
            .map(|(i, slope)| (back[i] + f64::from(other[i])) * slope)
            .collect();
        for isa in Isa::available() {
            let what = format!("{} {batch}x{pixels}x{channels}", isa.name());
            let mut found = vec![f32::NAN; mean.len()];
            pool::global_average(isa, &x, pixels, channels, &mut found);
            assert_within(&what, &found, &mean, 0, TOLERANCE);
            let call = |add, mask, found: &mut [f32]| {
                pool::global_average_gradient(isa, &gradient, pixels, channels, add, mask, found);
            };
            let mut found = vec![f32::NAN; len];
            call(false, None, &mut found);
            assert_within(&what, &found, &back, 0, TOLERANCE);
            let mut found = other.clone();
            call(
                true,
                Some((x.as_slice(), Activation::HardSwish)),
                &mut found,
            );
            assert_within(&what, &found, &masked, 1, TOLERANCE);
        }
    }
}

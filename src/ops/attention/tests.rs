//! Tests attention against its definition in double precision, and gradients against finite
//! differences.

use super::*;
use crate::ops::reference::{TOLERANCE, assert_within, random};

/// The attention of one picture by its definition.
fn attention(shape: &AttentionShape, tokens: usize, projected: &[f64]) -> Vec<f64> {
    let (channels, width) = (shape.channels, shape.width());
    let at = |which: usize, token: usize, channel: usize| {
        projected[(token * 3 + which) * channels + channel]
    };
    let mut output = vec![0.0; tokens * channels];
    for head in 0..shape.heads {
        let own = head * width..(head + 1) * width;
        for query in 0..tokens {
            let scores = (0..tokens).map(|key| {
                let products = own.clone().map(|c| at(0, query, c) * at(1, key, c));
                (products.sum::<f64>() / (width as f64).sqrt()).exp()
            });
            let scores: Vec<f64> = scores.collect();
            let sum: f64 = scores.iter().sum();
            for c in own.clone() {
                let weighted = scores.iter().enumerate().map(|(key, s)| s * at(2, key, c));
                output[query * channels + c] = weighted.sum::<f64>() / sum;
            }
        }
    }
    output
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

#[test]
fn attention_and_its_gradient_match_their_definition() {
    for (batch, tokens, heads, width) in [(1, 1, 1, 4), (2, 5, 3, 6), (1, 61, 2, 8), (1, 18, 1, 40)]
    {
        let shape = AttentionShape {
            channels: heads * width,
            heads,
        };
        let size = tokens * shape.channels;
        // Products large enough that the probabilities differ.
        let projected: Vec<f32> = (random("projected", batch * 3 * size).iter())
            .map(|v| 2.0 * v)
            .collect();
        let gradient = random("gradient", batch * size);
        let (mut output, mut back) = (Vec::new(), Vec::new());
        for picture in 0..batch {
            let own = wide(&projected[picture * 3 * size..(picture + 1) * 3 * size]);
            let slope = wide(&gradient[picture * size..(picture + 1) * size]);
            output.extend(attention(&shape, tokens, &own));
            for place in 0..own.len() {
                let moved = |by: f64| {
                    let mut values = own.clone();
                    values[place] += by;
                    let output = attention(&shape, tokens, &values);
                    output.iter().zip(&slope).map(|(o, g)| o * g).sum::<f64>()
                };
                back.push((moved(1e-5) - moved(-1e-5)) / 2e-5);
            }
        }
        for isa in Isa::available() {
            let what = format!("{} {batch}x{tokens}, {heads} of {width}", isa.name());
            let mut found = vec![f32::NAN; output.len()];
            forward(isa, &shape, tokens, &projected, &mut found);
            assert_within(&what, &found, &output, 1, TOLERANCE);
            let mut found = vec![f32::NAN; back.len()];
            super::gradient(isa, &shape, tokens, &projected, &gradient, &mut found);
            assert_within(&what, &found, &back, 1, 3.0 * TOLERANCE);
        }
    }
}

#[test]
fn large_products_saturate_and_nan_is_noticed() {
    let shape = AttentionShape {
        channels: 2,
        heads: 1,
    };
    for isa in Isa::available() {
        let mut projected = vec![0.0f32; 3 * 6];
        // The first key matches every query far better than the others.
        for token in 0..3 {
            projected[token * 6] = 1e4;
            projected[token * 6 + 4] = token as f32;
        }
        projected[2] = 1e4;
        let mut found = [f32::NAN; 6];
        forward(isa, &shape, 3, &projected, &mut found);
        assert!(found.iter().all(|v| v.abs() < 1e-6), "{found:?}");
        projected[2] = f32::NAN;
        forward(isa, &shape, 3, &projected, &mut found);
        assert!(found.iter().all(|v| v.is_nan()), "{found:?}");
    }
}

//! Multiplication by one factor per channel and picture: the gate of squeeze-and-excitation.
//!
//! With values `x` `[batch, pixels, channels]` and factors `s` `[batch, channels]`, the result is
//! `y[n, p, c] = x[n, p, c] * s[n, c]`.

use rayon::prelude::*;

use super::activation::Activation;
use super::isa::{Arithmetic, Isa, Op};
use super::pool::PIXELS;

/// Computes `out = x * s`.
///
/// # Panics
/// If the lengths do not match.
pub fn forward(isa: Isa, pixels: usize, channels: usize, x: &[f32], s: &[f32], out: &mut [f32]) {
    scale(isa, pixels, channels, s, x, false, None, out);
}

/// Computes the gradient of `s`, the sum over pixels of `x * gradient`. With `add`, it is added to
/// the contents of `out`; `mask` turns it into the gradient before the activation that produced
/// `s`, see [`Activation::mask`].
///
/// # Panics
/// If the lengths do not match.
#[allow(clippy::too_many_arguments)]
pub fn gate_gradient(
    isa: Isa,
    pixels: usize,
    channels: usize,
    x: &[f32],
    gradient: &[f32],
    add: bool,
    mask: Option<(&[f32], Activation)>,
    out: &mut [f32],
) {
    assert_eq!(x.len(), gradient.len());
    assert_eq!(x.len(), out.len() * pixels);
    assert!(mask.is_none_or(|(points, _)| points.len() == out.len()));
    if out.is_empty() {
        return;
    }
    assert!(out.len().is_multiple_of(channels));
    let size = pixels * channels;
    out.par_chunks_mut(channels)
        .enumerate()
        .for_each(|(n, out)| {
            let range = n * size..(n + 1) * size;
            let own = n * channels..(n + 1) * channels;
            isa.run(Products {
                x: &x[range.clone()],
                gradient: &gradient[range],
                add,
                mask: mask.map(|(points, a)| (&points[own], a)),
                out,
            });
        });
}

/// Computes the gradient of `x`. With `add`, it is added to the contents of `out`; `mask` turns it
/// into the gradient before the activation that produced `x`, see [`Activation::mask`].
///
/// # Panics
/// If the lengths do not match.
#[allow(clippy::too_many_arguments)]
pub fn input_gradient(
    isa: Isa,
    pixels: usize,
    channels: usize,
    s: &[f32],
    gradient: &[f32],
    add: bool,
    mask: Option<(&[f32], Activation)>,
    out: &mut [f32],
) {
    scale(isa, pixels, channels, s, gradient, add, mask, out);
}

#[allow(clippy::too_many_arguments)]
fn scale(
    isa: Isa,
    pixels: usize,
    channels: usize,
    factors: &[f32],
    values: &[f32],
    add: bool,
    mask: Option<(&[f32], Activation)>,
    out: &mut [f32],
) {
    assert_eq!(values.len(), out.len());
    assert_eq!(values.len(), factors.len() * pixels);
    assert!(mask.is_none_or(|(points, _)| points.len() == out.len()));
    if out.is_empty() {
        return;
    }
    assert!(factors.len().is_multiple_of(channels));
    let line = PIXELS * channels;
    let size = pixels * channels;
    out.par_chunks_mut(size).enumerate().for_each(|(n, out)| {
        let factors = &factors[n * channels..][..channels];
        out.par_chunks_mut(line)
            .enumerate()
            .for_each(|(part, out)| {
                let from = n * size + part * line;
                let range = from..from + out.len();
                isa.run(Scale {
                    factors,
                    values: &values[range.clone()],
                    add,
                    mask: mask.map(|(points, a)| (&points[range], a)),
                    out,
                });
            });
    });
}

struct Scale<'a> {
    factors: &'a [f32],
    values: &'a [f32],
    add: bool,
    mask: Option<(&'a [f32], Activation)>,
    out: &'a mut [f32],
}

impl Op for Scale<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let channels = self.factors.len();
        let pixels = self.out.chunks_exact_mut(channels);
        for (index, (out, values)) in pixels.zip(self.values.chunks_exact(channels)).enumerate() {
            let values = values.iter().zip(self.factors);
            if self.add {
                for (o, (&v, &f)) in out.iter_mut().zip(values) {
                    *o = A::mul_add(v, f, *o);
                }
            } else {
                for (o, (&v, &f)) in out.iter_mut().zip(values) {
                    *o = v * f;
                }
            }
            if let Some((points, activation)) = self.mask {
                activation.mask_with::<A::Vector>(out, &points[index * channels..][..channels]);
            }
        }
    }
}

struct Products<'a> {
    x: &'a [f32],
    gradient: &'a [f32],
    add: bool,
    mask: Option<(&'a [f32], Activation)>,
    out: &'a mut [f32],
}

impl Op for Products<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let channels = self.out.len();
        if !self.add {
            self.out.fill(0.0);
        }
        // A few pixels at a time: one long sum would lose precision.
        let mut sums = vec![0.0f32; channels];
        let size = PIXELS * channels;
        for (x, gradient) in self.x.chunks(size).zip(self.gradient.chunks(size)) {
            sums.fill(0.0);
            let pixels = x.chunks_exact(channels);
            for (x, gradient) in pixels.zip(gradient.chunks_exact(channels)) {
                for (s, (&x, &g)) in sums.iter_mut().zip(x.iter().zip(gradient)) {
                    *s = A::mul_add(x, g, *s);
                }
            }
            for (out, sum) in self.out.iter_mut().zip(&sums) {
                *out += sum;
            }
        }
        if let Some((points, activation)) = self.mask {
            activation.mask_with::<A::Vector>(self.out, points);
        }
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;

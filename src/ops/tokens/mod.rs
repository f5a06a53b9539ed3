//! Conversion of picture patches to tokens: some tokens that belong to no position come first, and
//! every patch gets a position embedding added.
//!
//! Patches are `[batch, patches, channels]`, tokens `[batch, first tokens + patches, channels]`.

pub mod positions;

use rayon::prelude::*;

use super::activation::Activation;
use super::isa::{Arithmetic, Isa, Op};

/// Writes, for each picture, `first` `[first tokens, channels]`, then the patches plus `positions`
/// `[patches, channels]`.
///
/// # Panics
/// If the lengths do not match.
pub fn forward(isa: Isa, patches: &[f32], first: &[f32], positions: &[f32], output: &mut [f32]) {
    let size = positions.len();
    assert!(size > 0 && patches.len().is_multiple_of(size));
    assert_eq!(output.len(), patches.len() / size * (first.len() + size));
    output
        .par_chunks_mut(first.len() + size)
        .zip(patches.par_chunks(size))
        .for_each(|(tokens, patches)| {
            let (start, rest) = tokens.split_at_mut(first.len());
            start.copy_from_slice(first);
            isa.run(Sum {
                values: patches,
                others: positions,
                out: rest,
            });
        });
}

/// Writes the sum of the tokens' gradients over these pictures to `sums` `[tokens * channels]`, on
/// the calling thread: the gradient of the first tokens, then that of the positions.
///
/// # Panics
/// If the lengths do not match.
pub fn partial_sums(isa: Isa, gradient: &[f32], sums: &mut [f32]) {
    assert!(!sums.is_empty() && gradient.len().is_multiple_of(sums.len()));
    sums.fill(0.0);
    for picture in gradient.chunks_exact(sums.len()) {
        isa.run(Add { sums, picture });
    }
}

/// Computes the gradient of the patches, `size` values per picture, from that of the tokens. With
/// `add`, it is added to the contents of `out`; `mask` turns it into the gradient before the
/// activation that produced the patches, see [`Activation::mask`].
///
/// # Panics
/// If the lengths do not match.
pub fn input_gradient(
    isa: Isa,
    size: usize,
    gradient: &[f32],
    add: bool,
    mask: Option<(&[f32], Activation)>,
    out: &mut [f32],
) {
    assert!(size > 0 && out.len().is_multiple_of(size));
    let pictures = out.len() / size;
    assert!(mask.is_none_or(|(points, _)| points.len() == out.len()));
    if pictures == 0 {
        return;
    }
    assert!(gradient.len().is_multiple_of(pictures));
    let tokens = gradient.len() / pictures;
    out.par_chunks_mut(size).enumerate().for_each(|(n, out)| {
        let gradient = &gradient[(n + 1) * tokens - size..(n + 1) * tokens];
        isa.run(Patches {
            gradient,
            add,
            mask: mask.map(|(points, a)| (&points[n * size..][..size], a)),
            out,
        });
    });
}

struct Sum<'a> {
    values: &'a [f32],
    others: &'a [f32],
    out: &'a mut [f32],
}

impl Op for Sum<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let values = self.values.iter().zip(self.others);
        for (o, (v, w)) in self.out.iter_mut().zip(values) {
            *o = v + w;
        }
    }
}

struct Add<'a> {
    sums: &'a mut [f32],
    picture: &'a [f32],
}

impl Op for Add<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        for (s, v) in self.sums.iter_mut().zip(self.picture) {
            *s += v;
        }
    }
}

struct Patches<'a> {
    gradient: &'a [f32],
    add: bool,
    mask: Option<(&'a [f32], Activation)>,
    out: &'a mut [f32],
}

impl Op for Patches<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        if self.add {
            for (o, g) in self.out.iter_mut().zip(self.gradient) {
                *o += g;
            }
        } else {
            self.out.copy_from_slice(self.gradient);
        }
        if let Some((points, activation)) = self.mask {
            activation.mask_with::<A::Vector>(self.out, points);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::reference::random;

    #[test]
    fn tokens_and_their_gradients_match_their_definition() {
        let (batch, first, patches, channels) = (3, 2, 5, 7);
        let (size, tokens) = (patches * channels, (first + patches) * channels);
        let input = random("patches", batch * size);
        let (start, positions) = (random("first", first * channels), random("positions", size));
        let gradient = random("gradient", batch * tokens);
        for isa in Isa::available() {
            let mut found = vec![f32::NAN; batch * tokens];
            forward(isa, &input, &start, &positions, &mut found);
            let mut sums = vec![f32::NAN; tokens];
            partial_sums(isa, &gradient, &mut sums);
            let mut back = vec![1.0; batch * size];
            input_gradient(isa, size, &gradient, true, None, &mut back);
            for n in 0..batch {
                for place in 0..tokens {
                    let expected = match place.checked_sub(start.len()) {
                        None => start[place],
                        Some(p) => input[n * size + p] + positions[p],
                    };
                    assert_eq!(found[n * tokens + place], expected);
                }
                for place in 0..size {
                    let of_token = gradient[n * tokens + start.len() + place];
                    assert_eq!(back[n * size + place], 1.0 + of_token);
                }
            }
            for place in 0..tokens {
                let sum: f32 = (0..batch).map(|n| gradient[n * tokens + place]).sum();
                assert!((sums[place] - sum).abs() < 1e-6);
            }
        }
    }
}

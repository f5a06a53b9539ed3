//! Element-wise passes over memory.

use rayon::prelude::*;

use super::activation::Activation;
use super::isa::{Arithmetic, Isa, Op};

/// Number of elements that one task of an element-wise pass processes.
pub(super) const CHUNK: usize = 1 << 15;

struct AddMask<'a> {
    gradient: &'a mut [f32],
    addend: Option<&'a [f32]>,
    mask: Option<(&'a [f32], Activation)>,
}

impl Op for AddMask<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        if let Some(addend) = self.addend {
            for (g, &a) in self.gradient.iter_mut().zip(addend) {
                *g += a;
            }
        }
        if let Some((points, activation)) = self.mask {
            activation.mask_with::<A::Vector>(self.gradient, points);
        }
    }
}

/// Computes `gradient += addend`, then multiplies by the derivative of the activation: see
/// [`Activation::mask`].
///
/// # Panics
/// If the lengths differ.
pub fn add_mask(
    isa: Isa,
    gradient: &mut [f32],
    addend: Option<&[f32]>,
    mask: Option<(&[f32], Activation)>,
) {
    assert!(addend.is_none_or(|a| a.len() == gradient.len()));
    assert!(mask.is_none_or(|(points, _)| points.len() == gradient.len()));
    gradient
        .par_chunks_mut(CHUNK)
        .enumerate()
        .for_each(|(index, gradient)| {
            let range = index * CHUNK..index * CHUNK + gradient.len();
            isa.run(AddMask {
                addend: addend.map(|a| &a[range.clone()]),
                mask: mask.map(|(points, activation)| (&points[range], activation)),
                gradient,
            });
        });
}

struct Activate<'a> {
    activation: Activation,
    values: &'a mut [f32],
    output: &'a mut [f32],
}

impl Op for Activate<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        /// Number of values that are copied and then processed while they are in the L1 cache.
        const NEAR: usize = 1024;
        let parts = self.output.chunks_mut(NEAR);
        for (output, values) in parts.zip(self.values.chunks_mut(NEAR)) {
            output.copy_from_slice(values);
            self.activation
                .apply_keeping_slope::<A::Vector>(output, values);
        }
    }
}

/// Computes `output = activation(values)` and replaces the values by their derivatives, if these
/// [are kept](Activation::keeps_slope).
///
/// # Panics
/// If the lengths differ.
pub fn activate(isa: Isa, activation: Activation, values: &mut [f32], output: &mut [f32]) {
    assert_eq!(values.len(), output.len());
    output
        .par_chunks_mut(CHUNK)
        .zip(values.par_chunks_mut(CHUNK))
        .for_each(|(output, values)| {
            isa.run(Activate {
                activation,
                values,
                output,
            });
        });
}

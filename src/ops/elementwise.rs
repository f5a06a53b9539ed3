//! Activations, and passes over memory that do one thing to each element.

use rayon::prelude::*;

use super::isa::{Arithmetic, Isa, Op};

/// Elements that one task of an element-wise pass handles.
pub(super) const CHUNK: usize = 1 << 15;

/// What follows a convolution. The derivative is told from the output, so that the input need not
/// be kept; at the corners it is 0, as in PyTorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// The identity.
    None,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
}

impl Activation {
    /// Applies it in place. NaN stays NaN, so that a diverged model is noticed.
    #[inline(always)]
    pub fn apply(self, values: &mut [f32]) {
        match self {
            Activation::None => {}
            Activation::Relu => {
                for v in values {
                    *v = if *v < 0.0 { 0.0 } else { *v };
                }
            }
            Activation::Relu6 => {
                for v in values {
                    let floor = if *v < 0.0 { 0.0 } else { *v };
                    *v = if floor > 6.0 { 6.0 } else { floor };
                }
            }
        }
    }

    /// Sets the gradient to 0 where the derivative at the point with this `output` is 0.
    #[inline(always)]
    pub fn mask(self, gradient: &mut [f32], output: &[f32]) {
        match self {
            Activation::None => {}
            Activation::Relu => {
                for (g, &y) in gradient.iter_mut().zip(output) {
                    *g = if y > 0.0 { *g } else { 0.0 };
                }
            }
            Activation::Relu6 => {
                for (g, &y) in gradient.iter_mut().zip(output) {
                    *g = if (y > 0.0) & (y < 6.0) { *g } else { 0.0 };
                }
            }
        }
    }
}

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
        if let Some((output, activation)) = self.mask {
            activation.mask(self.gradient, output);
        }
    }
}

/// `gradient += addend`, then masked by the derivative of the activation with the given output.
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
    assert!(mask.is_none_or(|(output, _)| output.len() == gradient.len()));
    gradient
        .par_chunks_mut(CHUNK)
        .enumerate()
        .for_each(|(index, gradient)| {
            let range = index * CHUNK..index * CHUNK + gradient.len();
            isa.run(AddMask {
                addend: addend.map(|a| &a[range.clone()]),
                mask: mask.map(|(output, activation)| (&output[range], activation)),
                gradient,
            });
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_and_masks_at_the_corners() {
        let input = [-1.0, 0.0, 3.0, 6.0, 7.0, f32::NAN];
        let mut relu6 = input;
        Activation::Relu6.apply(&mut relu6);
        assert_eq!(relu6[..5], [0.0, 0.0, 3.0, 6.0, 6.0]);
        assert!(relu6[5].is_nan());
        let mut gradient = [1.0; 5];
        Activation::Relu6.mask(&mut gradient, &relu6[..5]);
        assert_eq!(gradient, [0.0, 0.0, 1.0, 0.0, 0.0]);
        let mut relu = input;
        Activation::Relu.apply(&mut relu);
        assert_eq!(relu[..5], [0.0, 0.0, 3.0, 6.0, 7.0]);
        assert!(relu[5].is_nan());
    }
}

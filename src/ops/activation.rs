//! Activations and their derivatives, over vectors of any instruction set.

use super::vector::{self, Vector};

/// What follows a convolution.
///
/// The backward pass is told of the point by its output where that suffices, so that the input need
/// not be kept, and by the input where not: see [`Activation::reads_input`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// The identity.
    None,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// x / (1 + exp(-x)), also known as swish.
    Silu,
    /// x min(max(x + 3, 0), 6) / 6.
    HardSwish,
    /// x times the standard normal distribution function of x, exactly (with erf).
    Gelu,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
    /// min(max(x + 3, 0), 6) / 6.
    HardSigmoid,
}

/// Beyond it a sigmoid is flat, and within it an exponential is a normal number.
const FLAT_SIGMOID: f32 = 87.0;
/// Beyond it the normal distribution is flat, and within it its density is a normal number.
const FLAT_NORMAL: f32 = 12.5;
const SIXTH: f32 = 1.0 / 6.0;
/// 1 / sqrt(2 pi).
const INVERSE_ROOT_TWO_PI: f32 = 0.398_942_3;

/// Changes every value, or every value with the one beside it. A macro, since a function that takes
/// the change as a closure may be compiled apart, for the default target.
macro_rules! each {
    ($values:expr, $v:ident, $x:ident => $result:expr) => {{
        let (place, len) = ($values.as_mut_ptr(), $values.len());
        let mut at = 0;
        while at < len {
            // SAFETY: of the vector from `at` the values that lie in the slice are read.
            let $x = unsafe { $v::load(place.add(at), len - at) };
            let result: $v = $result;
            // SAFETY: and written.
            unsafe { result.store(place.add(at), len - at) };
            at += $v::LANES;
        }
    }};
    ($values:expr, $beside:expr, $v:ident, $x:ident, $y:ident => $result:expr) => {{
        assert_eq!($values.len(), $beside.len());
        let (place, len) = ($values.as_mut_ptr(), $values.len());
        let beside = $beside.as_ptr();
        let mut at = 0;
        while at < len {
            // SAFETY: of the vectors from `at` the values that lie in the slices are read.
            let ($x, $y) = unsafe {
                (
                    $v::load(place.add(at), len - at),
                    $v::load(beside.add(at), len - at),
                )
            };
            let result: $v = $result;
            // SAFETY: and written.
            unsafe { result.store(place.add(at), len - at) };
            at += $v::LANES;
        }
    }};
}

impl Activation {
    /// Whether the derivative is told from the input of the activation (else from its output).
    pub fn reads_input(self) -> bool {
        matches!(
            self,
            Activation::Silu | Activation::HardSwish | Activation::Gelu
        )
    }

    /// Whether it takes an instruction or two, so that kernels apply it to their registers.
    pub(super) fn is_plain(self) -> bool {
        matches!(
            self,
            Activation::None | Activation::Relu | Activation::Relu6
        )
    }

    /// Applies it in place. NaN stays NaN, so that a diverged model is noticed.
    pub fn apply(self, values: &mut [f32]) {
        self.apply_with::<vector::Portable>(values);
    }

    /// Multiplies the gradient by the derivative at the points given by `values`: the inputs of the
    /// activation if it [reads them](Activation::reads_input), else its outputs. Corners count as
    /// in PyTorch: as the flat side, but for hard swish at 3, where the slope is 1.
    pub fn mask(self, gradient: &mut [f32], values: &[f32]) {
        self.mask_with::<vector::Portable>(gradient, values);
    }

    /// [`Activation::apply`] with the vectors of an instruction set.
    #[inline(always)]
    pub(super) fn apply_with<V: Vector>(self, values: &mut [f32]) {
        match self {
            Activation::None => {}
            Activation::Relu => each!(values, V, x => x.relu()),
            Activation::Relu6 => each!(values, V, x => x.relu6()),
            Activation::Silu => each!(values, V, x => silu(x)),
            Activation::HardSwish => each!(values, V, x => hard_swish(x)),
            Activation::Gelu => each!(values, V, x => gelu(x)),
            Activation::Sigmoid => each!(values, V, x => sigmoid(x)),
            Activation::HardSigmoid => each!(values, V, x => hard_sigmoid(x)),
        }
    }

    /// [`Activation::mask`] with the vectors of an instruction set.
    #[inline(always)]
    pub(super) fn mask_with<V: Vector>(self, gradient: &mut [f32], values: &[f32]) {
        match self {
            Activation::None => {}
            Activation::Relu => each!(gradient, values, V, g, y => g.where_positive(y)),
            Activation::Relu6 => each!(gradient, values, V, g, y => g.where_inside(y)),
            Activation::Silu => each!(gradient, values, V, g, z => g.mul(silu_slope(z))),
            Activation::HardSwish => {
                each!(gradient, values, V, g, z => hard_swish_gradient(g, z));
            }
            Activation::Gelu => each!(gradient, values, V, g, z => g.mul(gelu_slope(z))),
            Activation::Sigmoid => {
                each!(gradient, values, V, g, y => g.mul(y).mul(V::splat(1.0).sub(y)));
            }
            Activation::HardSigmoid => each!(gradient, values, V, g, y => {
                g.mul(V::splat(SIXTH)).where_inside(y.mul(V::splat(6.0)))
            }),
        }
    }
}

/// What is left of an epilogue for finished values, which are still in the L1 cache: activations
/// that would take too many registers, and the mask after them.
#[derive(Clone, Copy)]
pub(super) struct Late {
    activation: Activation,
    mask: *const f32,
    mask_activation: Activation,
}

impl Late {
    /// Takes it out of an epilogue, if the registers cannot do all of it.
    #[inline(always)]
    pub(super) fn take(
        activation: &mut Activation,
        mask: &mut *const f32,
        mask_activation: Activation,
    ) -> Option<Self> {
        if activation.is_plain() && (mask.is_null() || mask_activation.is_plain()) {
            return None;
        }
        Some(Late {
            activation: std::mem::replace(activation, Activation::None),
            mask: std::mem::replace(mask, std::ptr::null()),
            mask_activation,
        })
    }

    /// Finishes `count` values from place `at` of the destination (and the mask).
    ///
    /// # Safety
    /// Destination and mask, if there is one, must be valid for `at + count` values, and those of
    /// the destination belong to the caller alone.
    #[inline(always)]
    pub(super) unsafe fn finish<V: Vector>(&self, destination: *mut f32, at: usize, count: usize) {
        // SAFETY: by the caller's promise.
        let values = unsafe { std::slice::from_raw_parts_mut(destination.add(at), count) };
        self.activation.apply_with::<V>(values);
        if !self.mask.is_null() {
            // SAFETY: by the caller's promise.
            let points = unsafe { std::slice::from_raw_parts(self.mask.add(at), count) };
            self.mask_activation.mask_with::<V>(values, points);
        }
    }
}

/// e^x for x from -87 to 88, to about one unit in the last place.
///
/// x = n ln 2 + r with |r| at most half of ln 2; the series of e^r ends at r^7 / 7!, and 2^n goes
/// to the exponent's bits.
#[inline(always)]
pub(super) fn exponential<V: Vector>(x: V) -> V {
    // A number of this size has no bits behind the point: the sum is rounded to an integer, which
    // its lowest bits hold.
    const ROUNDER: f32 = 12_582_912.0;
    // ln 2 in two parts, the first with so few digits that its product with n is exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = (std::f64::consts::LN_2 - 355.0 / 512.0) as f32;
    const FACTORIALS: [f32; 7] = [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        1.0 / 2.0,
        1.0,
        1.0,
    ];
    let rounder = V::splat(ROUNDER);
    let shifted = x.mul_add(V::splat(std::f32::consts::LOG2_E), rounder);
    let n = shifted.sub(rounder);
    let r = n.mul_add(V::splat(-LN_2_HIGH), x);
    let r = n.mul_add(V::splat(-LN_2_LOW), r);
    let mut sum = V::splat(1.0 / 5040.0);
    for factor in FACTORIALS {
        sum = sum.mul_add(r, V::splat(factor));
    }
    sum.shift_exponent(shifted)
}

/// e^-x and 1 / (1 + e^-x), where x is taken to be at most [`FLAT_SIGMOID`] from 0.
#[inline(always)]
fn sigmoid_parts<V: Vector>(x: V) -> (V, V) {
    let one = V::splat(1.0);
    let exponential = exponential(V::splat(0.0).sub(x));
    (exponential, one.add(exponential).reciprocal())
}

#[inline(always)]
fn clamp<V: Vector>(x: V, limit: f32) -> V {
    x.maximum(V::splat(-limit)).minimum(V::splat(limit))
}

#[inline(always)]
fn sigmoid<V: Vector>(x: V) -> V {
    let x = clamp(x, FLAT_SIGMOID);
    let (_, sigmoid) = sigmoid_parts(x);
    // The exponential of a NaN may be any number: 0, or NaN once more, is added.
    sigmoid.add(x.sub(x))
}

#[inline(always)]
fn silu<V: Vector>(x: V) -> V {
    let (_, sigmoid) = sigmoid_parts(clamp(x, FLAT_SIGMOID));
    // The limit at minus infinity is 0, not a product of infinity.
    x.maximum(V::splat(-FLAT_SIGMOID)).mul(sigmoid)
}

/// s + x s (1 - s) with the sigmoid s.
#[inline(always)]
fn silu_slope<V: Vector>(x: V) -> V {
    let x = clamp(x, FLAT_SIGMOID);
    let (exponential, sigmoid) = sigmoid_parts(x);
    // 1 - s = e^-x s, without cancellation.
    let rest = exponential.mul(sigmoid).mul(x);
    sigmoid.mul(rest.add(V::splat(1.0)))
}

#[inline(always)]
fn hard_sigmoid<V: Vector>(x: V) -> V {
    x.add(V::splat(3.0)).relu6().mul(V::splat(SIXTH))
}

#[inline(always)]
fn hard_swish<V: Vector>(x: V) -> V {
    // The limit at minus infinity is 0, not a product of infinity.
    x.maximum(V::splat(-3.0)).mul(hard_sigmoid(x))
}

#[inline(always)]
fn hard_swish_gradient<V: Vector>(gradient: V, x: V) -> V {
    let slope = x.mul_add(V::splat(1.0 / 3.0), V::splat(0.5));
    let slope = x.where_below(V::splat(3.0), slope, V::splat(1.0));
    gradient.mul(slope).where_positive(x.add(V::splat(3.0)))
}

/// The normal distribution function of x, and e^(-x^2 / 2). Of the smaller tail the relative error
/// is small too.
#[inline(always)]
fn normal<V: Vector>(x: V) -> (V, V) {
    // The tail behind u > 0 divided by e^(-u^2 / 2) is smooth: a polynomial of (u - 3) / (u + 3),
    // which takes 0..12.5 to -1..0.62. Coefficients by interpolation of the complementary error
    // function at Chebyshev's points; the relative error is below 3e-8.
    const MIDDLE: f32 = 3.0;
    const TAIL: [f32; 9] = [
        1.135_813_3e-4,
        -3.392_950_2e-4,
        -9.821_138e-4,
        2.904_802e-3,
        6.131_612e-3,
        -4.621_336e-2,
        1.232_250_7e-1,
        -2.064_026_2e-1,
        1.215_139_5e-1,
    ];
    let one = V::splat(1.0);
    let distance = x.maximum(V::splat(0.0).sub(x));
    let u = distance.minimum(V::splat(FLAT_NORMAL));
    let density = exponential(u.mul(u).mul(V::splat(-0.5)));
    let place = u
        .sub(V::splat(MIDDLE))
        .mul(u.add(V::splat(MIDDLE)).reciprocal());
    let mut tail = V::splat(5.257_097_5e-5);
    for factor in TAIL {
        tail = tail.mul_add(place, V::splat(factor));
    }
    let tail = tail.mul(density);
    let whole = x.where_below(V::splat(0.0), tail, one.sub(tail));
    (whole, density)
}

#[inline(always)]
fn gelu<V: Vector>(x: V) -> V {
    let (below, _) = normal(x);
    // The limit at minus infinity is 0, not a product of infinity.
    x.maximum(V::splat(-FLAT_NORMAL)).mul(below)
}

#[inline(always)]
fn gelu_slope<V: Vector>(x: V) -> V {
    let (below, density) = normal(x);
    let x = clamp(x, FLAT_NORMAL);
    x.mul(density).mul_add(V::splat(INVERSE_ROOT_TWO_PI), below)
}

#[cfg(test)]
#[path = "activation_tests.rs"]
mod tests;

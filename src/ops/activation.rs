//! Activations and their derivatives, for vectors of any instruction set.

use super::vector::{self, Vector};

/// The activation that follows a convolution.
///
/// The backward pass computes the derivative from the output where that is possible; otherwise the
/// forward pass keeps the derivative itself, which shares most of its work with the value: see
/// [`Activation::keeps_slope`].
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
    /// x times the standard normal distribution function of x, exact (with erf).
    Gelu,
    /// x / (1 + exp(-1.702 x)), a coarser approximation of GELU.
    QuickGelu,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
    /// min(max(x + 3, 0), 6) / 6.
    HardSigmoid,
}

/// Beyond this a sigmoid is flat, and within it an exponential is a normal number.
const FLAT_SIGMOID: f32 = 87.0;
/// Beyond this the normal distribution function is flat to the last bit of 1.
const FLAT_NORMAL: f32 = 5.45;
/// Within this the normal density is a normal floating-point number.
const FLAT_DENSITY: f32 = 12.5;
const SIXTH: f32 = 1.0 / 6.0;
/// The factor on the sigmoid's input in CLIP's GELU.
const QUICK: f32 = 1.702;
/// 1 / sqrt(2 pi).
const INVERSE_ROOT_TWO_PI: f32 = 0.398_942_3;

/// Maps every value, or every value together with its counterpart in a second slice. A macro,
/// because a function that takes the mapping as a closure might be compiled separately, for the
/// default target.
macro_rules! each {
    ($values:expr, $v:ident, $x:ident => $result:expr) => {{
        let (place, len) = ($values.as_mut_ptr(), $values.len());
        let mut at = 0;
        while at < len {
            // SAFETY: only those values of the vector at `at` that lie in the slice are read.
            let $x = unsafe { $v::load(place.add(at), len - at) };
            let result: $v = $result;
            // SAFETY: likewise for writes.
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
            // SAFETY: only those values of the vectors at `at` that lie in the slices are read.
            let ($x, $y) = unsafe {
                (
                    $v::load(place.add(at), len - at),
                    $v::load(beside.add(at), len - at),
                )
            };
            let result: $v = $result;
            // SAFETY: likewise for writes.
            unsafe { result.store(place.add(at), len - at) };
            at += $v::LANES;
        }
    }};
}

/// Maps every value to a pair: the first replaces the value, the second goes to the other slice.
macro_rules! each_pair {
    ($values:expr, $beside:expr, $v:ident, $x:ident => $result:expr) => {{
        assert_eq!($values.len(), $beside.len());
        let (place, len) = ($values.as_mut_ptr(), $values.len());
        let beside = $beside.as_mut_ptr();
        let mut at = 0;
        while at < len {
            // SAFETY: only those values of the vector at `at` that lie in the slice are read.
            let $x = unsafe { $v::load(place.add(at), len - at) };
            let (value, second): ($v, $v) = $result;
            // SAFETY: likewise for writes to both slices, which have the same length.
            unsafe {
                value.store(place.add(at), len - at);
                second.store(beside.add(at), len - at);
            }
            at += $v::LANES;
        }
    }};
}

impl Activation {
    /// Returns whether the forward pass keeps the derivative for the backward pass, because it
    /// cannot be computed from the output.
    pub fn keeps_slope(self) -> bool {
        matches!(
            self,
            Activation::Silu | Activation::HardSwish | Activation::Gelu | Activation::QuickGelu
        )
    }

    /// Returns whether it takes only an instruction or two, so that kernels apply it in registers.
    pub(super) fn is_plain(self) -> bool {
        matches!(
            self,
            Activation::None | Activation::Relu | Activation::Relu6
        )
    }

    /// Applies the activation in place. NaN stays NaN, so that a diverged model is noticed.
    pub fn apply(self, values: &mut [f32]) {
        self.apply_with::<vector::Portable>(values);
    }

    /// Multiplies the gradient by the derivative, which is obtained from `told`: the outputs of the
    /// activation, or the derivatives themselves if they [are kept](Activation::keeps_slope). At
    /// corners the derivative is that of the flat side, as in PyTorch, except for hard swish at 3,
    /// where it is 1.
    pub fn mask(self, gradient: &mut [f32], told: &[f32]) {
        self.mask_with::<vector::Portable>(gradient, told);
    }

    /// Like [`Activation::apply`], with the vectors of an instruction set.
    #[inline(always)]
    pub(super) fn apply_with<V: Vector>(self, values: &mut [f32]) {
        match self {
            Activation::None => {}
            Activation::Relu => each!(values, V, x => x.relu()),
            Activation::Relu6 => each!(values, V, x => x.relu6()),
            Activation::Silu => each!(values, V, x => silu(x)),
            Activation::HardSwish => each!(values, V, x => hard_swish(x)),
            Activation::Gelu => each!(values, V, x => gelu(x)),
            Activation::QuickGelu => each!(values, V, x => quick_gelu(x)),
            Activation::Sigmoid => each!(values, V, x => sigmoid(x)),
            Activation::HardSigmoid => each!(values, V, x => hard_sigmoid(x)),
        }
    }

    /// Like [`Activation::apply`], with the vectors of an instruction set; writes the derivatives
    /// to `slopes` if they [are kept](Activation::keeps_slope) and otherwise leaves it unchanged.
    #[inline(always)]
    pub(super) fn apply_keeping_slope<V: Vector>(self, values: &mut [f32], slopes: &mut [f32]) {
        match self {
            Activation::Silu => each_pair!(values, slopes, V, x => silu_and_slope(x)),
            Activation::HardSwish => {
                each_pair!(values, slopes, V, x => (hard_swish(x), hard_swish_slope(x)));
            }
            Activation::Gelu => each_pair!(values, slopes, V, x => gelu_and_slope(x)),
            Activation::QuickGelu => each_pair!(values, slopes, V, x => quick_gelu_and_slope(x)),
            _ => self.apply_with::<V>(values),
        }
    }

    /// Like [`Activation::mask`], with the vectors of an instruction set.
    #[inline(always)]
    pub(super) fn mask_with<V: Vector>(self, gradient: &mut [f32], told: &[f32]) {
        if self != Activation::None {
            each!(gradient, told, V, g, t => self.masked(g, t));
        }
    }

    /// Returns the gradient before the activation from the gradient after it.
    #[inline(always)]
    pub(super) fn masked<V: Vector>(self, gradient: V, told: V) -> V {
        match self {
            Activation::None => gradient,
            Activation::Relu => gradient.where_positive(told),
            Activation::Relu6 => gradient.where_inside(told),
            Activation::Silu | Activation::HardSwish | Activation::Gelu | Activation::QuickGelu => {
                gradient.mul(told)
            }
            Activation::Sigmoid => gradient.mul(told).mul(V::splat(1.0).sub(told)),
            Activation::HardSigmoid => {
                let sixth = gradient.mul(V::splat(SIXTH));
                sixth.where_inside(told.mul(V::splat(6.0)))
            }
        }
    }
}

/// The part of an epilogue that is applied to finished values while they are still in the L1 cache:
/// an activation that would need too many registers.
#[derive(Clone, Copy)]
pub(super) struct Late(Activation);

impl Late {
    /// Removes the activation from an epilogue, unless it is plain enough for the registers.
    ///
    /// A mask belongs after the activation, so it would be applied too early here: there must be
    /// none.
    #[inline(always)]
    pub(super) fn take(activation: &mut Activation, mask: *const f32) -> Option<Self> {
        if activation.is_plain() {
            return None;
        }
        debug_assert!(mask.is_null());
        Some(Late(std::mem::replace(activation, Activation::None)))
    }

    /// Finishes `count` values from index `at` of the destination.
    ///
    /// # Safety
    /// The destination must be valid for `at + count` values, which belong to the caller alone.
    #[inline(always)]
    pub(super) unsafe fn finish<V: Vector>(self, destination: *mut f32, at: usize, count: usize) {
        // SAFETY: by the caller's promise.
        let values = unsafe { std::slice::from_raw_parts_mut(destination.add(at), count) };
        self.0.apply_with::<V>(values);
    }
}

/// e^x for x from -87 to 88, to about one unit in the last place.
///
/// x = n ln 2 + r with |r| at most half of ln 2; the series of e^r ends at r^7 / 7!, and n is added
/// to the exponent bits.
#[inline(always)]
pub(super) fn exponential<V: Vector>(x: V) -> V {
    // Floats of this magnitude have no fractional bits: the sum is rounded to an integer, which its
    // lowest bits hold.
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

/// Returns e^-x and 1 / (1 + e^-x), for x of at most [`FLAT_SIGMOID`] in magnitude.
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
    // The exponential of a NaN may be any number, so x - x is added: 0, or NaN for a NaN.
    sigmoid.add(x.sub(x))
}

#[inline(always)]
fn silu<V: Vector>(x: V) -> V {
    let (_, sigmoid) = sigmoid_parts(clamp(x, FLAT_SIGMOID));
    // The limit at minus infinity is 0; clamping avoids multiplying an infinity.
    x.maximum(V::splat(-FLAT_SIGMOID)).mul(sigmoid)
}

#[inline(always)]
fn quick_gelu<V: Vector>(x: V) -> V {
    let (_, sigmoid) = sigmoid_parts(clamp(x.mul(V::splat(QUICK)), FLAT_SIGMOID));
    // The limit at minus infinity is 0; clamping avoids multiplying an infinity.
    x.maximum(V::splat(-FLAT_SIGMOID / QUICK)).mul(sigmoid)
}

/// The derivative is that of [`silu`] at the scaled input.
#[inline(always)]
fn quick_gelu_and_slope<V: Vector>(x: V) -> (V, V) {
    let (_, slope) = silu_and_slope(x.mul(V::splat(QUICK)));
    (quick_gelu(x), slope)
}

/// Returns x s and s + x s (1 - s), with the sigmoid s.
#[inline(always)]
fn silu_and_slope<V: Vector>(x: V) -> (V, V) {
    let near = clamp(x, FLAT_SIGMOID);
    let (exponential, sigmoid) = sigmoid_parts(near);
    // The limit at minus infinity is 0; clamping avoids multiplying an infinity.
    let value = x.maximum(V::splat(-FLAT_SIGMOID)).mul(sigmoid);
    // 1 - s = e^-x s, without cancellation.
    let rest = exponential.mul(sigmoid).mul(near);
    (value, sigmoid.mul(rest.add(V::splat(1.0))))
}

#[inline(always)]
fn hard_sigmoid<V: Vector>(x: V) -> V {
    x.add(V::splat(3.0)).relu6().mul(V::splat(SIXTH))
}

#[inline(always)]
fn hard_swish<V: Vector>(x: V) -> V {
    // The limit at minus infinity is 0; clamping avoids multiplying an infinity.
    x.maximum(V::splat(-3.0)).mul(hard_sigmoid(x))
}

#[inline(always)]
fn hard_swish_slope<V: Vector>(x: V) -> V {
    let slope = x.mul_add(V::splat(1.0 / 3.0), V::splat(0.5));
    let slope = x.where_below(V::splat(3.0), slope, V::splat(1.0));
    slope.where_positive(x.add(V::splat(3.0)))
}

/// Returns the normal distribution function, to about one unit in the last place of 1.
#[inline(always)]
fn normal<V: Vector>(x: V) -> V {
    // Twice the difference from one half is the error function, which is odd: x P(x^2) / Q(x^2),
    // fitted for the least relative error within the bound (1.5e-8) by iterated weighted least
    // squares.
    const P: [f32; 5] = [
        1.262_284_9e-5,
        3.251_474_7e-4,
        9.279_599e-3,
        6.647_775e-2,
        7.978_845e-1,
    ];
    const Q: [f32; 5] = [
        7.164_711e-5,
        1.849_287_5e-3,
        2.829_485_2e-2,
        2.499_839_4e-1,
        1.0,
    ];
    let near = clamp(x, FLAT_NORMAL);
    let square = near.mul(near);
    let (mut p, mut q) = (V::splat(4.651_667_5e-8), V::splat(1.209_268_2e-6));
    for (above, below) in P.into_iter().zip(Q) {
        p = p.mul_add(square, V::splat(above));
        q = q.mul_add(square, V::splat(below));
    }
    let half = V::splat(0.5);
    let distance = near.mul(half).mul(p).mul(q.reciprocal());
    x.where_below(V::splat(-FLAT_NORMAL), V::splat(0.0), distance.add(half))
}

#[inline(always)]
fn gelu<V: Vector>(x: V) -> V {
    // The limit at minus infinity is 0; clamping avoids multiplying an infinity.
    x.maximum(V::splat(-FLAT_DENSITY)).mul(normal(x))
}

/// Returns x D and D + x d, with the normal distribution function D and its density d.
#[inline(always)]
fn gelu_and_slope<V: Vector>(x: V) -> (V, V) {
    let below = normal(x);
    let near = clamp(x, FLAT_DENSITY);
    let density = exponential(near.mul(near).mul(V::splat(-0.5)));
    let slope = near.mul(density);
    let slope = slope.mul_add(V::splat(INVERSE_ROOT_TWO_PI), below);
    (x.maximum(V::splat(-FLAT_DENSITY)).mul(below), slope)
}

#[cfg(test)]
#[path = "activation_tests.rs"]
mod tests;

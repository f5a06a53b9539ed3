//! The epilogue of depthwise kernels: steps applied to results before they are stored.

use super::super::activation::{Activation, Late};
use super::super::correlate::{Addend, Epilogue};
use super::super::tile::plain;
use super::super::vector::Vector;

/// Panics if a tensor of the epilogue has the wrong length.
pub(super) fn check(channels: usize, epilogue: &Epilogue, len: usize) {
    assert!(epilogue.bias.is_none_or(|b| b.len() == channels));
    assert!(epilogue.mask.is_none_or(|(m, _)| m.len() == len));
    if let Addend::Tensor(addend) = epilogue.addend {
        assert_eq!(addend.len(), len);
    }
}

/// The epilogue of a row of results. All pointers except `output` may be null.
#[derive(Clone, Copy)]
pub(super) struct Ending {
    pub(super) bias: *const f32,
    pub(super) addend: *const f32,
    pub(super) activation: Activation,
    pub(super) mask: *const f32,
    pub(super) mask_activation: Activation,
    pub(super) output: *mut f32,
}

impl Ending {
    /// Returns the epilogue of the row `output`, which begins at element `from` of the tensors.
    pub(super) fn new(epilogue: &Epilogue, from: usize, output: *mut f32) -> Self {
        let null = std::ptr::null();
        // SAFETY: the tensors are longer than `from` by the assertions in `check`.
        let row = |tensor: &[f32]| unsafe { tensor.as_ptr().add(from) };
        Ending {
            bias: epilogue.bias.map_or(null, <[f32]>::as_ptr),
            addend: match epilogue.addend {
                Addend::None => null,
                Addend::Tensor(tensor) => row(tensor),
                Addend::Destination => output.cast_const(),
            },
            activation: epilogue.activation,
            mask: epilogue.mask.map_or(null, |(mask, _)| row(mask)),
            mask_activation: epilogue.mask.map_or(Activation::None, |(_, a)| a),
            output,
        }
    }

    /// Removes and returns the activation, if [`Ending::store`] cannot apply it in registers.
    #[inline(always)]
    pub(super) fn late(&mut self) -> Option<Late> {
        Late::take(&mut self.activation, self.mask)
    }

    /// Stores up to a vector of results at element `at` of the row.
    ///
    /// # Safety
    /// All non-null pointers must be valid for `at + count` values.
    #[inline(always)]
    pub(super) unsafe fn store<V: Vector>(&self, mut value: V, at: usize, count: usize) {
        // SAFETY: by the caller's promise.
        unsafe {
            if !self.addend.is_null() {
                value = value.add(V::load(self.addend.add(at), count));
            }
            value = plain(value, self.activation);
            if !self.mask.is_null() {
                let told = V::load(self.mask.add(at), count);
                value = self.mask_activation.masked(value, told);
            }
            value.store(self.output.add(at), count);
        }
    }
}

//! What happens to results before they are stored.

use super::super::activation::{Activation, Late};
use super::super::correlate::{Addend, Epilogue};
use super::super::tile::plain;
use super::super::vector::Vector;

/// Panics if a part of the epilogue does not have the length that it must have.
pub(super) fn check(channels: usize, epilogue: &Epilogue, len: usize) {
    assert!(epilogue.bias.is_none_or(|b| b.len() == channels));
    assert!(epilogue.mask.is_none_or(|(m, _)| m.len() == len));
    if let Addend::Tensor(addend) = epilogue.addend {
        assert_eq!(addend.len(), len);
    }
}

/// What happens to a row of results. Pointers may be null but for the output's.
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
    /// Of the row `output`, which begins at value `from` of the tensors.
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

    /// What [`Ending::store`] leaves out.
    #[inline(always)]
    pub(super) fn late(&mut self) -> Option<Late> {
        Late::take(&mut self.activation, self.mask)
    }

    /// Stores up to a vector of results at `at` of the row.
    ///
    /// # Safety
    /// The pointers that are not null must be valid for `at + count` values.
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

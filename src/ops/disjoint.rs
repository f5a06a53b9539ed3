//! Writing to one slice from several threads, each to different elements.

use std::marker::PhantomData;

/// A mutable slice shared by threads that promise to access different elements.
pub(super) struct Disjoint<'a, T = f32> {
    start: *mut T,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: the callers of `range` promise that ranges do not overlap, so each element is accessed by
// one thread at a time, as with `split_at_mut`.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}
// SAFETY: it is a `&mut [T]`, which is `Send`.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    /// Borrows the slice for the lifetime of the value.
    pub(super) fn new(slice: &'a mut [T]) -> Self {
        Disjoint {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            borrow: PhantomData,
        }
    }

    /// Returns a pointer to the first element. Writes through it must keep the promise of
    /// [`Disjoint::range`].
    pub(super) fn start(&self) -> *mut T {
        self.start
    }

    /// Returns the elements `from..from + len`; panics if they are not in the slice.
    ///
    /// # Safety
    /// No two ranges that are alive at the same time may overlap.
    #[allow(clippy::mut_from_ref)]
    #[inline(always)]
    pub(super) unsafe fn range(&self, from: usize, len: usize) -> &mut [T] {
        assert!(from <= self.len && len <= self.len - from);
        // SAFETY: inside the slice by the assertion, unaliased by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), len) }
    }
}

//! Writing to one slice from several threads, each to its own places.

use std::marker::PhantomData;

/// A mutable slice that threads share, on their word that they touch different elements.
pub(super) struct Disjoint<'a, T = f32> {
    start: *mut T,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: the callers of `range` promise not to overlap, so that each element is reached by one
// thread at a time, as `split_at_mut` would have it.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}
// SAFETY: it is a `&mut [T]`, which may be sent.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    /// Takes the slice over for its lifetime.
    pub(super) fn new(slice: &'a mut [T]) -> Self {
        Disjoint {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            borrow: PhantomData,
        }
    }

    /// The first element. Writing through it is bound to the promise of [`Disjoint::range`].
    pub(super) fn start(&self) -> *mut T {
        self.start
    }

    /// Elements `from..from + len`; panics outside of the slice.
    ///
    /// # Safety
    /// No two ranges that are alive at the same time may overlap.
    #[allow(clippy::mut_from_ref)]
    #[inline(always)]
    pub(super) unsafe fn range(&self, from: usize, len: usize) -> &mut [T] {
        assert!(from <= self.len && len <= self.len - from);
        // SAFETY: inside of the slice by the assertion, unaliased by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), len) }
    }
}

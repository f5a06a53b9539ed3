//! Cache-line aligned buffers and an arena that reuses them.
//!
//! A training step needs the same sizes again and again. Fresh memory costs a page fault for every
//! 4 KiB when it is first touched, so the arena keeps returned buffers.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

const LANES: usize = 16;

/// One cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LANES]);

/// A fixed-length vector of `f32` that starts at a cache line, so that no full-width vector load
/// straddles two lines.
#[derive(Debug, Default)]
pub struct AlignedVec {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedVec {
    /// Creates a vector of `len` zeros.
    pub fn zeros(len: usize) -> Self {
        AlignedVec {
            lines: vec![Line([0.0; LANES]); len.div_ceil(LANES)],
            len,
        }
    }

    /// Changes the length; the contents are unspecified afterwards.
    pub fn resize(&mut self, len: usize) {
        let lines = len.div_ceil(LANES);
        if lines > self.lines.len() {
            // Not `Vec::resize`, which would copy contents that are not needed.
            self.lines = Vec::new();
            self.lines = vec![Line([0.0; LANES]); lines];
        }
        self.len = len;
    }

    fn capacity(&self) -> usize {
        self.lines.len() * LANES
    }
}

impl Deref for AlignedVec {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: `Line` is `repr(C)` with 16 floats in 64 bytes, without padding, so the lines are
        // `lines.len() * 16 >= len` initialised floats; `zeros`, `resize` and `Arena::take` keep
        // that inequality.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for AlignedVec {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`; the exclusive borrow of `self` covers the lines.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

/// Keeps unused buffers for later requests. Clones share the store.
#[derive(Debug, Clone, Default)]
pub struct Arena(Arc<Mutex<Vec<AlignedVec>>>);

impl Arena {
    /// Creates an empty arena.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a buffer of `len` floats with **unspecified** contents; it goes back to the arena
    /// when dropped.
    pub fn take(&self, len: usize) -> Buffer {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The smallest buffer that fits, unless it is so large that it should be left for other
        // requests.
        let found = free
            .iter()
            .enumerate()
            .filter(|(_, vec)| (len..=2 * len + 1024).contains(&vec.capacity()))
            .min_by_key(|(_, vec)| vec.capacity())
            .map(|(index, _)| index);
        let vec = match found {
            Some(index) => {
                let mut vec = free.swap_remove(index);
                vec.len = len;
                vec
            }
            None => {
                drop(free);
                AlignedVec::zeros(len)
            }
        };
        Buffer {
            vec,
            arena: self.clone(),
        }
    }
}

/// A buffer borrowed from an [`Arena`].
#[derive(Debug)]
pub struct Buffer {
    vec: AlignedVec,
    arena: Arena,
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.vec
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.vec
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let vec = std::mem::take(&mut self.vec);
        self.arena
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(vec);
    }
}

/// Tells the C library to keep freed memory for later allocations, for the whole process.
///
/// A training step allocates and frees tensors as large as the weights; by default, glibc returns
/// their memory to the system, which zeroes every page before handing it out again. On other
/// systems this does nothing.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
    {
        const MIB: libc::c_int = 1 << 20;
        // SAFETY: these calls change limits of the allocator and are allowed at any time.
        unsafe {
            // The largest value that glibc accepts.
            libc::mallopt(libc::M_MMAP_THRESHOLD, 32 * MIB);
            libc::mallopt(libc::M_TRIM_THRESHOLD, 1024 * MIB);
            libc::mallopt(libc::M_TOP_PAD, 64 * MIB);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_buffer_is_lent_again() {
        let arena = Arena::new();
        let first = arena.take(5000);
        let address = first.as_ptr();
        assert_eq!(address as usize % 64, 0);
        drop(first);
        let second = arena.take(4990);
        assert_eq!(second.as_ptr(), address);
        assert_eq!(second.len(), 4990);
        let third = arena.take(5000);
        assert_ne!(third.as_ptr(), address);
    }
}

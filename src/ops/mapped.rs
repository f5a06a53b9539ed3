//! Memory-mapped files.

use std::fmt;
use std::fs::File;
use std::io::{Error, Result};

use memmap2::{Mmap, MmapOptions};

/// The contents of a file, read without a copy: pages come from the system's page cache, which all
/// processes share and which shrinks when memory is needed elsewhere.
///
/// For files that are not shortened or overwritten while they are mapped: files in a folder that
/// belongs to this program, written completely under another name before they are renamed
/// ([`crate::io::write_cached`]). Deleting or replacing such a file is harmless. If it is
/// shortened, the system kills the program at the next access to the missing part.
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps the whole file and prefetches its pages.
    ///
    /// # Errors
    /// If the file is empty, or the system refuses, for example because of too many mappings.
    pub fn new(file: &File) -> Result<Self> {
        let length = usize::try_from(file.metadata()?.len()).map_err(Error::other)?;
        // Some systems report an error for a mapping of zero bytes, others do not.
        if length == 0 {
            return Err(Error::other("an empty file cannot be mapped"));
        }
        // SAFETY: the mapping covers the `length` bytes that the file had just now, and is only
        // read. This type requires of its callers that no one changes the file.
        let map = unsafe { MmapOptions::new().len(length).populate().map(file) }?;
        Ok(MappedFile(map))
    }

    /// Returns the bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MappedFile({} bytes)", self.0.len())
    }
}

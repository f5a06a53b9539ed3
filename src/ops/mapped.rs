//! A file's bytes, mapped into memory.

use std::fmt;
use std::fs::File;
use std::io::{Error, Result};

use memmap2::{Mmap, MmapOptions};

/// The whole of a file, to be read without a copy: pages come from the system's page cache, which
/// all processes share and which gives way when memory is wanted elsewhere.
///
/// For files that nothing shortens or writes over while they are mapped: files of a folder that
/// belongs to this program, written whole under another name before they are renamed
/// ([`crate::io::write_cached`]). Deleting or replacing one is harmless. Shortening one makes
/// the system end the program at the next look at what is missing.
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps the whole file, and asks for its pages at once.
    ///
    /// # Errors
    /// The file is empty, or the system refuses, for one because of too many mappings.
    pub fn new(file: &File) -> Result<Self> {
        let length = usize::try_from(file.metadata()?.len()).map_err(Error::other)?;
        // A mapping of no bytes is an error on some systems and none on others.
        if length == 0 {
            return Err(Error::other("an empty file cannot be mapped"));
        }
        // SAFETY: the mapping is of `length` bytes that the file had just now, and is only read.
        // That no one changes the file is what this type asks of its callers.
        let map = unsafe { MmapOptions::new().len(length).populate().map(file) }?;
        Ok(MappedFile(map))
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MappedFile({} bytes)", self.0.len())
    }
}

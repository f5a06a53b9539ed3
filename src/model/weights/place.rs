//! The location of the bytes of weights: on disk or in the program.

use std::io::{Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use super::embedded::Embedded;

/// The location of the bytes of weights.
#[derive(Debug, Clone)]
pub enum Place {
    /// A file, or a folder of files.
    Disk(PathBuf),
    /// The program itself.
    Embedded(&'static Embedded),
}

impl<P: AsRef<Path> + ?Sized> From<&P> for Place {
    fn from(path: &P) -> Self {
        Place::Disk(path.as_ref().to_owned())
    }
}

/// A byte source that can be read from any position.
pub(super) trait Bytes: Read + Seek {}

impl<T: Read + Seek> Bytes for T {}

impl Place {
    /// Returns the path, or a stand-in for error messages.
    pub fn path(&self) -> &Path {
        match self {
            Place::Disk(path) => path,
            Place::Embedded(embedded) => Path::new(embedded.source),
        }
    }

    /// Opens the bytes and returns their number.
    pub(super) fn open(&self) -> std::io::Result<(Box<dyn Bytes>, u64)> {
        Ok(match self {
            Place::Disk(path) => {
                let file = fs_err::File::open(path)?;
                let length = file.metadata()?.len();
                (Box::new(file), length)
            }
            Place::Embedded(Embedded { bytes, .. }) => {
                (Box::new(Cursor::new(*bytes)), bytes.len() as u64)
            }
        })
    }
}

//! Where the bytes of weights lie: on disk or in the program.

use std::io::{Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use super::embedded::Embedded;

/// Where the bytes of weights lie.
#[derive(Debug, Clone)]
pub enum Place {
    /// A file, or a folder of some.
    Disk(PathBuf),
    /// The program itself.
    Embedded(&'static Embedded),
}

impl<P: AsRef<Path> + ?Sized> From<&P> for Place {
    fn from(path: &P) -> Self {
        Place::Disk(path.as_ref().to_owned())
    }
}

/// Bytes that can be read from any position on.
pub(super) trait Bytes: Read + Seek {}

impl<T: Read + Seek> Bytes for T {}

impl Place {
    /// The path, or what stands for one in errors.
    pub fn path(&self) -> &Path {
        match self {
            Place::Disk(path) => path,
            Place::Embedded(embedded) => Path::new(embedded.source),
        }
    }

    /// Opens the bytes, and says how many there are.
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

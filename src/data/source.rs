//! Where a picture's bytes come from: a file, or a part of an archive.
//!
//! A picture in an archive has the archive's path and its own name in it for a path,
//! `shards/000.tar/cat.jpg`; that is told from a file by the archive being one. Whoever reads pictures
//! reads them through here, so that it makes no difference to them.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::tar::{Tar, has_archive_ending};
use crate::error::Result;

/// A picture's bytes, which have been found and not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PictureSource {
    /// The file that holds them.
    file: PathBuf,
    /// Where they begin in it.
    offset: u64,
    /// How many there are.
    pub length: u64,
    /// When that file was changed last, where the system tells.
    pub changed: Option<SystemTime>,
}

impl PictureSource {
    /// Looks for the bytes of the picture at `path`; `None` if there are none.
    ///
    /// # Errors
    /// The system refuses, or the archive is damaged.
    pub(crate) fn find(path: &Path) -> Result<Option<Self>> {
        match path.metadata() {
            Ok(metadata) => Ok(metadata.is_file().then(|| PictureSource {
                file: path.to_owned(),
                offset: 0,
                length: metadata.len(),
                changed: metadata.modified().ok(),
            })),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Self::in_archive(path)
            }
            // Said again with the path.
            Err(_) => Ok(fs_err::metadata(path).map(|_| None)?),
        }
    }

    fn in_archive(path: &Path) -> Result<Option<Self>> {
        let is_archive = |place: &&Path| has_archive_ending(place) && place.is_file();
        let Some(archive) = path.ancestors().skip(1).find(is_archive) else {
            return Ok(None);
        };
        let Some(name) = path.strip_prefix(archive).ok().and_then(Path::to_str) else {
            return Ok(None);
        };
        let name = name.replace(std::path::MAIN_SEPARATOR, "/");
        let tar = Tar::of(archive)?;
        let changed = fs_err::metadata(archive)?.modified().ok();
        Ok(tar.entry(&name).map(|entry| PictureSource {
            file: archive.to_owned(),
            offset: entry.offset,
            length: entry.length,
            changed,
        }))
    }

    /// Opens the bytes, at the first of them.
    pub(crate) fn open(&self) -> io::Result<Part> {
        let (mut file, _) = fs_err::File::open(&self.file)?.into_parts();
        file.seek(SeekFrom::Start(self.offset))?;
        Ok(Part {
            file,
            first: self.offset,
            length: self.length,
            at: 0,
        })
    }

    /// All the bytes, of which the caller knows that memory can hold them.
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.length as usize);
        self.open()?.read_to_end(&mut bytes)?;
        match bytes.len() as u64 == self.length {
            true => Ok(bytes),
            false => Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                format!("{} ends too early", self.file.display()),
            )),
        }
    }
}

/// A part of a file that reads like a file.
#[derive(Debug)]
pub(crate) struct Part {
    file: File,
    first: u64,
    length: u64,
    at: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.length.saturating_sub(self.at);
        let read = (&mut self.file).take(left).read(buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Part {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
        };
        let at = at.ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
        let place = self.first.checked_add(at).ok_or(ErrorKind::InvalidInput)?;
        self.file.seek(SeekFrom::Start(place))?;
        self.at = at;
        Ok(at)
    }
}

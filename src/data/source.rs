//! Reads the bytes of a picture from a file, from an archive, or from a row of a Parquet file.
//!
//! The path of a picture in an archive is the path of the archive followed by the picture's name
//! within it, `shards/000.tar/cat.jpg`; it is recognised by the archive being a file. In a Parquet
//! file, the name consists of column and row, `train.parquet/image/17`. All pictures are read
//! through this module, so that the rest of the program need not distinguish these cases.

use std::fs::File;
use std::io::{self, Cursor, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::parquet_file::{ParquetFile, has_parquet_ending};
use super::tar::{Tar, has_archive_ending};
use crate::error::{Error, Result};

/// The bytes of a picture, located but not yet read.
#[derive(Debug, Clone)]
pub(crate) struct PictureSource {
    place: Place,
    /// A length that changes when the bytes do: their own, or that of the Parquet file around them.
    pub stamp: u64,
    /// The modification time of the containing file, if the system provides it.
    pub changed: Option<SystemTime>,
}

#[derive(Debug, Clone)]
enum Place {
    /// A range of bytes in a file.
    Part {
        file: PathBuf,
        offset: u64,
        length: u64,
    },
    /// The value of a column in a row.
    Row {
        file: Arc<ParquetFile>,
        column: String,
        row: u64,
    },
}

impl PictureSource {
    /// Locates the bytes of the picture at `path`; returns `None` if it does not exist.
    ///
    /// # Errors
    /// Returns an error if the system denies access or the archive is damaged.
    pub(crate) fn find(path: &Path) -> Result<Option<Self>> {
        match path.metadata() {
            Ok(metadata) => Ok(metadata.is_file().then(|| PictureSource {
                place: Place::Part {
                    file: path.to_owned(),
                    offset: 0,
                    length: metadata.len(),
                },
                stamp: metadata.len(),
                changed: metadata.modified().ok(),
            })),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                let is_file = |place: &&Path| place.is_file();
                let Some(around) = path.ancestors().skip(1).find(is_file) else {
                    return Ok(None);
                };
                let name = path.strip_prefix(around).ok().and_then(Path::to_str);
                let Some(name) = name else { return Ok(None) };
                let name = name.replace(std::path::MAIN_SEPARATOR, "/");
                match around {
                    tar if has_archive_ending(tar) => Self::in_archive(tar, &name),
                    parquet if has_parquet_ending(parquet) => Self::in_table(parquet, &name),
                    _ => Ok(None),
                }
            }
            // Repeated to obtain an error that includes the path.
            Err(_) => Ok(fs_err::metadata(path).map(|_| None)?),
        }
    }

    fn in_archive(archive: &Path, name: &str) -> Result<Option<Self>> {
        let tar = Tar::of(archive)?;
        let changed = fs_err::metadata(archive)?.modified().ok();
        Ok(tar.entry(name).map(|entry| PictureSource {
            place: Place::Part {
                file: archive.to_owned(),
                offset: entry.offset,
                length: entry.length,
            },
            stamp: entry.length,
            changed,
        }))
    }

    fn in_table(table: &Path, name: &str) -> Result<Option<Self>> {
        let file = ParquetFile::of(table)?;
        let parts = name.rsplit_once('/');
        let parts = parts.and_then(|(column, row)| Some((column, row.parse::<u64>().ok()?)));
        let there = parts.filter(|(column, row)| {
            *row < file.rows() && file.picture_column(Some(column)).is_ok()
        });
        Ok(there.map(|(column, row)| PictureSource {
            stamp: file.length,
            changed: file.changed,
            place: Place::Row {
                column: column.to_owned(),
                row,
                file,
            },
        }))
    }

    /// Opens the bytes, positioned at the first.
    ///
    /// # Errors
    /// Returns an error if the system denies access or the row of a Parquet file contains no bytes.
    pub(crate) fn open(&self) -> Result<Part> {
        match &self.place {
            Place::Part {
                file,
                offset,
                length,
            } => {
                let (mut file, _) = fs_err::File::open(file)?.into_parts();
                file.seek(SeekFrom::Start(*offset))?;
                Ok(Part {
                    whole: Whole::File(file),
                    first: *offset,
                    length: *length,
                    at: 0,
                })
            }
            Place::Row { .. } => {
                let bytes = self.read(u64::MAX)?.unwrap_or_default();
                Ok(Part {
                    length: bytes.len() as u64,
                    whole: Whole::Bytes(Cursor::new(bytes)),
                    first: 0,
                    at: 0,
                })
            }
        }
    }

    /// Reads all bytes; returns `None` if there are more than `most`.
    ///
    /// # Errors
    /// Returns the errors of [`PictureSource::open`], or an error if the file ends too early.
    pub(crate) fn read(&self, most: u64) -> Result<Option<Vec<u8>>> {
        match &self.place {
            Place::Part { length, .. } if *length > most => Ok(None),
            Place::Part { file, length, .. } => {
                let mut bytes = Vec::with_capacity(*length as usize);
                self.open()?.read_to_end(&mut bytes)?;
                match bytes.len() as u64 == *length {
                    true => Ok(Some(bytes)),
                    false => Err(Error::Io(io::Error::new(
                        ErrorKind::UnexpectedEof,
                        format!("{} ends too early", file.display()),
                    ))),
                }
            }
            Place::Row { file, column, row } => {
                let bytes = file.picture(column, *row)?.unwrap_or_default();
                Ok((bytes.len() as u64 <= most).then_some(bytes))
            }
        }
    }
}

/// A part of a file that can be read like a file.
#[derive(Debug)]
pub(crate) struct Part {
    whole: Whole,
    first: u64,
    /// The number of bytes.
    pub length: u64,
    at: u64,
}

#[derive(Debug)]
enum Whole {
    File(File),
    Bytes(Cursor<Vec<u8>>),
}

impl Read for &mut Whole {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Whole::File(file) => file.read(buffer),
            Whole::Bytes(bytes) => bytes.read(buffer),
        }
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.length.saturating_sub(self.at);
        let read = (&mut self.whole).take(left).read(buffer)?;
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
        let place = SeekFrom::Start(place);
        match &mut self.whole {
            Whole::File(file) => file.seek(place)?,
            Whole::Bytes(bytes) => bytes.seek(place)?,
        };
        self.at = at;
        Ok(at)
    }
}

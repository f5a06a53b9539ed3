//! Tar archives: which files they contain, and where in the archive the bytes of each are.
//!
//! Uncompressed archives in the POSIX (`ustar`, `pax`) and GNU layouts are supported. An archive is
//! scanned once; only a name and two numbers per file are kept.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::error::{Error, Result};

/// Size of a header in bytes; the contents of every file are padded to a multiple of it.
const BLOCK: usize = 512;
/// Maximum size of an extended name or attribute list, in bytes.
const LONGEST_EXTRA: u64 = 1 << 20;

/// Returns whether a file name has the extension of an archive.
pub(crate) fn has_archive_ending(path: &Path) -> bool {
    (path.extension()).is_some_and(|ending| ending.eq_ignore_ascii_case("tar"))
}

/// A file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name, with `/` between folders.
    pub name: String,
    /// The offset of the first byte.
    pub offset: u64,
    /// The number of bytes.
    pub length: u64,
}

/// The contents of an archive, in its order.
#[derive(Debug, Default)]
pub(crate) struct Tar {
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
    /// Names of links and devices, which have no bytes of their own.
    others: Vec<String>,
}

impl Tar {
    /// Opens the archive at `path`. It is scanned once per process, as long as its length and
    /// modification time do not change.
    ///
    /// # Errors
    /// Returns an error, with the entry or byte, if the file cannot be read or is not a complete
    /// archive.
    pub(crate) fn of(path: &Path) -> Result<Arc<Tar>> {
        type Known = BTreeMap<PathBuf, (u64, Option<SystemTime>, Arc<Tar>)>;
        static KNOWN: Mutex<Known> = Mutex::new(BTreeMap::new());
        let file = fs_err::File::open(path)?;
        let metadata = file.metadata()?;
        let (length, changed) = (metadata.len(), metadata.modified().ok());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(path) {
            Some((of_length, of_time, tar)) if (*of_length, *of_time) == (length, changed) => {
                Ok(tar.clone())
            }
            _ => {
                let tar = Arc::new(Tar::parse(file, length, path)?);
                known.insert(path.to_owned(), (length, changed, tar.clone()));
                Ok(tar)
            }
        }
    }

    /// Returns the files in archive order.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the names of entries without bytes of their own: links and devices.
    pub(crate) fn others(&self) -> &[String] {
        &self.others
    }

    /// Returns the file with that name.
    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(*self.by_name.get(name)?)
    }

    /// Scans an archive of `length` bytes; `path` appears in errors.
    pub(crate) fn parse(mut reader: impl Read + Seek, length: u64, path: &Path) -> Result<Tar> {
        let mut tar = Tar::default();
        let mut extra = Extra::default();
        let mut ended = false;
        let mut at = 0;
        while at < length {
            let cut_off = |what: String| {
                Error::file(path, format_args!("the archive is cut off: {what}"))
                    .hint("copy or download it again")
            };
            if length - at < BLOCK as u64 {
                return Err(cut_off(format!("{} bytes are left over", length - at)));
            }
            reader
                .seek(SeekFrom::Start(at))
                .map_err(|e| Error::file(path, e))?;
            let mut block = [0; BLOCK];
            reader
                .read_exact(&mut block)
                .map_err(|e| Error::file(path, e))?;
            // A zero block marks the end, normally two; concatenated archives continue after it.
            ended = block.iter().all(|&byte| byte == 0);
            if ended {
                at += BLOCK as u64;
                continue;
            }
            let header = Header(&block);
            let broken = |problem: &str| {
                Error::file(
                    path,
                    format_args!("is not a complete tar archive: {problem} at byte {at}"),
                )
                .hint("expected an archive as `tar` writes it, not compressed")
            };
            let mut size = header.check().map_err(broken)?;
            let is_extra = matches!(header.kind(), b'L' | b'K' | b'x' | b'g');
            if let Some(told) = extra.size.take_if(|_| !is_extra) {
                size = told;
            }
            let offset = at + BLOCK as u64;
            if size > length - offset {
                let name = extra.name.clone().unwrap_or_else(|| header.shown_name());
                return Err(cut_off(format!(
                    "`{name}` should have {size} bytes, and {} are left",
                    length - offset
                )));
            }
            if is_extra {
                if size > LONGEST_EXTRA {
                    return Err(broken("a name is longer than a megabyte"));
                }
                let mut bytes = vec![0; size as usize];
                reader
                    .read_exact(&mut bytes)
                    .map_err(|e| Error::file(path, e))?;
                extra.add(header.kind(), &bytes).map_err(broken)?;
            } else {
                let extra = std::mem::take(&mut extra);
                let name = match extra.name {
                    Some(name) => name,
                    None => header.name().map_err(broken)?,
                };
                let what = Entry {
                    name,
                    offset,
                    length: size,
                };
                tar.add(header.kind(), what)
                    .map_err(|problem| Error::file(path, problem))?;
            }
            // Cannot overflow: `size` lies within the file, whose length is that of a real file.
            at = offset + size.next_multiple_of(BLOCK as u64);
        }
        match ended {
            true => Ok(tar),
            false => Err(
                Error::file(path, "the archive is cut off: it has no end mark")
                    .hint("copy or download it again; an archive ends with 512 zero bytes or more"),
            ),
        }
    }

    /// Adds a file; the error says what is wrong with it.
    fn add(&mut self, kind: u8, mut entry: Entry) -> Result<(), String> {
        let name = entry.name.trim_start_matches("./").to_owned();
        if name.chars().any(char::is_control) {
            return Err(format!(
                "the name {name:?} in it contains a control character"
            ));
        }
        // It would be extracted outside the target folder.
        if name.starts_with('/') || name.split('/').any(|part| part == "..") {
            return Err(format!("the name `{name}` in it leads out of the archive"));
        }
        match kind {
            b'0' | 0 | b'7' if !name.is_empty() && !name.ends_with('/') => {
                if self
                    .by_name
                    .insert(name.clone(), self.entries.len())
                    .is_some()
                {
                    return Err(format!("contains `{name}` twice"));
                }
                entry.name = name;
                self.entries.push(entry);
            }
            b'S' => {
                return Err(format!(
                    "`{name}` in it is a sparse file, which is not supported"
                ));
            }
            b'0' | 0 | b'7' | b'5' => {}
            _ => self.others.push(name),
        }
        Ok(())
    }
}

/// Attributes of a file given by preceding entries.
#[derive(Default)]
struct Extra {
    name: Option<String>,
    size: Option<u64>,
}

impl Extra {
    fn add(&mut self, kind: u8, bytes: &[u8]) -> Result<(), &'static str> {
        match kind {
            b'L' => self.name = Some(text(bytes)?),
            b'x' => {
                let mut rest = bytes;
                while let Some(end) = rest.iter().position(|&byte| byte == b' ') {
                    let length = str::from_utf8(&rest[..end])
                        .ok()
                        .and_then(|n| n.parse().ok());
                    let record = length.and_then(|length: usize| rest.get(end + 1..length));
                    let record = record.and_then(|record| record.strip_suffix(b"\n"));
                    let at = record.and_then(|r| r.iter().position(|&byte| byte == b'='));
                    let (Some(record), Some(at), Some(length)) = (record, at, length) else {
                        return Err("a broken list of attributes");
                    };
                    match &record[..at] {
                        b"path" => self.name = Some(text(&record[at + 1..])?),
                        b"size" => {
                            let size = text(&record[at + 1..])?.parse();
                            self.size = Some(size.map_err(|_| "a size that is not a number")?);
                        }
                        key if key.starts_with(b"GNU.sparse") => {
                            return Err("a sparse file, which is not supported,");
                        }
                        _ => {}
                    }
                    rest = &rest[length..];
                }
            }
            // The target of a link, or global attributes, none of which matter here.
            _ => {}
        }
        Ok(())
    }
}

/// Returns the text up to the first zero byte.
fn text(bytes: &[u8]) -> Result<String, &'static str> {
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    let text = str::from_utf8(&bytes[..end]).map_err(|_| "a name that is not UTF-8")?;
    Ok(text.to_owned())
}

/// The header block of a file.
struct Header<'a>(&'a [u8; BLOCK]);

impl Header<'_> {
    /// Verifies the checksum and returns the size of the file.
    fn check(&self) -> Result<u64, &'static str> {
        let sum: u64 = (self.0.iter().enumerate())
            .map(|(i, &byte)| u64::from(if (148..156).contains(&i) { b' ' } else { byte }))
            .sum();
        match number(&self.0[148..156]) {
            Some(told) if told == sum => {}
            _ => return Err("no header"),
        }
        number(&self.0[124..136]).ok_or("a size that is not a number")
    }

    fn kind(&self) -> u8 {
        self.0[156]
    }

    fn name(&self) -> Result<String, &'static str> {
        let name = text(&self.0[..100])?;
        // GNU's older layout has other fields in place of the folder.
        let folder = match &self.0[257..263] == b"ustar\0" {
            true => text(&self.0[345..500])?,
            false => String::new(),
        };
        Ok(match folder.is_empty() {
            true => name,
            false => format!("{folder}/{name}"),
        })
    }

    fn shown_name(&self) -> String {
        self.name().unwrap_or_default()
    }
}

/// Parses a number in octal digits, or in binary if the highest bit is set.
fn number(field: &[u8]) -> Option<u64> {
    if let [0x80, bytes @ ..] = field {
        return (bytes.iter()).try_fold(0u64, |sum, &byte| {
            Some(sum.checked_mul(256)? + u64::from(byte))
        });
    }
    let digits = str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    match digits.is_empty() {
        true => Some(0),
        false => u64::from_str_radix(digits, 8).ok(),
    }
}

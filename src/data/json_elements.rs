//! Large JSON files read element by element, in memory that does not grow with the file.
//!
//! The scanner only finds where each element of the top-level arrays begins and ends; what is
//! inside is left to serde_json, which checks it and skips what is not asked for.

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::error::{Error, Result};

/// Bytes read at once; elements of one such piece are parsed in parallel.
const PIECE: usize = 4 << 20;
/// The longest element accepted: memory stays bounded whatever the file holds.
const LONGEST: usize = 64 << 20;

/// Walks over the members of a JSON object whose values are long arrays.
pub(crate) struct Elements<R> {
    reader: R,
    path: PathBuf,
    buffer: Vec<u8>,
    /// The part of the buffer that is read but not consumed.
    start: usize,
    end: usize,
    /// Offset in the file of the buffer's first byte.
    offset: u64,
    at_end: bool,
}

impl<R: Read> Elements<R> {
    /// Reads from `reader`; `path` is named in errors.
    pub fn new(reader: R, path: &Path) -> Self {
        Self::with_piece(reader, path, PIECE)
    }

    /// The same with another number of bytes read at once, at least 4.
    pub fn with_piece(reader: R, path: &Path, piece: usize) -> Self {
        Elements {
            reader,
            path: path.to_path_buf(),
            buffer: vec![0; piece.max(4)],
            start: 0,
            end: 0,
            offset: 0,
            at_end: false,
        }
    }

    /// An error at `at` in the buffer.
    fn malformed(&self, at: usize, problem: impl std::fmt::Display) -> Error {
        let byte = self.offset + at as u64;
        let problem = format_args!("malformed JSON at byte {byte}: {problem}");
        Error::file(&self.path, problem)
    }

    /// Reads more behind what is not consumed. False at the end of the file.
    fn fill(&mut self) -> Result<bool> {
        if self.at_end {
            return Ok(false);
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.offset += self.start as u64;
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            if self.buffer.len() >= LONGEST {
                let problem = format_args!("an element is longer than {} MiB", LONGEST >> 20);
                return Err(self.malformed(0, problem));
            }
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        while self.end < self.buffer.len() {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => {
                    self.at_end = true;
                    break;
                }
                Ok(read) => self.end += read,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::file(&self.path, e)),
            }
        }
        Ok(true)
    }

    /// The next byte that is not white space, not consumed.
    fn peek(&mut self) -> Result<Option<u8>> {
        loop {
            while self.start < self.end {
                match self.buffer[self.start] {
                    b' ' | b'\n' | b'\r' | b'\t' => self.start += 1,
                    byte => return Ok(Some(byte)),
                }
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Consumes the next byte that is not white space, which must be one of `accepted`.
    fn expect(&mut self, accepted: &[u8]) -> Result<u8> {
        let found = self.peek()?;
        match found {
            Some(byte) if accepted.contains(&byte) => {
                self.start += 1;
                Ok(byte)
            }
            _ => {
                let names: Vec<String> = (accepted.iter())
                    .map(|&b| format!("`{}`", b as char))
                    .collect();
                let found = match found {
                    Some(byte) => format!("found `{}`", byte.escape_ascii()),
                    None => "the file ends".to_owned(),
                };
                Err(self.malformed(
                    self.start,
                    format_args!("{found}, expected {}", names.join(" or ")),
                ))
            }
        }
    }

    /// The buffer range of the next value, which is consumed.
    fn value(&mut self) -> Result<Range<usize>> {
        if self.peek()?.is_none() {
            return Err(self.malformed(self.start, "the file ends, expected a value"));
        }
        let mut scan = Scan::default();
        let mut scanned = 0;
        loop {
            let rest = &self.buffer[self.start + scanned..self.end];
            if let Some(length) = scan.end(rest) {
                let range = self.start..self.start + scanned + length;
                self.start = range.end;
                return Ok(range);
            }
            scanned += rest.len();
            if !self.fill()? {
                // A number may end with the file.
                if scan.is_scalar() {
                    let range = self.start..self.end;
                    self.start = range.end;
                    return Ok(range);
                }
                return Err(self.malformed(self.end, "the file ends inside a value"));
            }
        }
    }

    /// Deserialises `range` of the buffer.
    fn parse<T: DeserializeOwned>(&self, range: Range<usize>) -> Result<T> {
        serde_json::from_slice(&self.buffer[range.clone()]).map_err(|e| self.wrong(range, &e))
    }

    /// serde_json's error as one of the file.
    fn wrong(&self, range: Range<usize>, error: &serde_json::Error) -> Error {
        // Line and column count from the element's start.
        let text = &self.buffer[range.clone()];
        let line_start = match error.line() {
            0 | 1 => 0,
            line => (text.iter().enumerate())
                .filter_map(|(i, &b)| (b == b'\n').then_some(i + 1))
                .nth(line - 2)
                .unwrap_or(0),
        };
        let at = range.start + line_start + error.column().saturating_sub(1);
        let whole = error.to_string();
        let message = whole.split(" at line ").next().unwrap_or(&whole);
        self.malformed(at.min(range.end), message)
    }

    /// Begins the object: the first call.
    pub fn begin(&mut self) -> Result<()> {
        if self.peek()? == Some(0xef) && self.buffer[self.start..self.end].starts_with(BOM) {
            self.start += BOM.len();
        }
        self.expect(b"{").map(|_| ())
    }

    /// The next member's key; `None` at the object's end. `first` on the first call.
    pub fn key(&mut self, first: bool) -> Result<Option<String>> {
        let accepted: &[u8] = if first { b"}\"" } else { b"}," };
        match self.peek()? {
            Some(b'"') if first => {}
            _ => {
                if self.expect(accepted)? == b'}' {
                    return match self.peek()? {
                        None => Ok(None),
                        Some(_) => Err(self.malformed(self.start, "text after the end")),
                    };
                }
            }
        }
        if self.peek()? != Some(b'"') {
            return Err(self.malformed(self.start, "expected a key"));
        }
        let range = self.value()?;
        let key = self.parse(range)?;
        self.expect(b":")?;
        Ok(Some(key))
    }

    /// Reads the array that is the current member's value, and hands over each element with its
    /// offset in the file, in order.
    pub fn array<T: DeserializeOwned + Send>(
        &mut self,
        mut each: impl FnMut(u64, T) -> Result<()>,
    ) -> Result<()> {
        self.expect(b"[")?;
        if self.peek()? == Some(b']') {
            self.start += 1;
            return Ok(());
        }
        let mut ranges: Vec<Range<usize>> = Vec::new();
        loop {
            // All elements that lie whole in the buffer, then one that may need more of the file.
            ranges.clear();
            let mut closed = false;
            while !closed {
                match whole_element(&self.buffer[self.start..self.end]) {
                    Some((length, end)) => {
                        ranges.push(self.start..self.start + length);
                        self.start += length + end.skip;
                        closed = end.closed;
                    }
                    None => break,
                }
            }
            let parsed: Vec<Result<T, serde_json::Error>> = ranges
                .par_iter()
                .with_min_len(64)
                .map(|range| serde_json::from_slice(&self.buffer[range.clone()]))
                .collect();
            for (range, element) in ranges.iter().zip(parsed) {
                let element = element.map_err(|e| self.wrong(range.clone(), &e))?;
                each(self.offset + range.start as u64, element)?;
            }
            if closed {
                return Ok(());
            }
            self.peek()?;
            let range = self.value()?;
            let element = self.parse(range.clone())?;
            each(self.offset + range.start as u64, element)?;
            if self.expect(b",]")? == b']' {
                return Ok(());
            }
        }
    }

    /// Passes over the current member's value, whatever it is.
    pub fn skip(&mut self) -> Result<()> {
        if self.peek()? == Some(b'[') {
            return self.array::<IgnoredAny>(|_, _| Ok(()));
        }
        let range = self.value()?;
        self.parse::<IgnoredAny>(range).map(|_| ())
    }
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// What follows an element: how many bytes to pass over, and whether the array ends there.
struct ElementEnd {
    skip: usize,
    closed: bool,
}

/// The length of the element that `bytes` begin with, white space before it included, if it and
/// the comma or bracket after it are there.
fn whole_element(bytes: &[u8]) -> Option<(usize, ElementEnd)> {
    let blank = |bytes: &[u8]| bytes.iter().take_while(|b| b.is_ascii_whitespace()).count();
    let before = blank(bytes);
    let length = before + Scan::default().end(bytes.get(before..)?)?;
    let after = length + blank(&bytes[length..]);
    let closed = match bytes.get(after)? {
        b',' => false,
        b']' => true,
        // Left to the slow path, which tells what is wrong.
        _ => return None,
    };
    let skip = after + 1 - length;
    // An empty element (two commas) is left to the slow path too.
    (length > before).then_some((length, ElementEnd { skip, closed }))
}

/// Finds where a value ends; may be fed piece by piece.
#[derive(Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
    scalar: bool,
}

impl Scan {
    fn is_scalar(&self) -> bool {
        self.scalar
    }

    /// The value's length in `bytes`, or `None` if it goes on behind them.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut i = 0;
        while i < bytes.len() {
            if self.in_string {
                if self.escaped {
                    self.escaped = false;
                    i += 1;
                    continue;
                }
                i += bytes[i..].iter().position(|b| matches!(b, b'"' | b'\\'))?;
                if bytes[i] == b'\\' {
                    self.escaped = true;
                } else {
                    self.in_string = false;
                    if self.depth == 0 {
                        return Some(i + 1);
                    }
                }
                i += 1;
                continue;
            }
            if self.depth > 0 {
                i += bytes[i..]
                    .iter()
                    .position(|&b| matches!(b, b'"' | b'{' | b'}' | b'[' | b']'))?;
            }
            match bytes[i] {
                b'"' if !self.scalar => self.in_string = true,
                b'{' | b'[' if !self.scalar => self.depth += 1,
                b'}' | b']' => {
                    if self.depth == 0 {
                        return Some(i);
                    }
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(i + 1);
                    }
                }
                b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' => return Some(i),
                _ => self.scalar = true,
            }
            i += 1;
        }
        None
    }
}

//! The reader of CSV, TSV and semicolon tables.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::rows;
use crate::text;
use crate::wording::counted;

/// A delimited table whose header has been read.
pub(crate) struct Delimited<'a> {
    path: PathBuf,
    reader: csv::Reader<Strict<Box<dyn BufRead + 'a>>>,
    /// The trimmed names of the columns.
    pub header: Vec<String>,
    record: csv::StringRecord,
}

impl<'a> Delimited<'a> {
    /// Opens a table. The delimiter is `usual`, unless the header split by `usual` does not satisfy
    /// `fits` but the header split by `,`, `;` or a tab does.
    pub(super) fn open(
        reader: impl Read + 'a,
        path: &Path,
        usual: u8,
        fits: impl Fn(&[String]) -> bool,
    ) -> Result<Self> {
        let opened = text::open(reader, path)?;
        if opened.head.trim().is_empty() {
            return Err(Error::file(path, "the file is empty"));
        }
        let mut lines = text::lines(&opened.head).filter(|(_, line)| !line.trim().is_empty());
        let first = lines.next().map_or("", |(_, line)| line);
        // Excel's way of declaring the separator.
        let told = (first.strip_prefix("sep=")).and_then(|rest| rest.trim_end().bytes().next());
        let header = match told {
            Some(_) => lines.next().map_or("", |(_, line)| line),
            None => first,
        };
        let parted = |by: u8| -> Vec<String> { columns_of(header, by) };
        let others = [b',', b';', b'\t'].into_iter().filter(|&by| by != usual);
        let delimiter = told.unwrap_or_else(|| match fits(&parted(usual)) {
            true => usual,
            false => others
                .into_iter()
                .find(|&by| fits(&parted(by)))
                .unwrap_or(usual),
        });
        if delimiter != usual {
            let name = match delimiter {
                b'\t' => "tabs".to_owned(),
                other => format!("`{}`", char::from(other)),
            };
            tracing::info!("{}: the columns are separated by {name}", path.display());
        }
        let strict = Strict::new(opened.all, delimiter);
        let mut reader = (csv::ReaderBuilder::new().delimiter(delimiter))
            .quoting(delimiter != b'\t')
            .has_headers(false)
            // The columns of a row are counted below, where the header is known.
            .flexible(true)
            .from_reader(strict);
        let mut record = csv::StringRecord::new();
        for _ in 0..=usize::from(told.is_some()) {
            reader
                .read_record(&mut record)
                .map_err(|e| csv_error(path, e))?;
        }
        let header = record.iter().map(|name| name.trim().to_owned()).collect();
        Ok(Delimited {
            path: path.to_path_buf(),
            reader,
            header,
            record,
        })
    }

    /// Returns the index of the column with one of `names`, ignoring case but preferring an exact
    /// match.
    ///
    /// # Errors
    /// Returns an error if several columns have the matching name.
    pub(super) fn column(&self, names: &[&str]) -> Result<Option<usize>> {
        for exact in [true, false] {
            for name in names {
                let same = |h: &str| {
                    if exact {
                        h == *name
                    } else {
                        h.eq_ignore_ascii_case(name)
                    }
                };
                let found: Vec<usize> = (0..self.header.len())
                    .filter(|&i| same(&self.header[i]))
                    .collect();
                match found.as_slice() {
                    [] => {}
                    [only] => return Ok(Some(*only)),
                    [first, second, ..] => return Err(self.doubled(name, *first, *second)),
                }
            }
        }
        Ok(None)
    }

    /// Returns the error for two columns with the same name.
    pub(super) fn doubled(&self, name: &str, first: usize, second: usize) -> Error {
        let problem = format_args!(
            "columns {} and {} are both named `{name}`",
            first + 1,
            second + 1
        );
        Error::line(&self.path, 1, problem).hint("rename one, or merge them into one column")
    }

    /// Reads the next row; returns `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Row<'_>>> {
        let more = self.reader.read_record(&mut self.record);
        if !more.map_err(|e| csv_error(&self.path, e))? {
            return Ok(None);
        }
        if self.record.len() != self.header.len() {
            let line = self.record.position().map_or(0, csv::Position::line);
            let (found, expected) = (self.record.len(), self.header.len());
            let problem = format!(
                "{}, but the header has {expected}",
                counted(found, "column")
            );
            return Err(Error::line(&self.path, line, problem)
                .hint("put names that contain the separator in double quotes"));
        }
        Ok(Some(Row {
            line: self.record.position().map_or(0, csv::Position::line),
            record: &self.record,
        }))
    }
}

/// A row of a table.
pub(crate) struct Row<'a> {
    /// The line in the file, counted from 1.
    pub line: u64,
    record: &'a csv::StringRecord,
}

impl Row<'_> {
    /// Returns the trimmed text of a column.
    pub(super) fn field(&self, column: usize) -> &str {
        self.record.get(column).unwrap_or("").trim()
    }
}

fn columns_of(header: &str, delimiter: u8) -> Vec<String> {
    let mut reader = (csv::ReaderBuilder::new().delimiter(delimiter))
        .quoting(delimiter != b'\t')
        .has_headers(false)
        .from_reader(header.as_bytes());
    let first = reader.records().next();
    let fields = first.and_then(Result::ok).unwrap_or_default();
    fields.iter().map(|name| name.trim().to_owned()).collect()
}

/// Converts the CSV reader's error to one with file and line; for a misplaced quote, that of its
/// opening.
fn csv_error(path: &Path, error: csv::Error) -> Error {
    if let csv::ErrorKind::Io(e) = error.kind()
        && let Some(quote) = e.get_ref().and_then(|e| e.downcast_ref::<QuoteProblem>())
    {
        return Error::line(path, quote.line, quote.problem)
            .hint("close the quote, or write `\"\"` for a quote inside quotes");
    }
    rows::failed(path, error)
}

/// A quote that is never closed, or closed before the end of the column.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
struct QuoteProblem {
    line: u64,
    problem: &'static str,
}

/// Passes bytes through and checks the quotes, since the parser behind it accepts anything.
struct Strict<R> {
    inner: R,
    delimiter: u8,
    state: Quote,
    line: u64,
    /// The line of the last opening quote.
    opened: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Quote {
    /// At the beginning of a column.
    Begin,
    /// In a column without quotes.
    Plain,
    /// Inside quotes.
    Open,
    /// After a quote that closes, or is the first of two.
    Closed,
    /// In the blanks after a closing quote.
    Blank,
}

impl<R> Strict<R> {
    fn new(inner: R, delimiter: u8) -> Self {
        Strict {
            inner,
            delimiter,
            state: Quote::Begin,
            line: 1,
            opened: 0,
        }
    }

    fn watch(&mut self, bytes: &[u8]) -> Result<(), QuoteProblem> {
        for &byte in bytes {
            let ends = byte == self.delimiter || matches!(byte, b'\n' | b'\r');
            self.state = match (self.state, byte) {
                (Quote::Begin, b'"') => {
                    self.opened = self.line;
                    Quote::Open
                }
                (Quote::Open, b'"') => Quote::Closed,
                (Quote::Open, _) => Quote::Open,
                (Quote::Closed, b'"') => Quote::Open,
                (_, _) if ends => Quote::Begin,
                (Quote::Closed | Quote::Blank, b' ') => Quote::Blank,
                (Quote::Closed | Quote::Blank, _) => {
                    return Err(QuoteProblem {
                        line: self.opened,
                        problem: "the `\"` that opens here closes in the middle of a column",
                    });
                }
                _ => Quote::Plain,
            };
            self.line += u64::from(byte == b'\n');
        }
        Ok(())
    }
}

impl<R: Read> Read for Strict<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if self.delimiter == b'\t' {
            return Ok(read);
        }
        let failed = |problem| std::io::Error::new(std::io::ErrorKind::InvalidData, problem);
        self.watch(&buffer[..read]).map_err(failed)?;
        if read == 0 && !buffer.is_empty() && self.state == Quote::Open {
            return Err(failed(QuoteProblem {
                line: self.opened,
                problem: "the `\"` that opens here is never closed",
            }));
        }
        Ok(read)
    }
}

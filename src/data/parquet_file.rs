//! Parquet files with pictures in a column: finds the rows and reads the bytes of one.
//!
//! The picture of a row is read in place: only the page that contains it is decompressed. The
//! footer of a file is read once, and the memory it takes does not grow with the number of rows.

use std::any::Any;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::SystemTime;

use ::parquet::column::reader::get_column_reader;
use ::parquet::column::reader::{ColumnReaderImpl, get_typed_column_reader};
use ::parquet::data_type::{ByteArray, ByteArrayType};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use ::parquet::file::serialized_reader::SerializedPageReader;

use crate::error::{Error, Result};

/// Names of columns assumed to contain the pictures if none is specified, in order of preference.
pub(crate) const PICTURE_COLUMNS: [&str; 4] = ["image", "img", "picture", "jpg"];

/// Returns whether a file name has the extension of a Parquet file.
pub(crate) fn has_parquet_ending(path: &Path) -> bool {
    (path.extension()).is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"))
}

/// A Parquet file with its footer.
#[derive(Debug)]
pub(crate) struct ParquetFile {
    path: PathBuf,
    metadata: ParquetMetaData,
    /// The length in bytes.
    pub length: u64,
    /// The modification time, if the system provides it.
    pub changed: Option<SystemTime>,
}

impl ParquetFile {
    /// Opens the file at `path`. Its footer is read once per process, as long as its length and
    /// modification time do not change.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or is not a complete Parquet file.
    pub(crate) fn of(path: &Path) -> Result<Arc<Self>> {
        static KNOWN: Mutex<BTreeMap<PathBuf, Arc<ParquetFile>>> = Mutex::new(BTreeMap::new());
        let found = fs_err::metadata(path)?;
        let (length, changed) = (found.len(), found.modified().ok());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = known.get(path)
            && (file.length, file.changed) == (length, changed)
        {
            return Ok(file.clone());
        }
        let (file, _) = fs_err::File::open(path)?.into_parts();
        let read = guarded(|| ParquetMetaDataReader::new().parse_and_finish(&file));
        let metadata = read.map_err(|problem| damaged(path, problem))?;
        let whole = Arc::new(ParquetFile {
            path: path.to_owned(),
            metadata,
            length,
            changed,
        });
        known.insert(path.to_owned(), whole.clone());
        Ok(whole)
    }

    /// Returns the footer.
    pub(crate) fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }

    /// Returns the number of rows.
    pub(crate) fn rows(&self) -> u64 {
        let groups = self.metadata.row_groups().iter();
        groups.map(|group| group.num_rows().max(0) as u64).sum()
    }

    /// Returns the row group that contains a row, and the index of the row within it.
    pub(crate) fn place(&self, row: u64) -> Option<(usize, usize)> {
        let mut left = row;
        for (index, group) in self.metadata.row_groups().iter().enumerate() {
            let rows = group.num_rows().max(0) as u64;
            if left < rows {
                return Some((index, left as usize));
            }
            left -= rows;
        }
        None
    }

    /// Returns the name of the picture column: the one specified, or the first with a usual name.
    ///
    /// # Errors
    /// Returns an error if there is no such column or it does not contain bytes.
    pub(crate) fn picture_column(&self, named: Option<&str>) -> Result<String> {
        let there = |name: &&str| self.leaf(name).is_some();
        if let Some(name) = named {
            return match there(&name) {
                true => Ok(name.to_owned()),
                false => Err(self.no_column(name)),
            };
        }
        let usual = PICTURE_COLUMNS.iter().copied().find(there);
        usual.map(str::to_owned).ok_or_else(|| {
            self.no_column(PICTURE_COLUMNS[0])
                .hint("name the column with the pictures: `--image-column NAME`, or `image_column`")
        })
    }

    fn no_column(&self, name: &str) -> Error {
        let root = self.metadata.file_metadata().schema_descr().root_schema();
        let names: Vec<&str> = root.get_fields().iter().map(|field| field.name()).collect();
        let problem = format!(
            "has no column `{name}` with the bytes of pictures; its columns are `{}`",
            names.join("`, `")
        );
        Error::file(&self.path, problem).hint(
            "expected binary values, or a struct of `bytes` and `path` as Hugging Face writes it",
        )
    }

    /// Returns the index of the leaf with the bytes of the column `name`: the column itself, or its
    /// `bytes`.
    fn leaf(&self, name: &str) -> Option<usize> {
        let columns = self.metadata.file_metadata().schema_descr().columns();
        columns.iter().position(|column| {
            let is_binary = column.physical_type() == ::parquet::basic::Type::BYTE_ARRAY;
            let is_it = match column.path().parts() {
                [whole] => whole == name,
                [whole, part] => whole == name && part == "bytes",
                _ => false,
            };
            is_it && is_binary && column.max_rep_level() == 0
        })
    }

    /// Returns the bytes of the picture in a row, or `None` if there is no such row or column.
    ///
    /// # Errors
    /// Returns an error, with row group and row, if the row contains no bytes or the file is
    /// damaged.
    pub(crate) fn picture(&self, column: &str, row: u64) -> Result<Option<Vec<u8>>> {
        let (Some(leaf), Some((group, at))) = (self.leaf(column), self.place(row)) else {
            return Ok(None);
        };
        let (file, _) = fs_err::File::open(&self.path)?.into_parts();
        let read = guarded(|| self.read(file, leaf, group, at));
        match read.map_err(|problem| self.at(row, problem))? {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(self
                .at(row, format!("the column `{column}` contains no bytes"))
                .hint("paths alone are not followed: store the pictures in the file")),
        }
    }

    fn read(
        &self,
        file: File,
        leaf: usize,
        group: usize,
        at: usize,
    ) -> Result<Option<Vec<u8>>, ParquetError> {
        let group = self.metadata.row_group(group);
        let (chunk, rows) = (group.column(leaf), group.num_rows().max(0) as usize);
        let pages = SerializedPageReader::new(Arc::new(file), chunk, rows, None)?;
        let reader = get_column_reader(chunk.column_descr_ptr(), Box::new(pages));
        let mut reader: ColumnReaderImpl<ByteArrayType> = get_typed_column_reader(reader);
        reader.skip_records(at)?;
        let (mut levels, mut values) = (Vec::new(), Vec::<ByteArray>::new());
        reader.read_records(1, Some(&mut levels), None, &mut values)?;
        Ok(values.first().map(|value| value.data().to_vec()))
    }

    /// Returns an error for a row that names its row group.
    pub(crate) fn at(&self, row: u64, problem: impl std::fmt::Display) -> Error {
        let place = match self.place(row) {
            Some((group, at)) => format!("row group {group}, row {at} (row {row} of the file)"),
            None => format!("row {row}"),
        };
        Error::file(&self.path, format_args!("{place}: {problem}"))
    }
}

/// Returns the error for a file that cannot be read as Parquet.
pub(crate) fn damaged(path: &Path, problem: impl std::fmt::Display) -> Error {
    let problem = format_args!("cannot be read as Parquet: {problem}");
    Error::file(path, problem).hint("copy, download or write it again")
}

/// Runs the Parquet reader. It panics on some damaged files; such a panic becomes an ordinary error
/// and is not printed.
pub(crate) fn guarded<T>(
    read: impl FnOnce() -> std::result::Result<T, ParquetError>,
) -> std::result::Result<T, String> {
    hush();
    let before = HUSHED.replace(true);
    let read = catch_unwind(AssertUnwindSafe(read));
    HUSHED.set(before);
    match read {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) => Err(in_words(&error)),
        Err(panic) => Err(format!("damaged: {}", message(&*panic))),
    }
}

thread_local! {
    /// Whether a panic of this thread will be caught and returned as an error.
    static HUSHED: Cell<bool> = const { Cell::new(false) };
}

/// Installs a panic hook that is silent for hushed threads and otherwise calls the previous one.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !HUSHED.get() {
                told(panic);
            }
        }));
    });
}

fn in_words(error: &ParquetError) -> String {
    match error {
        ParquetError::General(text) | ParquetError::NYI(text) | ParquetError::EOF(text) => {
            text.clone()
        }
        other => other.to_string(),
    }
}

/// Returns the first line of a panic message, truncated to a reasonable length.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let line = text.and_then(|text| text.lines().next());
    line.unwrap_or("no reason given")
        .chars()
        .take(100)
        .collect()
}

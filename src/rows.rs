//! CSV files of rows: the type of a row defines how the file is written and read, and documents it.
//!
//! The columns are the fields of the row's type, in their order and with their serde names. An
//! undefined value is an empty cell. The number of digits is set at the field, by one of the
//! functions of [`number`].

mod json;
mod tables;

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::{Serialize, forward_to_deserialize_any};

use crate::error::{Error, Result};
use crate::io::write_atomic;

pub use json::to_json;
pub use tables::{Cell, Tables};

/// A CSV writer to a file being written.
pub type Writer<'a> = csv::Writer<&'a mut dyn Write>;

/// Writes a header and a row for each item. The header is written even without rows.
pub fn write<T: Serialize + DeserializeOwned>(
    path: &Path,
    rows: impl IntoIterator<Item = T>,
) -> Result<()> {
    write_with(path, |csv| {
        csv.write_record(columns::<T>())?;
        rows.into_iter().try_for_each(|row| csv.serialize(row))
    })
}

/// Like [`write()`], as text for the standard output.
pub fn to_text<T: Serialize + DeserializeOwned>(rows: &[T]) -> String {
    let mut csv = csv::WriterBuilder::new()
        .has_headers(false)
        .from_writer(Vec::new());
    // Writing rows of plain fields into memory cannot fail.
    let written = csv
        .write_record(columns::<T>())
        .and_then(|()| rows.iter().try_for_each(|row| csv.serialize(row)));
    debug_assert!(written.is_ok(), "{written:?}");
    String::from_utf8(csv.into_inner().unwrap_or_default()).unwrap_or_default()
}

/// Writes a file whose columns depend on the data, such as a matrix or one column per method.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut Writer) -> csv::Result<()>) -> Result<()> {
    write_atomic(path, |writer| {
        // `serialize` would write a second header.
        let mut builder = csv::WriterBuilder::new();
        let mut csv = builder.has_headers(false).from_writer(writer);
        fill(&mut csv).map_err(|e| failed(path, e))?;
        Ok(csv.flush()?)
    })
}

/// Reads every row. Columns are matched by name; unknown ones are ignored.
///
/// # Errors
/// Fails if the file cannot be read, lacks a required column, or contains an invalid cell; the
/// error names the line.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    read_first(path, usize::MAX)
}

/// Reads the first `count` rows, or all if there are fewer; later rows may be invalid.
///
/// # Errors
/// As [`read`].
pub fn read_first<T: DeserializeOwned>(path: &Path, count: usize) -> Result<Vec<T>> {
    let mut reader = csv::Reader::from_reader(fs_err::File::open(path)?);
    let rows = reader
        .deserialize()
        .map(|row| row.map_err(|e| failed(path, e)));
    rows.take(count).collect()
}

/// Converts an error of the CSV reader or writer to one with file and line, in this crate's
/// wording.
pub fn failed(path: &Path, error: csv::Error) -> Error {
    let line = error.position().map(csv::Position::line);
    let at = |problem: String| match line {
        Some(line) => Error::line(path, line, problem),
        None => Error::file(path, problem),
    };
    match error.into_kind() {
        csv::ErrorKind::Io(error) => Error::Io(error),
        csv::ErrorKind::Utf8 { .. } => {
            at("the text is not UTF-8".into()).hint("save the file as UTF-8")
        }
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => at(format!("{len} columns, but the header has {expected_len}"))
            .hint("put names that contain the separator in double quotes"),
        csv::ErrorKind::Deserialize { err, .. } => {
            use csv::DeserializeErrorKind::{ParseFloat, ParseInt, UnexpectedEndOfRow};
            let problem = match err.kind() {
                ParseFloat(_) => "expected a number".to_owned(),
                ParseInt(_) => "expected a whole number".to_owned(),
                UnexpectedEndOfRow => "the row ends too early".to_owned(),
                other => other.to_string(),
            };
            at(match err.field() {
                Some(field) => format!("column {}: {problem}", field + 1),
                None => problem,
            })
        }
        other => at(format!("is not a CSV file: {other:?}")),
    }
}

/// Returns the names of a row's columns.
pub fn columns<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // The type names its fields before it asks for a value, which it does not get.
    let _ = T::deserialize(Fields(&mut names));
    names
}

/// A deserializer that records the field names a type asks for, and provides no values.
struct Fields<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("only fields are asked for"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// How numbers are written, for serde's `serialize_with`.
pub mod number {
    use serde::Serializer;

    /// Writes the fewest digits that read back as the same number; a whole number without a decimal
    /// point.
    pub fn full<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    /// Like [`full`], or an empty cell.
    pub fn full_or_empty<S: Serializer>(
        value: &Option<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => full(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Writes one decimal, or an empty cell.
    pub fn one_decimal<S: Serializer>(
        value: &Option<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        decimals(value, 1, serializer)
    }

    /// Writes two decimals, or an empty cell.
    pub fn two_decimals<S: Serializer>(
        value: &Option<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        decimals(value, 2, serializer)
    }

    /// Writes three decimals.
    pub fn three_decimals<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        decimals(&Some(*value), 3, serializer)
    }

    fn decimals<S: Serializer>(
        value: &Option<f64>,
        digits: usize,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(&format_args!("{value:.digits$}")),
            None => serializer.serialize_none(),
        }
    }
}

/// Formats a number as a cell in full precision; empty if it is undefined.
pub fn cell(value: Option<f64>) -> String {
    value.map_or(String::new(), |v| v.to_string())
}

/// A cell of a report, which people open in spreadsheets and this program never reads again: what one
/// would take for a formula has an apostrophe in front. Numbers stay as they are.
pub fn shown(cell: &str) -> Cow<'_, str> {
    match cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && cell.parse::<f64>().is_err() {
        true => Cow::Owned(format!("'{cell}")),
        false => Cow::Borrowed(cell),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[test]
    fn no_cell_of_a_report_is_a_formula() {
        for formula in [
            "=1+1",
            "+1+cmd|' /C calc'!A0",
            "-2+3",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "-",
        ] {
            assert_eq!(shown(formula), format!("'{formula}"));
        }
        for other in [
            "", "cat", "a=b", "-0.5", "+3", "-1e-7", "-inf", "'=1", "0.25",
        ] {
            assert_eq!(shown(other), other);
        }
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Row {
        #[serde(rename = "class")]
        name: String,
        #[serde(serialize_with = "number::full_or_empty")]
        score: Option<f64>,
        #[serde(serialize_with = "number::one_decimal")]
        seconds: Option<f64>,
    }

    #[test]
    fn rows_come_back_and_without_rows_there_is_a_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        let row = |name: &str, score| Row {
            name: name.into(),
            score,
            seconds: Some(0.5),
        };
        let rows = || {
            [
                row("a, \"b\"", Some(1.0)),
                row("=1+1", Some(1e-7)),
                row("é", None),
            ]
        };
        write(&path, rows()).unwrap();
        assert_eq!(
            fs_err::read_to_string(&path).unwrap(),
            "class,score,seconds\n\"a, \"\"b\"\"\",1,0.5\n=1+1,0.0000001,0.5\né,,0.5\n"
        );
        assert_eq!(read::<Row>(&path).unwrap(), rows());
        write::<Row>(&path, []).unwrap();
        assert_eq!(
            fs_err::read_to_string(&path).unwrap(),
            "class,score,seconds\n"
        );
    }

    #[test]
    fn a_broken_cell_is_named_by_line_and_column() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        fs_err::write(&path, "class,score,seconds\na,1,2\nb,x,2\n").unwrap();
        let error = read::<Row>(&path).unwrap_err().to_string();
        assert!(
            error.contains("rows.csv:3") && error.contains("column 2: expected a number"),
            "{error}"
        );
    }
}

//! Label tables in text files: CSV, TSV and JSON lines.

use std::io::{Read, Write};
use std::path::Path;

use super::format::{
    ChangePath, Format, Info, Loaded, OptionValue, annotation_files, beside, option,
    options_beside_files,
};
use crate::data::class_index::{Reading, Rows};
use crate::data::class_name::LABEL_SEPARATOR;
use crate::data::delimited::{Delimited, Row};
use crate::data::labels::LabelTable;
use crate::data::picture_name::SeenImages;
use crate::data::separator::Separator;
use crate::error::{Error, Result};

mod cells;
mod json_lines;
mod others;

use cells::Cells;
use json_lines::parse_json_lines;
use others::tell_of_others;

annotation_files! {
    /// Tables: CSV, TSV or JSON lines, by the file's ending.
    #[derive(Default)]
    pub struct Table {
        /// What stands between the labels of an image; `|` unless another is named.
        #[serde(default, skip_serializing_if = "is_default")]
        pub separator: Separator,
    }
}

fn is_default(separator: &Separator) -> bool {
    *separator == Separator::default()
}

impl Format for Table {
    const INFO: Info = Info {
        sources: &[option(
            "table",
            "train",
            OptionValue::Path("FILE"),
            "A label table: CSV or TSV with the columns `image` and `labels` (separated by `|`), or `image` and one column of 0 and 1 per class; or JSON lines",
        )],
        options: options_beside_files!(option(
            "separator",
            "separator",
            OptionValue::Text("SIGN"),
            "Table: what separates the labels of an image: a character; `comma`, `semicolon`, `tab` or `space`; or `list` for `['a', 'b']` [default: |]",
        )),
        as_is: true,
    };

    fn load(&self) -> Result<Loaded> {
        let files = self.files();
        files.load(Reading::new(files.classes)?, beside, |path, reading| {
            read_rows(path, &self.separator, reading)
        })
    }

    fn each_path(&mut self, change: ChangePath) {
        self.each_file(change);
    }

    fn has_test(&self) -> bool {
        self.test.is_some()
    }
}

/// The format of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TableFormat {
    /// Values with a header line and this delimiter, unless the header indicates another.
    Delimited(u8),
    /// One JSON object per line: `{"image": "a.jpg", "labels": ["cat", "dog"]}`.
    JsonLines,
}

impl TableFormat {
    /// Determines the format from the file name extension.
    fn of(path: &Path) -> Result<Self> {
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        match ending.to_ascii_lowercase().as_str() {
            "csv" => Ok(TableFormat::Delimited(b',')),
            "tsv" | "tab" => Ok(TableFormat::Delimited(b'\t')),
            "jsonl" | "ndjson" => Ok(TableFormat::JsonLines),
            _ => Err(Error::file(
                path,
                format_args!("cannot tell the table's format from the ending `{ending}`"),
            )
            .hint("name it `.csv`, `.tsv` or `.jsonl`; COCO's JSON is read with `--coco`")),
        }
    }
}

/// Reads one table. The classes are those of `classes`, or else all names that occur, sorted.
///
/// # Errors
/// Returns an error, with the line, if the file cannot be read or is not a valid table.
pub fn read(path: &Path, classes: Option<Vec<String>>) -> Result<LabelTable> {
    let mut reading = Reading::over(classes);
    let rows = read_rows(path, &Separator::default(), &mut reading)?;
    let [table] = reading.classes.tables([rows]);
    Ok(table)
}

/// Reads a CSV table over the given classes; it may have no images.
pub(crate) fn read_any(path: &Path, classes: Vec<String>) -> Result<LabelTable> {
    let mut reading = Reading::over(Some(classes));
    let file = fs_err::File::open(path)?;
    let rows = parse_delimited(file, path, b',', &Separator::default(), &mut reading)?;
    let [table] = reading.classes.tables([rows]);
    Ok(table)
}

/// Reads the rows of a table, in the format given by the file name extension.
///
/// CSV and TSV need a header with the columns `image` and `labels`, or `image` and one column per
/// class that contains 0 or 1. Other columns next to `labels` are reported and ignored.
fn read_rows(path: &Path, separator: &Separator, reading: &mut Reading) -> Result<Rows> {
    let file = || fs_err::File::open(path);
    let rows = match TableFormat::of(path)? {
        TableFormat::Delimited(usual) => parse_delimited(file()?, path, usual, separator, reading)?,
        TableFormat::JsonLines => parse_json_lines(file()?, path, separator, reading)?,
    };
    if rows.is_empty() {
        return Err(Error::file(path, "the table has no images"));
    }
    Ok(rows)
}

/// Possible names of the image column, in order of preference, and of the label column.
const IMAGE: [&str; 5] = ["image", "file_name", "filename", "path", "image_path"];
const LABELS: [&str; 2] = ["labels", "label"];

/// The meaning of the header of a delimited table.
enum Columns {
    /// Indices of `image` and `labels`.
    Joined(usize, usize),
    /// Index of `image`; index and class of every other column.
    OneHot(usize, Vec<(usize, u32)>),
}

/// Reads a delimited table from any reader; `path` appears in errors.
fn parse_delimited(
    reader: impl Read,
    path: &Path,
    usual: u8,
    separator: &Separator,
    reading: &mut Reading,
) -> Result<Rows> {
    let fits = |header: &[String]| {
        let is_image = |name: &String| IMAGE.iter().any(|known| known.eq_ignore_ascii_case(name));
        header.len() > 1 && header.iter().any(is_image)
    };
    let mut table = Delimited::open(reader, path, usual, fits)?;
    let columns = read_header(path, &table, reading)?;
    let mut rows = Rows::new();
    let mut seen = SeenImages::default();
    let mut cells = Cells::new(path, separator);
    while let Some(row) = table.next()? {
        let (image, labels) = match &columns {
            Columns::Joined(image, joined) => {
                let image = seen.add(path, row.line, row.field(*image))?;
                let labels = cells.labels(row.line, &image, row.field(*joined), reading)?;
                (image, labels)
            }
            Columns::OneHot(image, one_hot) => {
                let image = seen.add(path, row.line, row.field(*image))?;
                (image, one_hot_labels(path, &row, one_hot, reading)?)
            }
        };
        rows.push((image, labels));
    }
    if let Columns::Joined(_, column) = columns {
        let only_flags = |name: &String| matches!(name.as_str(), "0" | "1" | "0.0" | "1.0");
        let names = reading.classes.names();
        let is_one = table.header[column].eq_ignore_ascii_case("label");
        if is_one && !names.is_empty() && names.iter().all(only_flags) {
            let problem = "the column `label` contains only 0 and 1, expected names of classes";
            return Err(Error::line(path, 1, problem)
                .hint("rename the column to the class that it stands for"));
        }
    }
    cells.check(reading)?;
    Ok(rows)
}

fn one_hot_labels(
    path: &Path,
    row: &Row<'_>,
    one_hot: &[(usize, u32)],
    reading: &Reading,
) -> Result<Vec<u32>> {
    let mut labels = Vec::new();
    for &(column, class) in one_hot {
        let text = row.field(column);
        match text {
            "1" | "1.0" => labels.push(class),
            "0" | "0.0" => {}
            _ if text.eq_ignore_ascii_case("true") => labels.push(class),
            _ if text.eq_ignore_ascii_case("false") => {}
            _ => {
                let name = &reading.classes.names()[class as usize];
                let problem = format_args!("column `{name}` contains `{text}`, expected 0 or 1");
                return Err(Error::line(path, row.line, problem).hint(
                    "a table with other columns needs one named `labels`, with the names joined",
                ));
            }
        }
    }
    Ok(labels)
}

fn read_header(path: &Path, table: &Delimited<'_>, reading: &mut Reading) -> Result<Columns> {
    let header = &table.header;
    let Some(image) = table.column(&IMAGE)? else {
        let found: Vec<&str> = header.iter().take(5).map(String::as_str).collect();
        let found = found.join("`, `");
        let problem = format_args!("the header has no column `image`; it begins with `{found}`");
        return Err(Error::line(path, 1, problem).hint("expected the columns `image` and `labels` (names separated by `|`), or `image` and one column of 0 and 1 per class"));
    };
    let others = IMAGE
        .iter()
        .filter_map(|name| table.column(&[name]).transpose());
    let others = others.collect::<Result<Vec<_>>>()?;
    if let [first, second, ..] = others.as_slice()
        && !header[image].eq_ignore_ascii_case(IMAGE[0])
    {
        let (first, second) = (&header[*first], &header[*second]);
        let problem = format_args!("either `{first}` or `{second}` could name the images");
        return Err(Error::line(path, 1, problem).hint("rename the right one to `image`"));
    }
    if let Some(labels) = table.column(&LABELS)? {
        let others = (header.iter().enumerate())
            .filter(|&(i, name)| i != image && i != labels && !name.is_empty());
        tell_of_others(others.map(|(_, name)| name.as_str()), path, reading);
        return Ok(Columns::Joined(image, labels));
    }
    let mut one_hot: Vec<(usize, u32)> = Vec::new();
    for (i, name) in header.iter().enumerate().filter(|&(i, _)| i != image) {
        // The row index as pandas writes it.
        if name.is_empty() || name.starts_with("Unnamed: ") {
            let number = format!("column {}", i + 1);
            let what = ("column", "without a name left out");
            reading.account.warn(path, what, [number.as_str()], "");
            continue;
        }
        let class = reading.classes.number(name, path, Some(1))?;
        if let Some((first, _)) = one_hot.iter().find(|(_, known)| *known == class) {
            return Err(table.doubled(name, *first, i));
        }
        one_hot.push((i, class));
    }
    if one_hot.is_empty() {
        return Err(Error::line(path, 1, "the header has no column `labels`"));
    }
    Ok(Columns::OneHot(image, one_hot))
}

/// Writes a table as CSV with the columns `image` and `labels`.
pub fn write_csv(table: &LabelTable, writer: &mut dyn Write) -> Result<()> {
    let mut csv = csv::Writer::from_writer(writer);
    let failed = |e: csv::Error| std::io::Error::other(e);
    csv.write_record(["image", "labels"]).map_err(failed)?;
    let mut joined = String::new();
    for i in 0..table.len() {
        joined.clear();
        for (k, &class) in table.labels(i).iter().enumerate() {
            if k > 0 {
                joined.push(LABEL_SEPARATOR);
            }
            joined.push_str(&table.classes()[class as usize]);
        }
        csv.write_record([table.image(i), &joined])
            .map_err(failed)?;
    }
    csv.flush()?;
    Ok(())
}

/// Returns the blake3 hash of a table as CSV, in hexadecimal: equal images with equal labels have
/// equal hashes.
pub fn hash(labels: &LabelTable) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    write_csv(labels, &mut hasher)?;
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests;

//! Label tables in text files: CSV, TSV and JSON lines.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::class_index::{ClassIndex, Rows};
use crate::data::labels::LabelTable;
use crate::error::{Error, Result};
use crate::rows;

/// Between the labels of an image.
pub const LABEL_SEPARATOR: char = '|';

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableFormat {
    /// Comma-separated values with a header line.
    Csv,
    /// Tab-separated values with a header line.
    Tsv,
    /// One JSON object a line: `{"image": "a.jpg", "labels": ["cat", "dog"]}`.
    Jsonl,
}

impl TableFormat {
    /// The format that a file name's ending tells.
    pub fn of(path: &Path) -> Result<Self> {
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        match ending.to_ascii_lowercase().as_str() {
            "csv" => Ok(TableFormat::Csv),
            "tsv" | "tab" => Ok(TableFormat::Tsv),
            "jsonl" | "ndjson" => Ok(TableFormat::Jsonl),
            _ => Err(Error::file(
                path,
                format_args!("cannot tell the table's format from the ending `{ending}`"),
            )
            .hint("name it `.csv`, `.tsv` or `.jsonl`")),
        }
    }
}

/// Reads one table; classes are those of `classes`, or all names that occur, sorted.
pub fn read(path: &Path, classes: Option<Vec<String>>) -> Result<LabelTable> {
    let mut index = ClassIndex::new(classes);
    let rows = read_rows(path, &mut index)?;
    let [table] = index.tables([rows]);
    Ok(table)
}

/// Reads a CSV table that may hold no images, over the classes given.
pub(crate) fn read_any(path: &Path, classes: Vec<String>) -> Result<LabelTable> {
    let mut index = ClassIndex::new(Some(classes));
    let rows = read_delimited(path, b',', &mut index)?;
    let [table] = index.tables([rows]);
    Ok(table)
}

/// Reads a table's rows, in the format that the file's ending tells.
///
/// CSV and TSV need a header with the columns `image` and `labels` (names separated by `|`), or
/// `image` and one column a class that holds 0 or 1. Other columns beside `labels` are ignored.
pub(crate) fn read_rows(path: &Path, classes: &mut ClassIndex) -> Result<Rows> {
    let rows = match TableFormat::of(path)? {
        TableFormat::Csv => read_delimited(path, b',', classes)?,
        TableFormat::Tsv => read_delimited(path, b'\t', classes)?,
        TableFormat::Jsonl => parse_json_lines(fs_err::File::open(path)?, path, classes)?,
    };
    if rows.is_empty() {
        return Err(Error::file(path, "the table has no images"));
    }
    Ok(rows)
}

/// Refuses an image that was met before, naming both lines.
#[derive(Default)]
pub(crate) struct SeenImages(HashMap<String, u64>);

impl SeenImages {
    pub fn add(&mut self, path: &Path, line: u64, image: &str) -> Result<()> {
        if image.is_empty() {
            return Err(Error::line(path, line, "the image name is empty"));
        }
        match self.0.insert(image.to_owned(), line) {
            None => Ok(()),
            Some(first) => Err(Error::line(
                path,
                line,
                format_args!("image `{image}` is already on line {first}"),
            )
            .hint("give each image one row, with all its labels")),
        }
    }
}

/// What the header of a delimited table means.
enum Columns {
    /// Index of `image` and of `labels`.
    Joined(usize, usize),
    /// Index of `image`; for every other column its class.
    OneHot(usize, Vec<(usize, u32)>),
}

fn read_delimited(path: &Path, delimiter: u8, classes: &mut ClassIndex) -> Result<Rows> {
    parse_delimited(fs_err::File::open(path)?, path, delimiter, classes)
}

/// Reads a delimited table from any reader; `path` is named in errors.
pub(crate) fn parse_delimited(
    reader: impl Read,
    path: &Path,
    delimiter: u8,
    classes: &mut ClassIndex,
) -> Result<Rows> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(BufReader::with_capacity(1 << 16, reader));
    let header = reader.headers().map_err(|e| rows::failed(path, e))?.clone();
    let columns = read_header(path, &header, classes)?;
    let mut rows = Rows::new();
    let mut seen = SeenImages::default();
    let mut record = csv::StringRecord::new();
    loop {
        let more = reader.read_record(&mut record);
        if !more.map_err(|e| rows::failed(path, e))? {
            return Ok(rows);
        }
        let line = record.position().map_or(0, csv::Position::line);
        let field = |column: usize| record.get(column).unwrap_or("").trim();
        let mut labels = Vec::new();
        let image = match &columns {
            Columns::Joined(image, joined) => {
                for name in field(*joined).split(LABEL_SEPARATOR) {
                    let name = name.trim();
                    if name.is_empty() {
                        continue;
                    }
                    labels.push(classes.get(name).ok_or_else(|| {
                        classes.unknown(format_args!("{}:{line}", path.display()), name)
                    })?);
                }
                field(*image)
            }
            Columns::OneHot(image, one_hot) => {
                for &(column, class) in one_hot {
                    match field(column) {
                        "1" | "1.0" => labels.push(class),
                        "0" | "0.0" => {}
                        other => {
                            let name = header.get(column).unwrap_or("");
                            return Err(Error::line(
                                path,
                                line,
                                format_args!("column `{name}` holds `{other}`, expected 0 or 1"),
                            ));
                        }
                    }
                }
                field(*image)
            }
        };
        seen.add(path, line, image)?;
        rows.push((image.to_owned(), labels));
    }
}

fn read_header(
    path: &Path,
    header: &csv::StringRecord,
    classes: &mut ClassIndex,
) -> Result<Columns> {
    let column = |name: &str| header.iter().position(|h| h.trim() == name);
    let Some(image) = column("image") else {
        let found: Vec<&str> = header.iter().take(5).collect();
        return Err(Error::line(
            path,
            1,
            format_args!("the header has no column `image`; it begins with `{}`", found.join("`, `")),
        )
        .hint("expected the columns `image` and `labels` (names separated by `|`), or `image` and one column of 0 and 1 a class"));
    };
    if let Some(labels) = column("labels") {
        return Ok(Columns::Joined(image, labels));
    }
    let mut one_hot = Vec::new();
    for (i, name) in header.iter().enumerate().filter(|&(i, _)| i != image) {
        let place = format_args!("{}:1", path.display());
        let class =
            (classes.get(name.trim())).ok_or_else(|| classes.unknown(place, name.trim()))?;
        one_hot.push((i, class));
    }
    if one_hot.is_empty() {
        return Err(Error::line(path, 1, "the header has no column `labels`"));
    }
    Ok(Columns::OneHot(image, one_hot))
}

/// One line of a JSON lines table.
#[derive(Deserialize)]
struct JsonRow {
    #[serde(alias = "file_name", alias = "path")]
    image: String,
    labels: Vec<String>,
}

/// Reads JSON lines from any reader; `path` is named in errors.
pub(crate) fn parse_json_lines(
    reader: impl Read,
    path: &Path,
    classes: &mut ClassIndex,
) -> Result<Rows> {
    let mut reader = BufReader::with_capacity(1 << 16, reader);
    let mut rows = Rows::new();
    let mut seen = SeenImages::default();
    let mut buffer = Vec::new();
    for line in 1u64.. {
        buffer.clear();
        if reader.read_until(b'\n', &mut buffer)? == 0 {
            break;
        }
        let mut bytes = buffer.as_slice();
        if line == 1 {
            bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Error::line(path, line, "the text is not UTF-8"))?
            .trim();
        if text.is_empty() {
            continue;
        }
        let row: JsonRow = serde_json::from_str(text).map_err(|e| {
            Error::line(path, line, json_problem(&e))
                .hint(r#"expected a line such as {"image": "a.jpg", "labels": ["cat", "dog"]}"#)
        })?;
        seen.add(path, line, &row.image)?;
        let mut labels = Vec::with_capacity(row.labels.len());
        for name in &row.labels {
            labels.push(
                classes.get(name).ok_or_else(|| {
                    classes.unknown(format_args!("{}:{line}", path.display()), name)
                })?,
            );
        }
        rows.push((row.image, labels));
    }
    Ok(rows)
}

/// serde_json's message without its own line number, which counts from the row's start.
pub(crate) fn json_problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or(&text);
    format!("malformed JSON at column {}: {message}", error.column())
}

/// Reads a text file that must be UTF-8; a byte order mark is dropped.
pub(crate) fn read_utf8(path: &Path) -> Result<String> {
    let mut bytes = fs_err::read(path)?;
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    String::from_utf8(bytes).map_err(|e| {
        let before = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|&&b| b == b'\n').count() as u64;
        Error::line(path, line, "the text is not UTF-8").hint("save the file as UTF-8")
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, bytes: &[u8], classes: Option<&[&str]>) -> Result<LabelTable> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs_err::write(&path, bytes).unwrap();
        let classes = classes.map(|c| c.iter().map(|name| name.to_string()).collect());
        read(&path, classes)
    }

    /// The message without the folder, which is another each time.
    fn error(name: &str, bytes: &[u8], classes: Option<&[&str]>) -> String {
        let text = table(name, bytes, classes).unwrap_err().to_string();
        text.split('/').next_back().unwrap_or("").to_owned()
    }

    /// What spreadsheets and Windows write: byte order mark, CRLF, quotes, spaces, more columns.
    #[test]
    fn all_ways_of_writing_give_the_same_table() {
        let plain = table(
            "a.csv",
            b"image,labels\na b.jpg,cat|dog\n\"c,d.jpg\",\ne.jpg,dog\n",
            None,
        );
        let plain = plain.unwrap();
        assert_eq!(plain.images(), ["a b.jpg", "c,d.jpg", "e.jpg"]);
        assert_eq!(plain.classes(), ["cat", "dog"]);
        assert_eq!(plain.class_counts(), [1, 2]);
        let same: [(&str, &[u8]); 6] = [
            ("a.csv", b"\xef\xbb\xbfimage,labels\r\na b.jpg,dog|cat\r\n\"c,d.jpg\",\r\ne.jpg,dog\r\n"),
            ("a.csv", b"width,labels, image\n1,dog|cat|dog,a b.jpg\n2,,\"c,d.jpg\"\n3,dog,e.jpg"),
            ("a.tsv", b"image\tlabels\na b.jpg\tcat | dog\nc,d.jpg\t\ne.jpg\tdog|\n"),
            ("a.csv", b"image,dog,cat\na b.jpg,1,1\n\"c,d.jpg\",0,0\ne.jpg,1,0\n"),
            ("a.jsonl", b"{\"image\": \"a b.jpg\", \"labels\": [\"cat\", \"dog\"]}\r\n\n{\"labels\": [], \"image\": \"c,d.jpg\", \"x\": [1]}\n{\"file_name\": \"e.jpg\", \"labels\": [\"dog\"]}"),
            ("a.ndjson", b"\xef\xbb\xbf{\"image\": \"a b.jpg\", \"labels\": [\"dog\", \"cat\"]}\n{\"labels\": [], \"image\": \"c,d.jpg\"}\n{\"path\": \"e.jpg\", \"labels\": [\"dog\"]}\n"),
        ];
        for (name, bytes) in same {
            assert_eq!(
                table(name, bytes, None).unwrap(),
                plain,
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn a_class_list_fixes_order_and_names() {
        let bytes = b"image,labels\na.jpg,cat\nb.jpg,dgo\n";
        let read = table("a.csv", b"image,labels\na.jpg,cat\n", Some(&["dog", "cat"])).unwrap();
        assert_eq!(
            (read.classes()[1].as_str(), read.labels(0)),
            ("cat", &[1][..])
        );
        let text = error("a.csv", bytes, Some(&["dog", "cat"]));
        assert_eq!(text, "a.csv:3: unknown class `dgo`");
        let text = error("a.csv", b"image,dgo\na.jpg,1\n", Some(&["dog"]));
        assert_eq!(text, "a.csv:1: unknown class `dgo`");
    }

    #[test]
    fn mistakes_name_file_and_line() {
        let cases: [(&str, &[u8], &str); 12] = [
            ("a.csv", b"", "a.csv:1: the header has no column `image`"),
            (
                "a.csv",
                b"file;labels\nx;y\n",
                "a.csv:1: the header has no column `image`",
            ),
            (
                "a.csv",
                b"image\nx\n",
                "a.csv:1: the header has no column `labels`",
            ),
            ("a.csv", b"image,labels\n", "a.csv: the table has no images"),
            (
                "a.csv",
                b"image,labels\na,x\nb\xff,x\n",
                "a.csv:3: the text is not UTF-8",
            ),
            (
                "a.csv",
                b"image,labels\na,x\nb,x,y\n",
                "a.csv:3: 3 columns, but the header has 2",
            ),
            (
                "a.csv",
                b"image,labels\na,x\n,x\n",
                "a.csv:3: the image name is empty",
            ),
            (
                "a.csv",
                b"image,labels\na,x\nb,x\na,y\n",
                "a.csv:4: image `a` is already on line 2",
            ),
            (
                "a.csv",
                b"image,x\na,1\nb,2\n",
                "a.csv:3: column `x` holds `2`, expected 0 or 1",
            ),
            (
                "a.jsonl",
                b"{\"image\": \"a\", \"labels\": []}\n{\"image\": 3}\n",
                "a.jsonl:2: malformed JSON at column",
            ),
            (
                "a.jsonl",
                b"{\"image\": \"a\", \"labels\": [\"x\"\n",
                "a.jsonl:1: malformed JSON at column",
            ),
            ("a.xlsx", b"PK", "a.xlsx: cannot tell the table's format"),
        ];
        for (name, bytes, wanted) in cases {
            let text = error(name, bytes, None);
            assert!(text.starts_with(wanted), "{text}\nexpected {wanted}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut labels = LabelTable::new(vec!["a, \"b\"".into(), "c".into()]);
        labels.push("x,\n1.jpg", [0, 1]);
        labels.push("y.jpg", []);
        let mut bytes = Vec::new();
        write_csv(&labels, &mut bytes).unwrap();
        let read = table("a.csv", &bytes, Some(&["a, \"b\"", "c"])).unwrap();
        assert_eq!(read, labels);
    }
}

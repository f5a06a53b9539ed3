//! Label tables in text files: CSV, TSV and JSON lines.

use std::collections::HashMap;
use std::io::{BufRead, Read, Write};
use std::path::Path;

use serde::Deserialize;

use super::format::{
    ChangePath, Format, Info, Loaded, OptionValue, annotation_files, beside, option,
    options_beside_files,
};
use crate::data::class_index::{Reading, Rows};
use crate::data::class_name::LABEL_SEPARATOR;
use crate::data::delimited::{Delimited, Row};
use crate::data::labels::LabelTable;
use crate::data::picture_name::SeenImages;
use crate::data::separator::{NO_VALUE, Separator, argument, is_list, joined, parts_known};
use crate::data::text;
use crate::error::{Error, Result};

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
            "A label table: CSV or TSV with the columns `image` and `labels` (separated by `|`), or `image` and one column of 0 and 1 a class; or JSON lines",
        )],
        options: options_beside_files!(option(
            "separator",
            "separator",
            OptionValue::Text("SIGN"),
            "Table: what separates the labels of an image: a sign, comma, semicolon, tab, space, or list for `['a', 'b']` [default: |]",
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

    #[cfg(test)]
    fn samples() -> Vec<super::format::Sample> {
        use super::format::Sample;
        vec![
            Sample {
                name: "csv",
                bytes: b"image,labels\r\n\"a,b.jpg\",cat|dog\nc.jpg,\nd.jpg,\"do\"\"g\"\n",
                read: |b, p, r| parse_delimited(b, p, b',', &Separator::default(), r),
            },
            Sample {
                name: "one-hot tsv",
                bytes: b"image\tcat\tdog\na.jpg\t1\t0\nb.jpg\t0\t1.0\n",
                read: |b, p, r| parse_delimited(b, p, b'\t', &Separator::default(), r),
            },
            Sample {
                name: "lists in a semicolon table",
                bytes: b"image;labels\na.jpg;\"['cat', 'dog']\"\nb.jpg;[]\n",
                read: |b, p, r| parse_delimited(b, p, b',', &Separator::List, r),
            },
            Sample {
                name: "json lines",
                bytes: b"{\"image\": \"a.jpg\", \"labels\": [\"cat\", \"\\u00e9\"]}\n{\"image\":\"b\",\"labels\":[]}\n",
                read: |b, p, r| parse_json_lines(b, p, &Separator::default(), r),
            },
        ]
    }
}

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TableFormat {
    /// Values with a header line, separated by this unless the header tells otherwise.
    Delimited(u8),
    /// One JSON object a line: `{"image": "a.jpg", "labels": ["cat", "dog"]}`.
    JsonLines,
}

impl TableFormat {
    /// The format that a file name's ending tells.
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

/// Reads one table; classes are those of `classes`, or all names that occur, sorted.
///
/// # Errors
/// The file cannot be read or is no table, with its line.
pub fn read(path: &Path, classes: Option<Vec<String>>) -> Result<LabelTable> {
    let mut reading = Reading::over(classes);
    let rows = read_rows(path, &Separator::default(), &mut reading)?;
    let [table] = reading.classes.tables([rows]);
    Ok(table)
}

/// Reads a CSV table that may hold no images, over the classes given.
pub(crate) fn read_any(path: &Path, classes: Vec<String>) -> Result<LabelTable> {
    let mut reading = Reading::over(Some(classes));
    let file = fs_err::File::open(path)?;
    let rows = parse_delimited(file, path, b',', &Separator::default(), &mut reading)?;
    let [table] = reading.classes.tables([rows]);
    Ok(table)
}

/// Reads a table's rows, in the format that the file's ending tells.
///
/// CSV and TSV need a header with the columns `image` and `labels`, or `image` and one column a
/// class that holds 0 or 1. Other columns beside `labels` are ignored.
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

/// Names of the column with the images, the best first, and of that with the labels.
const IMAGE: [&str; 5] = ["image", "file_name", "filename", "path", "image_path"];
const LABELS: [&str; 2] = ["labels", "label"];

/// What the header of a delimited table means.
enum Columns {
    /// Index of `image` and of `labels`.
    Joined(usize, usize),
    /// Index of `image`; for every other column its class.
    OneHot(usize, Vec<(usize, u32)>),
}

/// Reads a delimited table from any reader; `path` is named in errors.
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
            let problem = "the column `label` holds 0 and 1 alone, expected names of classes";
            return Err(Error::line(path, 1, problem)
                .hint("name the column as the class that it stands for"));
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
                let problem = format_args!("column `{name}` holds `{text}`, expected 0 or 1");
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
        return Err(Error::line(path, 1, problem).hint("expected the columns `image` and `labels` (names separated by `|`), or `image` and one column of 0 and 1 a class"));
    };
    let others = IMAGE
        .iter()
        .filter_map(|name| table.column(&[name]).transpose());
    let others = others.collect::<Result<Vec<_>>>()?;
    if let [first, second, ..] = others.as_slice()
        && !header[image].eq_ignore_ascii_case(IMAGE[0])
    {
        let (first, second) = (&header[*first], &header[*second]);
        let problem = format_args!("both `{first}` and `{second}` may name the images");
        return Err(Error::line(path, 1, problem).hint("name the one to take `image`"));
    }
    if let Some(labels) = table.column(&LABELS)? {
        return Ok(Columns::Joined(image, labels));
    }
    let mut one_hot: Vec<(usize, u32)> = Vec::new();
    for (i, name) in header.iter().enumerate().filter(|&(i, _)| i != image) {
        // What pandas writes for the numbers of the rows.
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

/// The column of joined labels, and what is suspicious about it.
struct Cells<'a> {
    path: &'a Path,
    separator: &'a Separator,
    /// Line on which each class was met first.
    first: HashMap<u32, u64>,
}

impl<'a> Cells<'a> {
    fn new(path: &'a Path, separator: &'a Separator) -> Self {
        Cells {
            path,
            separator,
            first: HashMap::new(),
        }
    }

    /// The classes in a cell.
    fn labels(
        &mut self,
        line: u64,
        image: &str,
        cell: &str,
        reading: &mut Reading,
    ) -> Result<Vec<u32>> {
        if NO_VALUE.contains(&cell) && !(reading.classes.is_closed() && reading.classes.knows(cell))
        {
            let what = format!("with `{cell}` for labels, taken for none");
            let remedy = "if it is a class, name it in a class list (`--classes`)";
            reading
                .account
                .warn(self.path, ("image", &what), [image], remedy);
            return Ok(Vec::new());
        }
        if *self.separator != Separator::List && is_list(cell) && !reading.classes.knows(cell) {
            let problem = format_args!("the labels are a list: `{cell}`");
            return Err(Error::line(self.path, line, problem)
                .hint("`--separator list` (`separator = \"list\"`) reads lists"));
        }
        let names = (self.separator.split(cell))
            .map_err(|problem| Error::line(self.path, line, problem))?;
        let mut labels = Vec::with_capacity(names.len());
        for name in names {
            let class = self.number(name, line, reading)?;
            self.first.entry(class).or_insert(line);
            labels.push(class);
        }
        Ok(labels)
    }

    fn number(&self, name: &str, line: u64, reading: &mut Reading) -> Result<u32> {
        let number = reading.classes.number(name, self.path, Some(line));
        if number.is_err()
            && reading.classes.is_closed()
            && let Some(sign) = parts_known(name, |part| reading.classes.knows(part))
        {
            return Err(self.joined(line, name, sign));
        }
        number
    }

    fn joined(&self, line: u64, name: &str, sign: char) -> Error {
        let problem = format!("the label `{name}` is made of other classes, joined by `{sign}`");
        Error::line(self.path, line, problem).hint(format_args!(
            "`{}` parts them; a class list (`--classes`) with the name keeps it as one class",
            argument(sign)
        ))
    }

    /// Refuses names that are made of others, and tells of those that may be.
    fn check(&self, reading: &mut Reading) -> Result<()> {
        if reading.classes.is_closed() {
            return Ok(());
        }
        let names = reading.classes.names();
        if let Some((at, sign)) = joined(names) {
            let line = self.first.get(&(at as u32)).copied();
            return Err(match line {
                Some(line) => self.joined(line, &names[at], sign),
                None => self.joined(1, &names[at], sign),
            });
        }
        let met = |at: &usize| self.first.contains_key(&(*at as u32));
        let with = |signs: &[char]| -> Vec<String> {
            let found = (0..names.len()).filter(met).map(|at| &names[at]);
            found.filter(|name| name.contains(signs)).cloned().collect()
        };
        let unsure = with(&[',', ';', '\t', '，', '；', '、', '｜']);
        let mut quoted = with(&['"']);
        quoted.retain(|name| name.starts_with('"') || name.ends_with('"'));
        reading.account.warn(
            self.path,
            ("class name", "with a sign that may separate labels"),
            unsure.iter().map(String::as_str),
            "`--separator` parts them if they are several",
        );
        reading.account.warn(
            self.path,
            (
                "class name",
                "with a quote at an end, which is part of the name here",
            ),
            quoted.iter().map(String::as_str),
            "",
        );
        Ok(())
    }
}

/// One line of a JSON lines table.
#[derive(Deserialize)]
#[serde(expecting = "an object with `image` and `labels`")]
struct JsonRow {
    #[serde(
        alias = "file_name",
        alias = "filename",
        alias = "path",
        alias = "image_path"
    )]
    image: String,
    #[serde(alias = "label")]
    labels: Option<JsonLabels>,
}

/// Names, or a text with joined ones.
#[derive(Deserialize)]
#[serde(untagged, expecting = "`labels` with a list of names")]
enum JsonLabels {
    Names(Vec<JsonName>),
    Joined(String),
}

/// A name, or a number that stands for one.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a name")]
enum JsonName {
    Text(String),
    Number(i64),
}

/// Reads JSON lines from any reader; `path` is named in errors.
fn parse_json_lines(
    reader: impl Read,
    path: &Path,
    separator: &Separator,
    reading: &mut Reading,
) -> Result<Rows> {
    let mut reader = text::open(reader, path)?.all;
    let mut rows = Rows::new();
    let mut seen = SeenImages::default();
    let mut cells = Cells::new(path, separator);
    let mut buffer = Vec::new();
    for line in 1u64.. {
        buffer.clear();
        let read = reader.read_until(b'\n', &mut buffer);
        if read.map_err(|e| Error::file(path, e))? == 0 {
            break;
        }
        let text = std::str::from_utf8(&buffer)
            .map_err(|_| Error::line(path, line, "the text is not UTF-8"))?
            .trim();
        if text.is_empty() {
            continue;
        }
        let row: JsonRow = serde_json::from_str(text).map_err(|e| {
            Error::line(path, line, text::json_problem(&e, text.as_bytes()))
                .hint(r#"expected a line such as {"image": "a.jpg", "labels": ["cat", "dog"]}"#)
        })?;
        let image = seen.add(path, line, &row.image)?;
        let labels = match row.labels {
            None => Vec::new(),
            Some(JsonLabels::Joined(cell)) => cells.labels(line, &image, cell.trim(), reading)?,
            Some(JsonLabels::Names(names)) => names
                .iter()
                .map(|name| match name {
                    JsonName::Text(name) => cells.number(name, line, reading),
                    JsonName::Number(number) => cells.number(&number.to_string(), line, reading),
                })
                .collect::<Result<_>>()?,
        };
        rows.push((image, labels));
    }
    cells.check(reading)?;
    Ok(rows)
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
            ("a.csv", b"", "a.csv: the file is empty"),
            (
                "a.csv",
                b"picture;labels\nx;y\n",
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
                "a.jsonl:2: at column",
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
        labels.push("x,\"1.jpg", [0, 1]);
        labels.push("y.jpg", []);
        let mut bytes = Vec::new();
        write_csv(&labels, &mut bytes).unwrap();
        let read = table("a.csv", &bytes, Some(&["a, \"b\"", "c"])).unwrap();
        assert_eq!(read, labels);
    }
}

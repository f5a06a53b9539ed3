//! Label tables in JSON lines: one object per image.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Read};
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::cells::Cells;
use super::others::tell_of_others;
use crate::data::class_index::{Reading, Rows};
use crate::data::picture_name::SeenImages;
use crate::data::separator::Separator;
use crate::error::{Error, Result};
use crate::text;

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
    #[serde(flatten)]
    others: BTreeMap<String, IgnoredAny>,
}

/// A list of names, or a string of joined names.
#[derive(Deserialize)]
#[serde(untagged, expecting = "`labels` with a list of names")]
enum JsonLabels {
    Names(Vec<JsonName>),
    Joined(String),
}

/// A name, or a number that serves as one.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a name")]
enum JsonName {
    Text(String),
    Number(i64),
}

/// Reads JSON lines from any reader; `path` appears in errors.
pub(super) fn parse_json_lines(
    reader: impl Read,
    path: &Path,
    separator: &Separator,
    reading: &mut Reading,
) -> Result<Rows> {
    let mut reader = text::open(reader, path)?.all;
    let mut rows = Rows::new();
    let mut seen = SeenImages::default();
    let mut cells = Cells::new(path, separator);
    let mut others = BTreeSet::new();
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
        others.extend(row.others.into_keys());
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
    tell_of_others(others.iter().map(String::as_str), path, reading);
    cells.check(reading)?;
    Ok(rows)
}

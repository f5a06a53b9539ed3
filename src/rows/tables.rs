//! Related tables, each described once and written either as CSV files or as one JSON object with
//! the same rows.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{cell, json, shown, to_text, write_with};
use crate::error::{Error, Result};
use crate::io::write_text;

/// Tables by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tables(Vec<Table>);

#[derive(Debug, Clone, PartialEq)]
struct Table {
    name: &'static str,
    csv: String,
    json: Value,
}

/// A cell of a table whose columns depend on the data.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// A text.
    Text(String),
    /// An integer.
    Whole(usize),
    /// A number in full precision; an empty cell, or `null` in JSON, if it is undefined.
    Number(Option<f64>),
}

impl Cell {
    fn csv(&self) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Whole(number) => number.to_string(),
            Cell::Number(number) => cell(*number),
        }
    }

    fn json(&self) -> Value {
        match self {
            Cell::Text(text) => text.as_str().into(),
            Cell::Whole(number) => (*number).into(),
            Cell::Number(number) => json::number(cell(*number).as_str()),
        }
    }
}

impl Tables {
    /// Adds the table `name` with a row for each of the `rows`.
    ///
    /// # Errors
    /// Fails if a row cannot be written as JSON.
    pub fn add<T: Serialize + DeserializeOwned>(
        &mut self,
        name: &'static str,
        rows: &[T],
    ) -> Result<()> {
        self.0.push(Table {
            name,
            csv: to_text(rows),
            json: json::values(rows)?,
        });
        Ok(())
    }

    /// Adds the table `name` whose columns depend on the data, for example one column per method.
    /// If two columns have the same name, JSON contains only the last of them.
    ///
    /// # Errors
    /// Fails if a row is not as long as the header, which is a bug in this program.
    pub fn add_cells(
        &mut self,
        name: &'static str,
        header: &[String],
        rows: &[Vec<Cell>],
    ) -> Result<()> {
        let failed = |e: csv::Error| Error::input(name, format_args!("cannot be written: {e}"));
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(header).map_err(failed)?;
        let mut objects = Vec::with_capacity(rows.len());
        for row in rows {
            csv.write_record(row.iter().map(Cell::csv))
                .map_err(failed)?;
            let fields = header.iter().cloned().zip(row.iter().map(Cell::json));
            objects.push(Value::Object(fields.collect()));
        }
        let text = String::from_utf8(csv.into_inner().unwrap_or_default()).unwrap_or_default();
        self.0.push(Table {
            name,
            csv: text,
            json: objects.into(),
        });
        Ok(())
    }

    /// Writes `NAME.csv` for each table into `folder`, which is created.
    ///
    /// # Errors
    /// Fails if a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        for table in &self.0 {
            write_text(&folder.join(format!("{}.csv", table.name)), &table.csv)?;
        }
        Ok(())
    }

    /// The same for people alone, no cell a formula ([`shown`]): files that this program never reads.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write_report(&self, folder: &Path) -> Result<()> {
        for table in &self.0 {
            let path = folder.join(format!("{}.csv", table.name));
            let mut written = csv::ReaderBuilder::new();
            let mut written = (written.has_headers(false)).from_reader(table.csv.as_bytes());
            write_with(&path, |csv| {
                for row in written.records() {
                    csv.write_record(row?.iter().map(|cell| shown(cell).into_owned()))?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Formats all tables as one object: each table's name maps to a list of objects, one per row.
    pub fn to_json(&self) -> String {
        let mut whole = Map::new();
        for table in &self.0 {
            whole.insert(table.name.to_owned(), table.json.clone());
        }
        format!("{:#}\n", Value::Object(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_the_same_in_both() {
        let mut tables = Tables::default();
        let header = ["class", "images", "erm"].map(str::to_owned);
        let row = |score| {
            vec![
                Cell::Text("a, b".into()),
                Cell::Whole(3),
                Cell::Number(score),
            ]
        };
        let rows = [
            row(Some(0.1)),
            row(None),
            row(Some(1.0)),
            row(Some(f64::NAN)),
        ];
        tables.add_cells("per_class", &header, &rows).unwrap();
        let folder = tempfile::tempdir().unwrap();
        tables.write(folder.path()).unwrap();
        assert_eq!(
            fs_err::read_to_string(folder.path().join("per_class.csv")).unwrap(),
            "class,images,erm\n\"a, b\",3,0.1\n\"a, b\",3,\n\"a, b\",3,1\n\"a, b\",3,NaN\n"
        );
        // For people the same, as long as no cell is a formula.
        let written = fs_err::read(folder.path().join("per_class.csv")).unwrap();
        let report = folder.path().join("report");
        tables.write_report(&report).unwrap();
        assert_eq!(fs_err::read(report.join("per_class.csv")).unwrap(), written);
        let read: Value = serde_json::from_str(&tables.to_json()).unwrap();
        let scores = read["per_class"].as_array().unwrap().iter();
        let scores: Vec<&Value> = scores.map(|row| &row["erm"]).collect();
        assert_eq!(scores, [&0.1.into(), &Value::Null, &1.into(), &Value::Null]);
        assert_eq!(read["per_class"][0]["images"], 3);
        assert_eq!(read["per_class"][0]["class"], "a, b");
    }
}

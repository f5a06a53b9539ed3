//! Comparison of tables as CSV and as JSON.

use serde_json::Value;

/// Columns of names, which may consist of digits only.
const NAMES: [&str; 6] = ["class", "configuration", "setting", "run", "split", "seed"];

/// Asserts that the rows of a CSV file match a list of objects: the same names, and for each the
/// value of the cell.
pub(crate) fn same_rows(csv: &str, json: &Value) {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().unwrap().clone();
    let rows = json.as_array().unwrap();
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), rows.len(), "{csv}\n{json:#}");
    for (record, row) in records.iter().zip(rows) {
        let row = row.as_object().unwrap();
        assert_eq!(row.len(), header.len(), "{header:?} {row:?}");
        for (name, cell) in header.iter().zip(record) {
            let value = &row[name];
            match value {
                Value::Null => assert_eq!(cell, "", "{name}"),
                Value::Number(number) => {
                    let cell: f64 = cell.parse().unwrap();
                    assert_eq!(number.as_f64().unwrap(), cell, "{name}");
                }
                Value::Bool(flag) => assert_eq!(cell, flag.to_string(), "{name}"),
                Value::String(text) => {
                    assert_eq!(text, cell, "{name}");
                    let is_number = cell.parse::<f64>().is_ok();
                    assert!(!is_number || NAMES.contains(&name), "{name}: \"{text}\"");
                }
                other => panic!("{name}: {other}"),
            }
        }
    }
}

//! Open Images CSV: one row a label (image-level labels, or boxes).

use std::collections::HashMap;
use std::io::{BufReader, Read};
use std::path::Path;

use crate::data::class_index::{ClassIndex, Rows};
use crate::error::{Error, Result};
use crate::rows;

/// Reads rows with the columns `ImageID`, `LabelName` and, if there, `Confidence`: below
/// `min_confidence` the label is absent (0: verified absent). Images come in the order of their
/// first row, those without any label included; their names end in `.jpg`.
pub(crate) fn read_rows(
    path: &Path,
    names: &HashMap<String, String>,
    min_confidence: f64,
    classes: &mut ClassIndex,
) -> Result<Rows> {
    let file = fs_err::File::open(path)?;
    parse(file, path, names, min_confidence, classes)
}

/// [`read_rows`] from any reader; `path` is named in errors.
pub(crate) fn parse(
    reader: impl Read,
    path: &Path,
    names: &HashMap<String, String>,
    min_confidence: f64,
    classes: &mut ClassIndex,
) -> Result<Rows> {
    let mut reader = csv::Reader::from_reader(BufReader::with_capacity(1 << 16, reader));
    let header = reader.headers().map_err(|e| rows::failed(path, e))?.clone();
    let column = |name: &str| header.iter().position(|h| h.trim() == name);
    let (Some(image), Some(label)) = (column("ImageID"), column("LabelName")) else {
        return Err(Error::line(
            path,
            1,
            "the header has no columns `ImageID` and `LabelName`",
        ));
    };
    let confidence = column("Confidence");
    let mut row_of: HashMap<String, usize> = HashMap::new();
    let mut rows = Rows::new();
    let mut record = csv::StringRecord::new();
    while reader
        .read_record(&mut record)
        .map_err(|e| rows::failed(path, e))?
    {
        let line = record.position().map_or(0, csv::Position::line);
        let field = |column: usize| record.get(column).unwrap_or("").trim();
        let id = field(image);
        if id.is_empty() {
            return Err(Error::line(path, line, "the image id is empty"));
        }
        let row = match row_of.get(id) {
            Some(&row) => row,
            None => {
                rows.push((format!("{id}.jpg"), Vec::new()));
                row_of.insert(id.to_owned(), rows.len() - 1);
                rows.len() - 1
            }
        };
        if let Some(column) = confidence {
            let text = field(column);
            let confidence: f64 = text.parse().map_err(|_| {
                let problem = format_args!("confidence `{text}`, expected a number");
                Error::line(path, line, problem)
            })?;
            if confidence < min_confidence || confidence.is_nan() {
                continue;
            }
        }
        let code = field(label);
        let name = names.get(code).map_or(code, String::as_str);
        if name.is_empty() {
            return Err(Error::line(path, line, "the label name is empty"));
        }
        let class = (classes.get(name))
            .ok_or_else(|| classes.unknown(format_args!("{}:{line}", path.display()), name))?;
        if !rows[row].1.contains(&class) {
            rows[row].1.push(class);
        }
    }
    if rows.is_empty() {
        return Err(Error::file(path, "the table has no images"));
    }
    Ok(rows)
}

/// Reads `class-descriptions.csv`: label code, name for people; with or without a header.
pub(crate) fn read_names(path: &Path) -> Result<HashMap<String, String>> {
    let file = fs_err::File::open(path)?;
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(BufReader::new(file));
    let mut names = HashMap::new();
    for record in reader.records() {
        let record = record.map_err(|e| rows::failed(path, e))?;
        let line = record.position().map_or(0, csv::Position::line);
        let (Some(code), Some(name)) = (record.get(0), record.get(1)) else {
            return Err(Error::line(
                path,
                line,
                "expected two columns: label code and name",
            ));
        };
        if line == 1 && code == "LabelName" {
            continue;
        }
        names.insert(code.trim().to_owned(), name.trim().to_owned());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Several rows an image, verified absences, boxes of the same class, names for codes.
    #[test]
    fn rows_are_gathered_by_image() {
        let text = "ImageID,Source,LabelName,Confidence,XMin\n\
            b,v,/m/1,1,0.1\nb,v,/m/1,1,0.5\na,v,/m/1,0,0\nb,v,/m/2,0.4,0\nb,v,/m/3,1,0\n";
        let names = [("/m/1".to_owned(), "Cat".to_owned())].into();
        let mut classes = ClassIndex::new(None);
        let rows = parse(
            text.as_bytes(),
            Path::new("x.csv"),
            &names,
            0.5,
            &mut classes,
        )
        .unwrap();
        let [table] = classes.tables([rows]);
        assert_eq!(table.images(), ["b.jpg", "a.jpg"]);
        assert_eq!(table.classes(), ["/m/3", "Cat"]);
        assert_eq!((table.labels(0), table.labels(1)), (&[0, 1][..], &[][..]));
        let wrong = text.replace("0.4", "high");
        let error = parse(
            wrong.as_bytes(),
            Path::new("x.csv"),
            &names,
            0.5,
            &mut classes,
        );
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "x.csv:5: confidence `high`, expected a number");
    }
}

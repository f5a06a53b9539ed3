//! Open Images CSV: one row per label (image-level labels or boxes).

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::format::{
    ChangePath, Format, Info, Loaded, OptionValue, annotation_files, beside, option,
    options_beside_files,
};
use crate::data::class_index::{Reading, Rows};
use crate::data::delimited::Delimited;
use crate::data::picture::has_picture_ending;
use crate::data::picture_name;
use crate::error::{Error, KeyPath, Result};
use crate::range::Range;

annotation_files! {
    /// Open Images CSV, image-level labels or boxes.
    pub struct OpenImages {
        /// `class-descriptions.csv`, which names the label codes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub descriptions: Option<PathBuf>,
        /// Labels with less confidence are absent.
        #[serde(default = "half")]
        pub min_confidence: f64,
    }
}

fn half() -> f64 {
    0.5
}

impl Format for OpenImages {
    const INFO: Info = Info {
        sources: &[option(
            "open-images",
            "train",
            OptionValue::Path("FILE"),
            "An Open Images CSV file: image-level labels or boxes",
        )],
        options: options_beside_files!(
            option(
                "descriptions",
                "descriptions",
                OptionValue::Path("FILE"),
                "Open Images: CSV file that gives the names of the label codes",
            ),
            option(
                "min-confidence",
                "min_confidence",
                OptionValue::Number("P"),
                "Open Images: labels with a lower confidence do not count [default: 0.5]",
            ),
        ),
        as_is: true,
    };

    fn load(&self) -> Result<Loaded> {
        let files = self.files();
        let names = (self.descriptions.as_deref())
            .map(read_names)
            .transpose()?
            .unwrap_or_default();
        files.load(Reading::new(files.classes)?, beside, |path, reading| {
            let file = fs_err::File::open(path)?;
            parse(file, path, &names, self.min_confidence, reading)
        })
    }

    fn each_path(&mut self, change: ChangePath) {
        self.each_file(change);
        if let Some(path) = &mut self.descriptions {
            change("descriptions", path);
        }
    }

    fn check(&self, at: &KeyPath) -> Result<()> {
        Range::Within(0.0, 1.0).check(&at.join("min_confidence"), self.min_confidence)
    }

    fn has_test(&self) -> bool {
        self.test.is_some()
    }
}

/// Reads rows with the columns `ImageID`, `LabelName` and, if present, `Confidence`. Labels with a
/// confidence below `min_confidence` are absent (0: verified absent). Images are in the order of
/// their first row, including those without labels; `.jpg` is appended to ids without the extension
/// of a picture.
fn parse(
    reader: impl Read,
    path: &Path,
    names: &HashMap<String, String>,
    min_confidence: f64,
    reading: &mut Reading,
) -> Result<Rows> {
    let is_id = |name: &String| name.eq_ignore_ascii_case("ImageID");
    let mut table = Delimited::open(reader, path, b',', |header| header.iter().any(is_id))?;
    let (Some(image), Some(label)) = (table.column(&["ImageID"])?, table.column(&["LabelName"])?)
    else {
        let problem = "the header has no columns `ImageID` and `LabelName`";
        return Err(Error::line(path, 1, problem));
    };
    let confidence = table.column(&["Confidence"])?;
    let mut row_of: HashMap<String, usize> = HashMap::new();
    let mut rows = Rows::new();
    let mut unsure = Vec::new();
    while let Some(record) = table.next()? {
        let line = record.line;
        let id =
            picture_name::clean(record.field(image)).map_err(|e| Error::line(path, line, e))?;
        let row = match row_of.get(id.as_ref()) {
            Some(&row) => row,
            None => {
                let ending = if has_picture_ending(&id) { "" } else { ".jpg" };
                rows.push((format!("{id}{ending}"), Vec::new()));
                row_of.insert(id.clone().into_owned(), rows.len() - 1);
                rows.len() - 1
            }
        };
        if let Some(column) = confidence {
            let text = record.field(column);
            let number = text.parse::<f64>().ok().filter(|number| !number.is_nan());
            let confidence = number.ok_or_else(|| {
                let problem = format_args!("confidence `{text}`, expected a number");
                Error::line(path, line, problem)
            })?;
            if confidence < min_confidence {
                if confidence > 0.0 {
                    unsure.push(id.into_owned());
                }
                continue;
            }
        }
        let code = record.field(label);
        if code.is_empty() {
            return Err(Error::line(path, line, "the label name is empty"));
        }
        let name = names.get(code).map_or(code, String::as_str);
        let class = reading.classes.number(name, path, Some(line))?;
        if !rows[row].1.contains(&class) {
            rows[row].1.push(class);
        }
    }
    let what = format!("with a confidence between 0 and {min_confidence}, not counted as labels");
    reading
        .account
        .tell(path, ("row", &what), unsure.iter().map(String::as_str));
    if rows.is_empty() {
        return Err(Error::file(path, "the table has no images"));
    }
    Ok(rows)
}

/// Reads `class-descriptions.csv`: label code and display name, with or without a header.
fn read_names(path: &Path) -> Result<HashMap<String, String>> {
    name_codes(fs_err::File::open(path)?, path)
}

/// Returns the name of each code. Codes that share a name are distinguished: `Jaguar (/m/0449p)`.
fn name_codes(reader: impl Read, path: &Path) -> Result<HashMap<String, String>> {
    let mut table = Delimited::open(reader, path, b',', |header| header.len() >= 2)?;
    if table.header.len() < 2 {
        return Err(Error::line(
            path,
            1,
            "expected two columns: label code and name",
        ));
    }
    let mut names: HashMap<String, (String, u64)> = HashMap::new();
    let mut codes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let first = (table.header[0].clone(), table.header[1].clone(), 1);
    let mut next = (!first.0.eq_ignore_ascii_case("LabelName")).then_some(first);
    loop {
        let (code, name, line) = match next.take() {
            Some(first) => first,
            None => match table.next()? {
                Some(row) => (row.field(0).to_owned(), row.field(1).to_owned(), row.line),
                None => break,
            },
        };
        match names.get(&code) {
            Some((known, _)) if *known == name => {}
            Some((known, at)) => {
                let problem =
                    format_args!("`{code}` is named `{name}`, but `{known}` on line {at}");
                return Err(Error::line(path, line, problem));
            }
            None => {
                codes.entry(name.clone()).or_default().push(code.clone());
                names.insert(code, (name, line));
            }
        }
    }
    let shared = |name: &String| codes.get(name).is_some_and(|codes| codes.len() > 1);
    let names = names
        .into_iter()
        .map(|(code, (name, _))| match shared(&name) {
            true => (code.clone(), format!("{name} ({code})")),
            false => (code, name),
        });
    Ok(names.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "x.csv";

    /// Several rows per image, verified absences, boxes of the same class, names for codes.
    #[test]
    fn rows_are_gathered_by_image() {
        let text = "ImageID,Source,LabelName,Confidence,XMin\n\
            b,v,/m/1,1,0.1\nb,v,/m/1,1,0.5\na,v,/m/1,0,0\nb,v,/m/2,0.4,0\nb,v,/m/3,1,0\n";
        let names = [("/m/1".to_owned(), "Cat".to_owned())].into();
        let mut reading = Reading::over(None);
        let mut read =
            |text: &str| parse(text.as_bytes(), Path::new(PATH), &names, 0.5, &mut reading);
        let rows = read(text).unwrap();
        let wrong = text.replace("0.4", "high");
        assert_eq!(
            read(&wrong).unwrap_err().to_string(),
            "x.csv:5: confidence `high`, expected a number"
        );
        let facts = reading.account.facts();
        assert_eq!((facts[0].count, facts[0].first[0].as_str()), (1, "b"));
        let [table] = reading.classes.tables([rows]);
        assert_eq!(table.images(), ["b.jpg", "a.jpg"]);
        assert_eq!(table.classes(), ["/m/3", "Cat"]);
        assert_eq!((table.labels(0), table.labels(1)), (&[0, 1][..], &[][..]));
    }

    #[test]
    fn codes_of_one_name_are_kept_apart() {
        let read = |text: &str| name_codes(text.as_bytes(), Path::new(PATH));
        for header in ["", "LabelName,DisplayName\n"] {
            let names = read(&format!(
                "{header}/m/1,Jaguar\n/m/2,Jaguar\n/m/3,\"Dog, big\"\n"
            ))
            .unwrap();
            assert_eq!(names["/m/1"], "Jaguar (/m/1)");
            assert_eq!(names["/m/2"], "Jaguar (/m/2)");
            assert_eq!(names["/m/3"], "Dog, big");
        }
        let error = read("/m/1,Cat\n/m/1,Dog\n").unwrap_err().to_string();
        assert!(
            error.starts_with("x.csv:2") && error.contains("line 1"),
            "{error}"
        );
    }
}

//! Scores of a model, or of another program, for a list of images, read from and written to CSV
//! files.

mod forward;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::data::class_name;
use crate::data::labels::LabelTable;
use crate::error::{Error, Result, closest};
use crate::rows;
use crate::text;
use crate::wording::counted;

pub use forward::{ViewMean, input, predict, tensor};

/// The scale of scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Any real number; a class counts as present above 0.
    Logits,
    /// 0 to 1; a class counts as present above one half.
    Probabilities,
}

impl Scale {
    /// Returns the name of the scale in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Scale::Logits => "logits",
            Scale::Probabilities => "probabilities",
        }
    }

    /// Returns the scale with the given name.
    pub fn parse(name: &str) -> Option<Self> {
        let mut all = [Scale::Logits, Scale::Probabilities].into_iter();
        all.find(|scale| scale.name() == name)
    }

    /// Returns the score at or below which a class counts as absent.
    pub fn threshold(self) -> f64 {
        match self {
            Scale::Logits => 0.0,
            Scale::Probabilities => 0.5,
        }
    }

    /// Converts a probability, 0 to 1, to this scale.
    pub fn of_probability(self, probability: f64) -> f64 {
        match self {
            Scale::Logits => (probability / (1.0 - probability)).ln(),
            Scale::Probabilities => probability,
        }
    }
}

/// Converts a logit to a probability, 0 to 1.
pub fn probability(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

/// Scores of N images for C classes. A higher score means more confidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    /// Class names, the columns.
    pub classes: Vec<String>,
    /// Image names, the rows.
    pub images: Vec<String>,
    /// Scores in row-major order, images x classes.
    pub scores: Vec<f64>,
    /// The scale of the scores, if it is known: dbloss writes logits, which preserve the ranking
    /// that rounded probabilities lose.
    pub scale: Option<Scale>,
}

impl Predictions {
    /// Writes `image (logits),<class>,...`, one row per image, with the fewest digits that identify
    /// each score among all `f32` values, or among all `f64` values if it is not an `f32`. The
    /// first cell names the scale if it is known.
    pub fn write(&self, path: &Path) -> Result<()> {
        rows::write_with(path, |csv| {
            csv.write_record(header(self.scale, &self.classes))?;
            let rows = self.scores.chunks(self.classes.len());
            for (image, scores) in self.images.iter().zip(rows) {
                csv.write_record(row(image, scores))?;
            }
            Ok(())
        })
    }

    /// Reads such a file, written by dbloss or by another program, with cells separated by commas.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_separated(path, b',')
    }

    /// Reads such a file with another separator.
    ///
    /// # Errors
    /// Fails on a cell that is not a score or is NaN, and names its line.
    pub fn read_separated(path: &Path, separator: u8) -> Result<Self> {
        let file = text::open(fs_err::File::open(path)?, path)?;
        let mut csv = (csv::ReaderBuilder::new().delimiter(separator)).from_reader(file.all);
        let header = csv.headers().map_err(|e| rows::failed(path, e))?.clone();
        let scale = first_cell(&header, separator).map_err(|hint| {
            Error::line(path, 1, "expected the header `image,<class>,<class>,...`").hint(hint)
        })?;
        let class = |name: &str| match class_name::clean(name) {
            Ok(name) => Ok(name.into_owned()),
            Err(problem) => Err(Error::line(path, 1, problem)),
        };
        let mut predictions = Predictions {
            classes: header.iter().skip(1).map(class).collect::<Result<_>>()?,
            images: Vec::new(),
            scores: Vec::new(),
            scale,
        };
        for record in csv.records() {
            let record = record.map_err(|e| rows::failed(path, e))?;
            let line = record.position().map_or(0, |p| p.line());
            predictions.images.push(record[0].to_owned());
            for (class, text) in predictions.classes.iter().zip(record.iter().skip(1)) {
                let score: f64 = text.trim().parse().map_err(|_| {
                    Error::line(
                        path,
                        line,
                        format_args!("`{text}` for `{class}` is not a number"),
                    )
                })?;
                if score.is_nan() {
                    let problem = format!("the score for `{class}` is NaN");
                    return Err(Error::line(path, line, problem)
                        .hint("a ranking needs numbers: the model that wrote this diverged"));
                }
                predictions.scores.push(score);
            }
        }
        if predictions.images.is_empty() {
            return Err(Error::file(path, "contains no predictions"));
        }
        Ok(predictions)
    }

    /// Returns the rows of `table` that have scores, in its order; skipped pictures have none.
    pub fn scored(&self, table: &LabelTable) -> LabelTable {
        let scored: HashSet<&str> = self.images.iter().map(String::as_str).collect();
        let rows: Vec<usize> = (0..table.len())
            .filter(|&i| scored.contains(table.image(i)))
            .collect();
        table.subset(&rows)
    }

    /// Determines the scale of the scores: from the file, from `given`, or from the values, which
    /// is logged. Probabilities are in 0..1.
    ///
    /// # Errors
    /// Fails if the file and `given` contradict each other, or if a probability is outside 0..1.
    pub fn settle_scale(&mut self, given: Option<Scale>, path: &Path) -> Result<Scale> {
        let outside = self
            .scores
            .iter()
            .filter(|s| !(0.0..=1.0).contains(*s))
            .count();
        let first = (self.scores.iter())
            .position(|s| !(0.0..=1.0).contains(s))
            .map(|at| {
                let classes = self.classes.len();
                let (image, class) = (&self.images[at / classes], &self.classes[at % classes]);
                format!("first {} for `{class}` of `{image}`", self.scores[at])
            });
        let scale = match (self.scale, given) {
            (Some(own), Some(given)) if own != given => {
                let (own, given) = (own.name(), given.name());
                let problem =
                    format!("says that its scores are {own}, but `--scores` says {given}");
                return Err(Error::file(path, problem).hint("leave `--scores` out"));
            }
            (Some(scale), _) | (None, Some(scale)) => scale,
            (None, None) => match &first {
                None => {
                    tracing::info!(
                        "{}: all scores lie in 0..1 and are read as probabilities (`--scores logits` if they are not)",
                        path.display()
                    );
                    Scale::Probabilities
                }
                Some(first) => {
                    tracing::warn!(
                        "{}: {outside} of {} scores lie outside 0..1, {first}: they are read as logits, with 0 as the threshold (pass `--scores logits` to confirm)",
                        path.display(),
                        self.scores.len()
                    );
                    Scale::Logits
                }
            },
        };
        if let (Scale::Probabilities, Some(first)) = (scale, first) {
            let problem = format!("{outside} of its probabilities lie outside 0..1, {first}");
            return Err(Error::file(path, problem).hint("for logits pass `--scores logits`"));
        }
        self.scale = Some(scale);
        Ok(scale)
    }

    /// Returns the scores in the row order of `table` and the column order of its classes. Every
    /// image and class of the table must occur exactly once; others in the file are an error too,
    /// because they mean that the two do not belong together.
    ///
    /// A file that gives pictures without their folders is matched by file names, if each is
    /// unique.
    pub fn align(&self, table: &LabelTable, path: &Path) -> Result<Vec<f64>> {
        self.align_part(table, &[], path)
    }

    /// Like [`align`](Self::align), for a file that may also score the images of `others`.
    pub fn align_part(
        &self,
        table: &LabelTable,
        others: &[&LabelTable],
        path: &Path,
    ) -> Result<Vec<f64>> {
        let columns = self.columns(table, path)?;
        let mut rows: HashMap<&str, usize> = HashMap::with_capacity(self.images.len());
        for (row, image) in self.images.iter().enumerate() {
            if rows.insert(image, row).is_some() {
                return Err(Error::file(path, format_args!("scores `{image}` twice")));
            }
        }
        let mut found: Vec<Option<usize>> = (table.images().iter())
            .map(|image| rows.remove(image.as_str()))
            .collect();
        for other in others {
            for image in other.images() {
                rows.remove(image.as_str());
            }
        }
        match_base_names(table, &mut found, &mut rows, path);
        let missing: Vec<&str> = (table.images().iter().zip(&found))
            .filter(|(_, row)| row.is_none())
            .map(|(image, _)| image.as_str())
            .collect();
        if let Some(first) = missing.first() {
            let known = rows.keys().min().map_or(String::new(), |row| {
                format!(", and has rows that match no image, first `{row}`")
            });
            return Err(Error::file(
                path,
                format_args!(
                    "lacks {} of {} images, first `{first}`{known}",
                    missing.len(),
                    table.len()
                ),
            )
            .hint("every image of the label table needs a row of scores"));
        }
        let elsewhere: HashSet<&str> = (others.iter())
            .flat_map(|other| other.images())
            .map(|image| base(image))
            .collect();
        let strangers = rows.keys().filter(|row| !elsewhere.contains(base(row)));
        if let (count, Some(stranger)) = (strangers.clone().count(), strangers.min()) {
            return Err(Error::file(
                path,
                format_args!("scores {count} images without labels, first `{stranger}`"),
            )
            .hint("the predictions and the label table must name the same images"));
        }
        let used: HashSet<usize> = found.iter().copied().flatten().collect();
        let mut unused = (0..self.images.len()).filter(|row| !used.contains(row));
        if let Some(first) = unused.next() {
            let images = counted(1 + unused.count(), "image");
            tracing::info!(
                "{}: {images} of the split's other sets skipped, first `{}`",
                path.display(),
                self.images[first]
            );
        }
        let rows = found.into_iter().flatten();
        let width = columns.len();
        Ok(rows
            .flat_map(|row| {
                columns
                    .iter()
                    .map(move |&column| self.scores[row * width + column])
            })
            .collect())
    }

    fn columns(&self, table: &LabelTable, path: &Path) -> Result<Vec<usize>> {
        let known = || table.classes().iter().map(String::as_str);
        if let Some(stranger) = self.classes.iter().find(|c| known().all(|k| k != *c)) {
            let mut error = Error::file(
                path,
                format_args!("has a column `{stranger}`, which is not a class of the labels"),
            );
            if let Some(near) = closest(stranger, known()) {
                error = error.hint(format_args!("did you mean `{near}`?"));
            }
            return Err(error);
        }
        table
            .classes()
            .iter()
            .map(|class| {
                let mut found = (0..self.classes.len()).filter(|&i| self.classes[i] == *class);
                match (found.next(), found.next()) {
                    (Some(column), None) => Ok(column),
                    (None, _) => Err(Error::file(
                        path,
                        format_args!("has no column for the class `{class}`"),
                    )),
                    _ => Err(Error::file(path, format_args!("has two columns `{class}`"))),
                }
            })
            .collect()
    }
}

/// Returns the header of a file of predictions, see [`Predictions::write`].
pub fn header(scale: Option<Scale>, classes: &[String]) -> impl Iterator<Item = String> {
    let first = match scale {
        Some(scale) => format!("image ({})", scale.name()),
        None => "image".to_owned(),
    };
    std::iter::once(first).chain(classes.iter().cloned())
}

/// Returns the row of an image in a file of predictions.
pub fn row(image: &str, scores: &[f64]) -> impl Iterator<Item = String> {
    std::iter::once(image.to_owned()).chain(scores.iter().map(|&score| digits(score)))
}

/// Formats a score with the fewest digits that identify it, as an `f32` if it is one.
fn digits(score: f64) -> String {
    let narrow = score as f32;
    match f64::from(narrow) == score {
        true => narrow.to_string(),
        false => score.to_string(),
    }
}

/// Reads the scale from the header's first cell; the error says what to do.
fn first_cell(header: &csv::StringRecord, separator: u8) -> Result<Option<Scale>, String> {
    let cell = header.get(0).unwrap_or_default();
    let cell = cell.trim_start_matches('\u{feff}').trim();
    if header.len() < 2 {
        let other = [b',', b';', b'\t']
            .into_iter()
            .find(|&c| c != separator && cell.contains(char::from(c)));
        if let Some(other) = other {
            let name = match other {
                b'\t' => "\\t".to_owned(),
                other => char::from(other).to_string(),
            };
            return Err(format!(
                "the cells seem to have another separator: try `--separator '{name}'`"
            ));
        }
    }
    let scale = cell
        .strip_prefix("image (")
        .and_then(|rest| rest.strip_suffix(')'));
    match (cell, scale.map(Scale::parse)) {
        (_, Some(Some(scale))) if header.len() > 1 => Ok(Some(scale)),
        ("image", _) if header.len() > 1 => Ok(None),
        _ => Err(
            "the first column names the image, every other column is a class; \
                  `image (logits)` or `image (probabilities)` says what the scores are"
                .into(),
        ),
    }
}

/// Returns the name without its folders.
fn base(image: &str) -> &str {
    image.rsplit(['/', '\\']).next().unwrap_or(image)
}

/// Matches the remaining rows and images by their file names, where these are unique.
fn match_base_names(
    table: &LabelTable,
    found: &mut [Option<usize>],
    rows: &mut HashMap<&str, usize>,
    path: &Path,
) {
    if rows.is_empty() || found.iter().all(Option::is_some) {
        return;
    }
    // `None` for a file name that occurs several times.
    let mut by_base: HashMap<&str, Option<&str>> = HashMap::new();
    for &row in rows.keys() {
        by_base
            .entry(base(row))
            .and_modify(|one| *one = None)
            .or_insert(Some(row));
    }
    let mut images: HashMap<&str, usize> = HashMap::new();
    for image in table.images() {
        *images.entry(base(image)).or_default() += 1;
    }
    let (mut matched, mut first) = (0, None);
    for (image, place) in table.images().iter().zip(found) {
        let name = base(image);
        if place.is_none()
            && images.get(name) == Some(&1)
            && let Some(Some(row)) = by_base.get(name)
        {
            *place = rows.remove(row);
            matched += 1;
            first.get_or_insert((*row, image));
        }
    }
    if let Some((row, image)) = first {
        tracing::info!(
            "{}: {matched} images are matched by file name without folder, first `{row}` with `{image}`",
            path.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> LabelTable {
        let mut table = LabelTable::new(vec!["cat".into(), "dog, big".into()]);
        table.push("a.jpg", [0]);
        table.push("b.jpg", [1]);
        table
    }

    #[test]
    fn written_scores_come_back_bit_for_bit_in_any_order() {
        let predictions = Predictions {
            classes: vec!["dog, big".into(), "cat".into()],
            images: vec!["b.jpg".into(), "a.jpg".into()],
            scores: vec![0.1, -3.4e-30, f64::MAX, 1.0 / 3.0],
            scale: Some(Scale::Logits),
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.csv");
        predictions.write(&path).unwrap();
        let read = Predictions::read(&path).unwrap();
        assert_eq!(read, predictions);
        let aligned = read.align(&table(), &path).unwrap();
        assert_eq!(aligned, [1.0 / 3.0, f64::MAX, -3.4e-30, 0.1]);
        // A model's scores are written with the digits of an f32.
        assert_eq!(digits(f64::from(0.1f32)), "0.1");
    }

    #[test]
    fn what_does_not_fit_the_labels_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.csv");
        let problem = |text: &str| {
            fs_err::write(&path, text).unwrap();
            Predictions::read(&path)
                .and_then(|p| p.align(&table(), &path))
                .unwrap_err()
                .to_string()
        };
        let header = "image,cat,\"dog, big\"\n";
        for (text, expected) in [
            ("img,cat\n".to_owned(), "expected the header"),
            (format!("{header}a.jpg,1,x\n"), "`x` for `dog, big`"),
            (format!("{header}a.jpg,1,NaN\n"), "NaN"),
            (format!("{header}a.jpg,1\n"), "p.csv:2"),
            (
                format!("{header}a.jpg,1,2\n"),
                "lacks 1 of 2 images, first `b.jpg`",
            ),
            (
                format!("{header}a.jpg,1,2\na.jpg,1,2\n"),
                "scores `a.jpg` twice",
            ),
            (
                format!("{header}a.jpg,1,2\nb.jpg,1,2\nc.jpg,1,2\n"),
                "`c.jpg`",
            ),
            (
                "image,cat\na.jpg,1\nb.jpg,1\n".to_owned(),
                "no column for the class `dog, big`",
            ),
            ("image,cow\na.jpg,1\nb.jpg,1\n".to_owned(), "`cow`"),
            (header.to_owned(), "no prediction"),
        ] {
            let message = problem(&text);
            assert!(message.contains(expected), "{message} / {expected}");
        }
    }
}

//! Predicted labels of pictures, written picture by picture.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::error::{Error, Result};
use crate::predict::{Scale, header, probability, row};

/// Output format of predicted labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelFormat {
    /// `image,labels,<class>,<class>,...`: labels separated by `|`, then the probability of each
    /// class in full precision.
    Csv,
    /// One JSON object per line with `image`, `labels`, `probabilities`.
    JsonLines,
    /// The labels with their probabilities, for people.
    Table,
    /// Only the scores, in the format that `dbloss eval` writes and reads.
    Predictions,
}

impl LabelFormat {
    /// All formats, with their names on the command line.
    pub const ALL: [(LabelFormat, &'static str); 4] = [
        (LabelFormat::Csv, "csv"),
        (LabelFormat::JsonLines, "jsonl"),
        (LabelFormat::Table, "table"),
        (LabelFormat::Predictions, "predictions"),
    ];
}

/// The rule that decides which classes of a picture are its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The score of each class above which it may be a label.
    pub thresholds: Vec<f64>,
    /// Largest number of labels, the best ones; `None` means no limit.
    pub top: Option<usize>,
}

impl Choice {
    /// Returns the labels of a picture with these scores, best first; ties are in class order.
    pub fn labels(&self, scores: &[f64]) -> Vec<usize> {
        let pairs = scores.iter().zip(&self.thresholds).enumerate();
        let above = pairs.filter(|(_, (score, threshold))| score > threshold);
        let mut labels: Vec<usize> = above.map(|(class, _)| class).collect();
        labels.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        labels.truncate(self.top.unwrap_or(usize::MAX));
        labels
    }
}

/// Writes the predictions of pictures as text.
#[derive(Debug)]
pub struct Labelling<'a> {
    format: LabelFormat,
    classes: &'a [String],
    scale: Scale,
    choice: Choice,
    /// Width of the widest image name so far.
    width: usize,
}

/// The JSON object written for a picture.
#[derive(Serialize)]
struct JsonRow<'a> {
    image: &'a str,
    labels: Vec<&'a str>,
    probabilities: Named<'a>,
}

/// Named numbers, serialised as a map in this order.
struct Named<'a>(&'a [String], Vec<f64>);

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, number) in self.0.iter().zip(&self.1) {
            map.serialize_entry(name, number)?;
        }
        map.end()
    }
}

impl<'a> Labelling<'a> {
    /// Writes labels of `classes`, chosen by `choice` from scores of the given `scale`.
    pub fn new(
        format: LabelFormat,
        classes: &'a [String],
        scale: Scale,
        choice: Choice,
    ) -> Labelling<'a> {
        Labelling {
            format,
            classes,
            scale,
            choice,
            width: 0,
        }
    }

    /// Returns the first line; empty if the format has none.
    ///
    /// # Errors
    /// Fails if the names of the classes cannot be written.
    pub fn header(&self) -> Result<String> {
        match self.format {
            LabelFormat::Csv => {
                let names = self.classes.iter().map(String::as_str);
                csv_line(["image", "labels"].into_iter().chain(names))
            }
            LabelFormat::Predictions => csv_line(header(Some(self.scale), self.classes)),
            LabelFormat::JsonLines | LabelFormat::Table => Ok(String::new()),
        }
    }

    /// Returns the line of a picture.
    ///
    /// # Errors
    /// Fails if it cannot be written.
    pub fn line(&mut self, image: &str, scores: &[f64]) -> Result<String> {
        if self.format == LabelFormat::Predictions {
            return csv_line(row(image, scores));
        }
        let labels = self.choice.labels(scores);
        let names = labels.iter().map(|&class| self.classes[class].as_str());
        let probability = |score: f64| match self.scale {
            Scale::Logits => probability(score),
            Scale::Probabilities => score,
        };
        match self.format {
            LabelFormat::Table => {
                let told = labels.iter().zip(names);
                let told: Vec<String> = told
                    .map(|(&class, name)| format!("{name} {:.2}", probability(scores[class])))
                    .collect();
                let labels = match told.is_empty() {
                    true => "-".to_owned(),
                    false => told.join(", "),
                };
                self.width = self.width.max(image.chars().count());
                Ok(format!("{image:width$}  {labels}\n", width = self.width))
            }
            LabelFormat::JsonLines => {
                let probabilities = scores.iter().map(|&score| probability(score)).collect();
                let row = JsonRow {
                    image,
                    labels: names.collect(),
                    probabilities: Named(self.classes, probabilities),
                };
                let line = serde_json::to_string(&row).map_err(|e| Error::input(image, e))?;
                Ok(line + "\n")
            }
            LabelFormat::Csv | LabelFormat::Predictions => {
                let labels = names.collect::<Vec<_>>().join("|");
                let numbers = scores.iter().map(|&score| probability(score).to_string());
                csv_line([image.to_owned(), labels].into_iter().chain(numbers))
            }
        }
    }
}

fn csv_line<T: AsRef<[u8]>>(cells: impl IntoIterator<Item = T>) -> Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let failed = |problem: String| Error::input("a line of CSV", problem);
    csv.write_record(cells).map_err(|e| failed(e.to_string()))?;
    let bytes = csv.into_inner().map_err(|e| failed(e.to_string()))?;
    String::from_utf8(bytes).map_err(|e| failed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> Vec<String> {
        ["cat", "a,\"b\"", "dog"].map(str::to_owned).to_vec()
    }

    #[test]
    fn labels_are_above_their_threshold_and_the_best_come_first() {
        let choice = |thresholds: [f64; 3], top| Choice {
            thresholds: thresholds.to_vec(),
            top,
        };
        let scores = [0.5, 2.0, 0.5];
        // A score equal to the threshold does not exceed it.
        assert_eq!(choice([0.5, 0.0, 0.4], None).labels(&scores), [1, 2]);
        assert_eq!(choice([0.0; 3], Some(2)).labels(&scores), [1, 0]);
        let all = f64::NEG_INFINITY;
        assert_eq!(
            choice([all; 3], None).labels(&[-9.0, -8.0, -9.0]),
            [1, 0, 2]
        );
        assert!(choice([3.0; 3], Some(2)).labels(&scores).is_empty());
    }

    #[test]
    fn every_format_says_the_same() {
        let classes = classes();
        let scores = [0.0, 3.0_f64.ln(), f64::from(-0.1_f32)];
        let choice = Choice {
            thresholds: vec![-1.0, -1.0, 0.0],
            top: None,
        };
        let text = |format| {
            let choice = choice.clone();
            let mut labelling = Labelling::new(format, &classes, Scale::Logits, choice);
            let header = labelling.header().unwrap();
            header + &labelling.line("x, y.jpg", &scores).unwrap()
        };
        let p = probability(scores[2]);
        assert_eq!(
            text(LabelFormat::Csv),
            format!(
                "image,labels,cat,\"a,\"\"b\"\"\",dog\n\"x, y.jpg\",\"a,\"\"b\"\"|cat\",0.5,0.75,{p}\n"
            )
        );
        let json: serde_json::Value = serde_json::from_str(&text(LabelFormat::JsonLines)).unwrap();
        assert_eq!(json["labels"], serde_json::json!(["a,\"b\"", "cat"]));
        assert_eq!(json["probabilities"]["a,\"b\""], 0.75);
        assert_eq!(json["image"], "x, y.jpg");
        assert_eq!(
            text(LabelFormat::Table),
            "x, y.jpg  a,\"b\" 0.75, cat 0.50\n"
        );
        assert_eq!(
            text(LabelFormat::Predictions),
            format!(
                "image (logits),cat,\"a,\"\"b\"\"\",dog\n\"x, y.jpg\",0,{},-0.1\n",
                scores[1]
            )
        );
    }
}

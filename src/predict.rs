//! Scores of a model, or of anybody's, for a list of images: in and out of CSV files.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::data::labels::LabelTable;
use crate::data::loader::{Batch, Loader};
use crate::error::{Error, Result, closest};
use crate::interrupt;
use crate::model::Model;
use crate::progress::Progress;
use crate::rows;

/// Scores of N images for C classes. A higher score means more confidence; the scale is the
/// writer's (dbloss writes logits, which keep the ranking that rounded probabilities lose).
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    /// Class names, the columns.
    pub classes: Vec<String>,
    /// Image names, the rows.
    pub images: Vec<String>,
    /// Scores, row by row: images x classes.
    pub scores: Vec<f32>,
}

impl Predictions {
    /// Writes `image,<class>,...`, one row an image, with as many digits as a f32 needs to be
    /// read back unchanged.
    pub fn write(&self, path: &Path) -> Result<()> {
        rows::write_with(path, |csv| {
            csv.write_field("image")?;
            csv.write_record(&self.classes)?;
            let rows = self.scores.chunks(self.classes.len());
            for (image, row) in self.images.iter().zip(rows) {
                csv.write_field(image)?;
                csv.write_record(row.iter().map(|score| score.to_string()))?;
            }
            Ok(())
        })
    }

    /// Reads a file of that form, from dbloss or anyone else.
    pub fn read(path: &Path) -> Result<Self> {
        let file = fs_err::File::open(path)?;
        let mut csv = csv::Reader::from_reader(file);
        let header = csv.headers().map_err(|e| rows::failed(path, e))?.clone();
        if header
            .get(0)
            .map(|name| name.trim_start_matches('\u{feff}'))
            != Some("image")
            || header.len() < 2
        {
            return Err(
                Error::line(path, 1, "expected the header `image,<class>,<class>,...`")
                    .hint("the first column names the image, every other column is a class"),
            );
        }
        let classes: Vec<String> = header.iter().skip(1).map(str::to_owned).collect();
        let mut predictions = Predictions {
            classes,
            images: Vec::new(),
            scores: Vec::new(),
        };
        for record in csv.records() {
            let record = record.map_err(|e| rows::failed(path, e))?;
            let line = record.position().map_or(0, |p| p.line());
            predictions.images.push(record[0].to_owned());
            for (class, text) in predictions.classes.iter().zip(record.iter().skip(1)) {
                let score: f32 = text.trim().parse().map_err(|_| {
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
            return Err(Error::file(path, "holds no prediction"));
        }
        Ok(predictions)
    }

    /// The rows of `table` that have scores, in its order: pictures that were skipped as bad have
    /// none.
    pub fn scored(&self, table: &LabelTable) -> LabelTable {
        let scored: HashSet<&str> = self.images.iter().map(String::as_str).collect();
        let rows: Vec<usize> = (0..table.len())
            .filter(|&i| scored.contains(table.image(i)))
            .collect();
        table.subset(&rows)
    }

    /// The scores in the row order of `table` and the column order of its classes. Every image
    /// and class of the table must be there, once; others in the file are an error too, because
    /// they mean that the two do not belong together.
    pub fn align(&self, table: &LabelTable, path: &Path) -> Result<Vec<f32>> {
        let columns = self.columns(table, path)?;
        let mut rows: HashMap<&str, usize> = HashMap::with_capacity(self.images.len());
        for (row, image) in self.images.iter().enumerate() {
            if rows.insert(image, row).is_some() {
                return Err(Error::file(path, format_args!("scores `{image}` twice")));
            }
        }
        let mut aligned = Vec::with_capacity(table.len() * columns.len());
        let mut missing = Vec::new();
        for image in table.images() {
            match rows.remove(image.as_str()) {
                Some(row) => {
                    let scores = &self.scores[row * columns.len()..(row + 1) * columns.len()];
                    aligned.extend(columns.iter().map(|&column| scores[column]));
                }
                None => missing.push(image.as_str()),
            }
        }
        if let Some(first) = missing.first() {
            return Err(Error::file(
                path,
                format_args!(
                    "lacks {} of {} images, first `{first}`",
                    missing.len(),
                    table.len()
                ),
            )
            .hint("every image of the label table needs a row of scores"));
        }
        if let Some(stranger) = rows.keys().min() {
            return Err(Error::file(
                path,
                format_args!(
                    "scores {} images without labels, first `{stranger}`",
                    rows.len()
                ),
            )
            .hint("the predictions and the label table must name the same images"));
        }
        Ok(aligned)
    }

    fn columns(&self, table: &LabelTable, path: &Path) -> Result<Vec<usize>> {
        let known = || table.classes().iter().map(String::as_str);
        if let Some(stranger) = self.classes.iter().find(|c| known().all(|k| k != *c)) {
            let mut error = Error::file(
                path,
                format_args!("has a column `{stranger}`, which is no class of the labels"),
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

/// The pictures of a batch as a tensor on `device`: [N, H, W, 3].
///
/// They are taken out of the batch where the tensor can hold them as they are; elsewhere they are
/// copied, and the batch's buffers serve another one.
pub fn pictures(batch: &mut Batch, device: &Device) -> Result<Tensor> {
    let n = batch.num_images;
    let side = (batch.images.len() / (3 * n)).isqrt();
    let shape = (n, side, side, 3);
    Ok(match device.is_cpu() {
        true => Tensor::from_vec(std::mem::take(&mut batch.images), shape, device)?,
        false => Tensor::from_slice(&batch.images, shape, device)?,
    })
}

/// Logits of every image that `loader` gives for `table`, in the table's order, and the table of
/// those images: the loader leaves out pictures that it was told to skip. With several views a
/// picture (test-time augmentation) their logits are averaged. `label` names the work on the
/// progress bar.
pub fn predict(
    model: &Model,
    loader: &Loader,
    table: &Arc<LabelTable>,
    label: &str,
) -> Result<(Predictions, Arc<LabelTable>)> {
    let order: Vec<u32> = (0..table.len() as u32).collect();
    let views = loader.views();
    let mut progress = Progress::new(label, (order.len() * views.len()) as u64);
    let mut predicted = Vec::with_capacity(table.len());
    let mut scores: Vec<f32> = Vec::with_capacity(table.len() * table.num_classes());
    for (number, view) in views.iter().enumerate() {
        let mut at = 0;
        for batch in loader.view(&order, *view) {
            interrupt::check("the predictions are not written")?;
            let mut batch = batch?;
            let images = pictures(&mut batch, model.device())?;
            let logits = model.logits(&images)?.flatten_all()?.to_vec1::<f32>()?;
            if number == 0 {
                predicted.extend(batch.indices.iter().map(|&i| i as usize));
                scores.extend(&logits);
            } else {
                let sums = scores.iter_mut().skip(at).zip(&logits);
                sums.for_each(|(sum, logit)| *sum += logit);
            }
            at += logits.len();
            progress.advance(batch.num_images as u64);
        }
    }
    scores.iter_mut().for_each(|sum| *sum /= views.len() as f32);
    let table = match predicted.len() == table.len() {
        true => Arc::clone(table),
        false => Arc::new(table.subset(&predicted)),
    };
    if table.is_empty() {
        return Err(Error::input(label, "not one picture could be read"));
    }
    if let Some(bad) = scores.iter().position(|score: &f32| score.is_nan()) {
        let image = table.image(bad / table.num_classes());
        return Err(Error::input(image, "the model's score is NaN")
            .hint("the training diverged: see the loss in `steps.csv`"));
    }
    let predictions = Predictions {
        classes: table.classes().to_vec(),
        images: table.images().to_vec(),
        scores,
    };
    Ok((predictions, table))
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
            scores: vec![0.1, -3.4e-30, f32::MAX, 1.0 / 3.0],
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.csv");
        predictions.write(&path).unwrap();
        let read = Predictions::read(&path).unwrap();
        assert_eq!(read, predictions);
        let aligned = read.align(&table(), &path).unwrap();
        assert_eq!(aligned, [1.0 / 3.0, f32::MAX, -3.4e-30, 0.1]);
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

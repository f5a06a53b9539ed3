//! Training images, scored by other trainings that did not see them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::look::{Part, Shown};
use crate::data::split::{Set, Split};
use crate::error::{Error, Result};
use crate::predict::{Predictions, Scale, probability};

impl Part {
    /// Returns the training images of `split` with the scores in the files `folds`, each from a
    /// training that held out the images it scores. The scores are converted to probabilities, and
    /// averaged for an image that was held out several times. Images that were never held out are
    /// left out. `split_folder` is the folder of the split, for errors.
    ///
    /// # Errors
    /// Fails if a file is missing, damaged, or belongs to other images or classes.
    pub fn held_out(split: &Split, split_folder: &Path, folds: &[PathBuf]) -> Result<Self> {
        let predictions = together(folds)?;
        let (train, root) = split.set(Set::Train, split_folder)?;
        let table = predictions.scored(train);
        let first = folds.first().map_or(split_folder, PathBuf::as_path);
        let scores = predictions.align(&table, first).map_err(|error| {
            error.hint(
                "the folds of a tuning are made from its first subset: name a run that was trained on it",
            )
        })?;
        Ok(Part {
            set: Shown::HeldOut,
            predictions: Predictions {
                classes: table.classes().to_vec(),
                images: table.images().to_vec(),
                scores,
                scale: predictions.scale,
            },
            table: table.into(),
            root: root.clone(),
        })
    }
}

/// Combines the scores of all files as probabilities.
fn together(folds: &[PathBuf]) -> Result<Predictions> {
    let mut all = Predictions {
        classes: Vec::new(),
        images: Vec::new(),
        scores: Vec::new(),
        scale: Some(Scale::Probabilities),
    };
    // The row of an image, and the number of scores averaged in it.
    let mut rows: HashMap<String, (usize, f64)> = HashMap::new();
    for path in folds {
        let fold = Predictions::read(path)?;
        if all.classes.is_empty() {
            all.classes.clone_from(&fold.classes);
        }
        if fold.classes != all.classes {
            return Err(Error::file(path, "has other classes than the first fold"));
        }
        let width = all.classes.len();
        for (image, scores) in fold.images.iter().zip(fold.scores.chunks(width)) {
            let (row, seen) = rows.entry(image.clone()).or_insert_with(|| {
                all.images.push(image.clone());
                all.scores.resize(all.scores.len() + width, 0.0);
                (all.images.len() - 1, 0.0)
            });
            *seen += 1.0;
            for (mean, &logit) in all.scores[*row * width..][..width].iter_mut().zip(scores) {
                *mean += (probability(logit) - *mean) / *seen;
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_was_held_out_twice_has_the_mean_of_its_probabilities() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs_err::write(&path, text).unwrap();
            path
        };
        let third = (1.0f64 / 3.0 / (2.0 / 3.0)).ln();
        let files = [
            write(
                "a.csv",
                &format!("image (logits),x,y\n1,0,0\n2,{third},0\n"),
            ),
            write(
                "b.csv",
                &format!("image (logits),x,y\n3,0,0\n1,{third},{}\n", -third),
            ),
        ];
        let all = together(&files).unwrap();
        assert_eq!(all.images, ["1", "2", "3"]);
        let expected = [5.0 / 12.0, 7.0 / 12.0, 1.0 / 3.0, 0.5, 0.5, 0.5];
        for (found, expected) in all.scores.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{:?}", all.scores);
        }
        let other = write("c.csv", "image (logits),x\n3,0\n");
        let error = together(&[files[0].clone(), other]).unwrap_err();
        assert!(error.to_string().contains("other classes"), "{error}");
    }
}

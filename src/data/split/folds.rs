//! Cross-validation folds of the training set, for choosing settings without using the test set.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::{Fold, Split};
use crate::data::image::ToldPictures;
use crate::data::labels::LabelTable;
use crate::data::stratify;
use crate::error::{Error, Result};

impl Split {
    /// Divides the training images into `folds` parts by iterative stratification and returns one
    /// split per part: that part is the test set, the other parts are the training set. The test
    /// and validation images of this split are in none of them, so that nothing chosen on the folds
    /// can have seen them.
    ///
    /// Every class that has a training image keeps at least one in each fold: if a part contains
    /// all images of a class, the first of them moves to the training set and is never held out.
    ///
    /// Training images with equal numbers in `together` (one number per image) end up in the same
    /// part, so that a picture that occurs twice is not trained on while it is held out.
    ///
    /// # Errors
    /// Returns an error if there are fewer training images than folds.
    pub fn folds(&self, folds: usize, seed: u64, together: &[usize]) -> Result<Vec<Split>> {
        assert_eq!(together.len(), self.train.len(), "one for each image");
        if self.train.len() < folds {
            let problem = format!(
                "{} training images are too few for {folds} folds",
                self.train.len()
            );
            return Err(Error::input("split", problem));
        }
        let mut part = stratify::iterative(&self.train, &vec![1.0; folds], seed);
        let mut part_of: HashMap<usize, usize> = HashMap::new();
        for (part, group) in part.iter_mut().zip(together) {
            *part = *part_of.entry(*group).or_insert(*part);
        }
        (0..folds)
            .map(|held_out| {
                let kept = self.kept_for_training(&part, held_out, together);
                let (held, rest): (Vec<usize>, Vec<usize>) = (0..self.train.len())
                    .partition(|image| part[*image] == held_out && !kept.contains(image));
                let fold = Fold {
                    of: self.hash.clone(),
                    folds,
                    held_out,
                    seed,
                };
                self.fold(self.train.subset(&rest), self.train.subset(&held), fold)
            })
            .collect()
    }

    /// Returns the images of the part `held_out` that must stay in training so that no class is
    /// left without a training image.
    fn kept_for_training(&self, part: &[usize], held_out: usize, together: &[usize]) -> Vec<usize> {
        let mut kept: Vec<usize> = Vec::new();
        for images in self.train.images_by_class() {
            let is_left = |&&image: &&u32| {
                part[image as usize] != held_out || kept.contains(&(image as usize))
            };
            if let (Some(&first), None) = (images.first(), images.iter().find(is_left)) {
                let group = together[first as usize];
                kept.extend((0..together.len()).filter(|&image| together[image] == group));
            }
        }
        kept
    }

    fn fold(&self, train: LabelTable, held_out: LabelTable, fold: Fold) -> Result<Split> {
        let mut split = Split {
            groups: self.manifest.groups(&train.class_counts()),
            train: Arc::new(train),
            test: Arc::new(held_out),
            validation: None,
            test_root: self.train_root.clone(),
            hash: String::new(),
            told: ToldPictures::default(),
            ..self.clone()
        };
        split.hash = split.files()?.hash();
        split.manifest.hash = split.hash.clone();
        split.manifest.fold = Some(fold);
        Ok(split)
    }

    /// Reads this fold from `folder`, after writing it there if necessary.
    ///
    /// # Errors
    /// Returns an error if `folder` contains another split or anything else.
    pub fn read_or_write(&self, folder: &Path) -> Result<Split> {
        if !Split::is_in(folder) {
            self.write_whole(folder)?;
        }
        let there = Split::read(folder)?;
        if there.hash != self.hash || there.manifest.fold != self.manifest.fold {
            let problem = "contains other images than this fold";
            return Err(Error::file(folder, problem).hint(
                "the data or the number of folds has changed: choose another `--out` or `name`",
            ));
        }
        Ok(there)
    }
}

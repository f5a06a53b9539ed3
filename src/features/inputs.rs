//! Batches of features.

use std::sync::Arc;

use super::table::FeatureTable;
use crate::data::augment::AugmentConfig;
use crate::data::labels::LabelTable;
use crate::data::loader::{Batch, Batches, Inputs, next_good};
use crate::error::{Error, Result};

/// Provides the features of a label table's images in batches, in the same way as a
/// [`Loader`](crate::data::loader::Loader) provides their pictures: the same images in the same
/// order.
#[derive(Debug)]
pub struct FeatureInputs {
    table: Arc<LabelTable>,
    features: Arc<FeatureTable>,
    batch_size: usize,
    /// Determines which version training shows; without it, always the first.
    augment: Option<AugmentConfig>,
}

impl FeatureInputs {
    /// Creates inputs with batches of `batch_size`. `augment` determines which version training
    /// shows; without it, training shows the first.
    ///
    /// # Errors
    /// Returns an error if the number of images with features differs from that of `table`.
    pub fn new(
        table: Arc<LabelTable>,
        features: Arc<FeatureTable>,
        batch_size: usize,
        augment: Option<AugmentConfig>,
    ) -> Result<Self> {
        if features.len() != table.len() {
            let problem = format!("are of {} images, expected {}", features.len(), table.len());
            return Err(Error::input("features", problem));
        }
        Ok(FeatureInputs {
            table,
            features,
            batch_size: batch_size.max(1),
            augment,
        })
    }

    /// Returns the batch of these images, each in its version.
    fn batch(&self, shown: &[(u32, usize)]) -> Batch {
        let (form, classes) = (self.features.form(), self.table.num_classes());
        let mut inputs = Vec::with_capacity(shown.len() * form.len());
        let mut targets = vec![0.0; shown.len() * classes];
        for (&(image, version), target) in shown.iter().zip(targets.chunks_mut(classes.max(1))) {
            self.features.append(version, image, &mut inputs);
            self.table.fill_targets(image as usize, target);
        }
        let indices = shown.iter().map(|(image, _)| *image).collect();
        Batch::new(form, inputs, targets, indices)
    }

    fn version(&self, seed: u64, epoch: u64, position: usize) -> usize {
        let augment = self.augment.as_ref();
        augment.map_or(0, |augment| augment.version(seed, epoch, position as u64))
    }
}

impl Inputs for FeatureInputs {
    fn training(&self, order: &[u32], (seed, epoch): (u64, u64), start: usize) -> Batches<'_> {
        let (order, size) = (order.to_vec(), self.batch_size);
        Box::new((start..order.len() / size).map(move |batch| {
            let positions = batch * size..(batch + 1) * size;
            let shown: Vec<(u32, usize)> = positions
                .map(|position| {
                    let found = |image| Ok(self.features.has(image).then_some(image));
                    let image = next_good(&order, position, found)?;
                    Ok((image, self.version(seed, epoch, position)))
                })
                .collect::<Result<_>>()?;
            Ok(self.batch(&shown))
        }))
    }

    fn num_views(&self) -> usize {
        match self.augment {
            Some(_) => 1,
            None => self.features.versions(),
        }
    }

    fn testing(&self, order: &[u32], view: usize) -> Batches<'_> {
        // Divided as a loader divides them: images left out make their batch smaller.
        let batches: Vec<Vec<(u32, usize)>> = (order.chunks(self.batch_size))
            .map(|images| {
                let known = images.iter().filter(|&&image| self.features.has(image));
                known.map(|&image| (image, view)).collect()
            })
            .filter(|shown: &Vec<_>| !shown.is_empty())
            .collect();
        Box::new(batches.into_iter().map(|shown| Ok(self.batch(&shown))))
    }
}

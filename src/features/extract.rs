//! Computes the features of a set with a network.

use candle_core::{DType, Tensor};

use super::file::Description;
use super::key::Shown;
use super::table;
use crate::data::loader::{Epoch, Form, Loader};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::model::Model;
use crate::predict;
use crate::progress::Progress;

/// The features to compute, and the pictures to compute them from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work<'a> {
    /// The pictures.
    pub loader: &'a Loader,
    /// How the pictures are presented.
    pub shown: Shown,
    /// Whether to compute feature maps rather than pooled features.
    pub maps: bool,
    /// Label of the progress bar.
    pub label: &'a str,
}

impl Work<'_> {
    /// Returns the number of versions of each picture.
    fn versions(&self) -> Result<usize> {
        match self.shown {
            Shown::Testing => Ok(self.loader.views().len()),
            Shown::Training => self.loader.config().augment.versions().ok_or_else(|| {
                Error::key(
                    "input.augment.views",
                    "is 0: a picture is different each time it is used",
                )
            }),
        }
    }

    fn epoch(&self, order: &[u32], version: usize) -> Epoch {
        match self.shown {
            Shown::Training => self.loader.version(order, version),
            Shown::Testing => self.loader.view(order, self.loader.views()[version]),
        }
    }

    /// Passes the features of all pictures to `put`, version by version and image by image, and
    /// returns their description.
    pub(super) fn run(
        &self,
        model: &Model,
        key: &str,
        put: &mut dyn FnMut(&[f32]) -> Result<()>,
    ) -> Result<Description> {
        let (images, versions) = (self.loader.table().len(), self.versions()?);
        let order: Vec<u32> = (0..images as u32).collect();
        let mut progress = Progress::new(self.label, (images * versions) as u64);
        let mut form = None;
        let mut missing: Vec<u32> = Vec::new();
        for version in 0..versions {
            let mut next = 0;
            let fill = |next: &mut u32, until: u32, form: Form, missing: &mut Vec<u32>| {
                // Pictures that cannot be read get zeros, and are listed as missing.
                for image in *next..until {
                    if version == 0 {
                        missing.push(image);
                    }
                }
                let zeros = vec![0.0; (until - *next) as usize * form.len()];
                *next = until;
                zeros
            };
            for batch in self.epoch(&order, version) {
                interrupt::check("the features are not written")?;
                let mut batch = batch?;
                let pictures = predict::tensor(&mut batch, model.device())?;
                let (values, found) = self.features(model, &pictures)?;
                form.get_or_insert(found);
                for (row, &image) in values.chunks(found.len()).zip(&batch.indices) {
                    put(&fill(&mut next, image, found, &mut missing))?;
                    put(row)?;
                    next = image + 1;
                }
                progress.advance(batch.num_images as u64);
            }
            let Some(form) = form else {
                return Err(Error::input(
                    self.label,
                    "none of the pictures could be read",
                ));
            };
            put(&fill(&mut next, images as u32, form, &mut missing))?;
        }
        let shape = form.map(table::shape).unwrap_or_default();
        Ok(Description {
            key: key.to_owned(),
            shape,
            versions,
            images,
            missing,
        })
    }

    /// Computes the features of a batch and returns them with their form.
    fn features(&self, model: &Model, pictures: &Tensor) -> Result<(Vec<f32>, Form)> {
        let features = model.features(pictures)?;
        let features = match self.maps {
            true => features.maps()?,
            false => features.pooled()?,
        };
        let form = match features.dims() {
            &[_, width] => Form::Pooled { width },
            &[_, rows, columns, width] => Form::Maps {
                rows,
                columns,
                width,
            },
            dims => {
                let problem = format!("have the unknown shape {dims:?}");
                return Err(Error::input("features", problem));
            }
        };
        let values = features.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        Ok((values, form))
    }
}

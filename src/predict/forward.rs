//! The forward pass of pictures through a network.

use std::sync::Arc;

use candle_core::{Device, Shape, Tensor};

use super::{Predictions, Scale};
use crate::data::labels::LabelTable;
use crate::data::loader::{Batch, Form, Inputs};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::model::{Features, Input, Model};
use crate::ops::graph;
use crate::progress::Progress;

/// Returns the contents of a batch as a tensor on `device`, `[N, ...]` with the shape of its
/// contents.
///
/// The data is moved out of the batch if the tensor can use it directly; otherwise it is copied,
/// and the batch's buffers can be reused.
pub fn tensor(batch: &mut Batch, device: &Device) -> Result<Tensor> {
    let n = batch.num_images;
    let shape = match batch.form {
        Form::Pixels { side } => Shape::from((n, side, side, 3)),
        Form::Pooled { width } => Shape::from((n, width)),
        Form::Maps {
            rows,
            columns,
            width,
        } => Shape::from((n, rows, columns, width)),
    };
    graph::upload(&mut batch.inputs, shape, device)
}

/// Returns a batch as the network's input, see [`tensor`].
pub fn input(batch: &mut Batch, device: &Device) -> Result<Input> {
    let form = batch.form;
    let values = tensor(batch, device)?;
    Ok(match form {
        Form::Pixels { .. } => Input::Pictures(values),
        Form::Pooled { .. } => Input::Features(Features::of_pooled(values)),
        Form::Maps { .. } => Input::Features(Features::of_maps(values)),
    })
}

/// Mean logits of the N images of a list over their views, accumulated batch by batch.
#[derive(Debug)]
pub struct ViewMean {
    views: usize,
    classes: usize,
    /// `[N, C]`.
    sums: Vec<f32>,
}

impl ViewMean {
    /// Makes the mean for `images` images and `classes` classes, each image with `views` views.
    pub fn new(images: usize, classes: usize, views: usize) -> Self {
        ViewMean {
            views,
            classes,
            sums: vec![0.0; images * classes],
        }
    }

    /// Adds the outputs of `model` for a batch in view number `view`, counted from 0 in their
    /// order; `given` is the batch as the network's input.
    ///
    /// # Errors
    /// Fails if the network needs another kind of input.
    pub fn add(&mut self, model: &Model, given: &Input, images: &[u32], view: usize) -> Result<()> {
        let logits = model.logits(given)?.flatten_all()?.to_vec1::<f32>()?;
        for (&image, logits) in images.iter().zip(logits.chunks(self.classes)) {
            let sums = &mut self.sums[image as usize * self.classes..][..self.classes];
            match view {
                0 => sums.copy_from_slice(logits),
                _ => (sums.iter_mut().zip(logits)).for_each(|(sum, logit)| *sum += logit),
            }
        }
        Ok(())
    }

    /// Returns the mean logits of an image, all views of which have been added; `name` is the
    /// image's name, for the error.
    ///
    /// # Errors
    /// Fails if one of them is NaN.
    pub fn of(&self, image: u32, name: &str) -> Result<impl Iterator<Item = f64> + '_> {
        let sums = &self.sums[image as usize * self.classes..][..self.classes];
        if sums.iter().any(|sum| sum.is_nan()) {
            let problem = format_args!("{name}: the model's score is not a number");
            return Err(
                Error::diverged(problem).hint("the training diverged: see the loss in `steps.csv`")
            );
        }
        Ok(sums.iter().map(|sum| f64::from(sum / self.views as f32)))
    }
}

/// Returns the logits of every image that `inputs` provide for `table`, in the table's order, and
/// the table of those images: a loader leaves out pictures that it was told to skip. With several
/// views per picture (test-time augmentation) the logits are averaged. `label` is the name on the
/// progress bar.
pub fn predict(
    model: &Model,
    inputs: &dyn Inputs,
    table: &Arc<LabelTable>,
    label: &str,
) -> Result<(Predictions, Arc<LabelTable>)> {
    let order: Vec<u32> = (0..table.len() as u32).collect();
    let views = inputs.num_views();
    let mut progress = Progress::new(label, (order.len() * views) as u64);
    let mut predicted = Vec::with_capacity(table.len());
    let mut mean = ViewMean::new(table.len(), table.num_classes(), views);
    for view in 0..views {
        for batch in inputs.testing(&order, view) {
            interrupt::check("the predictions are not written")?;
            let mut batch = batch?;
            let given = input(&mut batch, model.device())?;
            mean.add(model, &given, &batch.indices, view)?;
            if view == 0 {
                predicted.extend(batch.indices.iter().map(|&i| i as usize));
            }
            progress.advance(batch.num_images as u64);
        }
    }
    let table = match predicted.len() == table.len() {
        true => Arc::clone(table),
        false => Arc::new(table.subset(&predicted)),
    };
    if table.is_empty() {
        return Err(Error::input(label, "none of the pictures could be read"));
    }
    let mut scores = Vec::with_capacity(table.len() * table.num_classes());
    for (&image, name) in predicted.iter().zip(table.images()) {
        scores.extend(mean.of(image as u32, name)?);
    }
    let predictions = Predictions {
        classes: table.classes().to_vec(),
        images: table.images().to_vec(),
        scores,
        scale: Some(Scale::Logits),
    };
    Ok((predictions, table))
}

//! [`Elementwise`], the single implementation of every element-wise loss: a [`Composition`]
//! prepared for a training set.

use rayon::prelude::*;

use super::batch::Batch;
use super::composition::{BiasForm, Composition, Margin, Reduction};
use super::dual::Dual;
use super::frequency::Prior;
use super::kernel::focal_factor;
use super::weight::{Weights, normalise};
use crate::data::labels::ClassFrequency;
use crate::error::{KeyPath, Result};
use crate::ops::cuda::loss as device;

/// The number of elements from which a batch is split across threads.
const PARALLEL_ELEMENTS: usize = 1 << 13;

/// An element-wise loss with the weights, shifts and margins of its classes.
#[derive(Debug, Clone)]
pub struct Elementwise {
    composition: Composition,
    weights: Weights,
    /// b_c, the logit of each class's frequency.
    bias: Vec<f64>,
    /// The shift added to the logits of positives, per class.
    shift_positive: Vec<f64>,
    /// The shift added to the logits of negatives, per class.
    shift_negative: Vec<f64>,
    /// The factor on the logits of positives after the shift, per class.
    scale_positive: Vec<f64>,
    /// The factor on the logits of negatives after the shift.
    scale_negative: f64,
    /// The factor on the loss of negatives, 1 / lambda.
    factor_negative: f64,
}

impl Elementwise {
    /// Validates `composition` and prepares it for the classes of a training set.
    pub fn new(composition: Composition, frequency: &ClassFrequency) -> Result<Self> {
        composition.check(&KeyPath::from("loss"))?;
        let prior = Prior::new(frequency)?;
        let num_classes = prior.counts.len();
        let bias: Vec<f64> = (0..num_classes).map(|class| prior.bias(class)).collect();
        let mut logit_scale = 1.0;
        let mut shift_negative = vec![0.0; num_classes];
        if let Some(adjustment) = &composition.adjustment {
            for (shift, bias) in shift_negative.iter_mut().zip(&bias) {
                *shift += adjustment.tau * bias;
            }
        }
        let mut lambda = 1.0;
        if let Some(tolerance) = &composition.tolerance {
            lambda = tolerance.lambda;
            let scale = match tolerance.bias {
                BiasForm::Code => tolerance.kappa / lambda,
                BiasForm::Paper => tolerance.kappa,
            };
            for (shift, bias) in shift_negative.iter_mut().zip(&bias) {
                *shift += scale * bias;
            }
        }
        let mut shift_positive = shift_negative.clone();
        match composition.margin {
            None => {}
            Some(Margin::Constant { margin }) => {
                shift_positive.iter_mut().for_each(|shift| *shift -= margin)
            }
            Some(Margin::ClassFrequency {
                max_margin,
                power,
                logit_scale: scale,
            }) => {
                logit_scale = scale;
                let rarest = prior.smallest();
                for (shift, n) in shift_positive.iter_mut().zip(&prior.counts) {
                    *shift -= max_margin * (rarest / n).powf(power);
                }
            }
        }
        let mut scale_positive = vec![logit_scale; num_classes];
        if let Some(scale) = &composition.positive_scale {
            let most = prior.counts.iter().copied().fold(1.0, f64::max);
            for (factor, n) in scale_positive.iter_mut().zip(&prior.counts) {
                *factor *= (n / most).powf(scale.power);
            }
        }
        Ok(Elementwise {
            weights: Weights::new(&composition.weight, &prior),
            composition,
            bias,
            shift_positive,
            shift_negative,
            scale_positive,
            scale_negative: logit_scale * lambda,
            factor_negative: 1.0 / lambda,
        })
    }

    /// Returns the parts of this loss.
    pub fn composition(&self) -> &Composition {
        &self.composition
    }

    /// Returns b_c = -log(N / n_c - 1) for each class.
    pub fn class_bias(&self) -> &[f64] {
        &self.bias
    }

    /// Returns the shift added to the logits of positives, per class.
    pub fn shift_positive(&self) -> &[f64] {
        &self.shift_positive
    }

    /// Returns the shift added to the logits of negatives, per class.
    pub fn shift_negative(&self) -> &[f64] {
        &self.shift_negative
    }

    /// Returns the normalised weights (images x classes) of a batch of labels (0 or 1).
    pub fn weights(&self, targets: &[f32]) -> Vec<f64> {
        let num_classes = self.bias.len();
        let mut weights = vec![0.0; targets.len()];
        for (row, targets) in (weights.chunks_mut(num_classes)).zip(targets.chunks(num_classes)) {
            self.weights.fill(targets, row);
        }
        normalise(&mut weights, num_classes, self.composition.normalisation);
        weights
    }

    /// Returns the loss of one logit of `class` and its derivative, before weight and reduction.
    #[inline]
    pub fn element(&self, logit: f64, class: usize, positive: bool, epoch: usize) -> Dual {
        let z = Dual::variable(logit);
        let (u, factor) = if positive {
            (
                (z + self.shift_positive[class]) * self.scale_positive[class],
                1.0,
            )
        } else {
            (
                (z + self.shift_negative[class]) * self.scale_negative,
                self.factor_negative,
            )
        };
        let mut positive = positive;
        let mut factor = factor * self.composition.scale;
        if let Some(relabel) = &self.composition.relabel
            && !positive
            && epoch >= relabel.from_epoch
            && u.sigmoid().value > relabel.tau
        {
            positive = true;
        }
        let mut loss = self.composition.kernel.loss(u, positive);
        if let Some(focal) = &self.composition.focal {
            loss = loss * focal_factor(u, positive, focal.gamma);
            factor *= focal.balance;
        }
        loss * factor
    }

    /// [`element`](Self::element) for a target between 0 and 1, as mixup produces them: the loss of
    /// a positive and that of a negative, mixed in the proportion of the target.
    fn blended(&self, logit: f64, class: usize, target: f32, epoch: usize) -> Dual {
        let element = |positive| self.element(logit, class, positive, epoch);
        let part = f64::from(target);
        match target {
            0.0 => element(false),
            1.0 => element(true),
            _ => element(true) * part + element(false) * (1.0 - part),
        }
    }
}

impl Elementwise {
    /// Returns the loss in `epoch` in the form that the GPU kernels take: the settings, the values
    /// per element (weights, then targets) and the values per class.
    pub fn for_device(
        &self,
        targets: &[f32],
        epoch: usize,
    ) -> (device::Settings, Vec<f64>, Vec<f64>) {
        let parts = &self.composition;
        let relabel = (parts.relabel.as_ref()).filter(|relabel| epoch >= relabel.from_epoch);
        let settings = device::Settings {
            kernel: parts.kernel.for_device(),
            scale: parts.scale,
            scale_negative: self.scale_negative,
            factor_negative: self.factor_negative,
            relabel: relabel.map(|relabel| relabel.tau),
            focal: parts
                .focal
                .as_ref()
                .map(|focal| (focal.gamma, focal.balance)),
            divisor: self.divisor(targets.len()),
        };
        let mut by_element = self.weights(targets);
        by_element.extend(targets.iter().map(|&target| f64::from(target)));
        let by_class = [
            &self.shift_positive,
            &self.shift_negative,
            &self.scale_positive,
        ];
        (settings, by_element, by_class.map(Vec::as_slice).concat())
    }

    /// Returns the divisor of the sum over `elements`.
    fn divisor(&self, elements: usize) -> f64 {
        (match self.composition.reduction {
            Reduction::Mean => elements,
            Reduction::Sum => 1,
            Reduction::ImageMean => elements / self.classes().max(1),
        }) as f64
    }

    /// Returns the number of classes it was built for.
    pub(super) fn classes(&self) -> usize {
        self.bias.len()
    }

    /// Returns the value for a batch and overwrites `gradient` with its derivatives.
    pub(super) fn sum_over(&self, batch: &Batch, gradient: &mut [f64]) -> f64 {
        let num_classes = batch.num_classes();
        let divisor = self.divisor(batch.logits().len());
        let weights = self.weights(batch.targets());
        // Sums are taken per image and then over the images in order, so that the result does not
        // depend on the number of threads.
        let image = |(i, row): (usize, &mut [f64])| -> f64 {
            let range = i * num_classes..(i + 1) * num_classes;
            let logits = &batch.logits()[range.clone()];
            let targets = &batch.targets()[range.clone()];
            let weights = &weights[range];
            let mut sum = 0.0;
            for class in 0..num_classes {
                let loss = self.blended(logits[class], class, targets[class], batch.epoch());
                sum += weights[class] * loss.value;
                row[class] = weights[class] * loss.derivative / divisor;
            }
            sum
        };
        let sums: Vec<f64> = if gradient.len() >= PARALLEL_ELEMENTS {
            gradient
                .par_chunks_mut(num_classes)
                .enumerate()
                .map(image)
                .collect()
        } else {
            gradient
                .chunks_mut(num_classes)
                .enumerate()
                .map(image)
                .collect()
        };
        sums.iter().sum::<f64>() / divisor
    }
}

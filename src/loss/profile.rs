//! The effect of a loss on each class of a training set: weights, shifts, curves.

use super::batch::Batch;
use super::elementwise::Elementwise;
use super::objective::Loss;
use crate::data::labels::LabelTable;
use crate::error::{Error, Result};

/// Means of the parts of a loss for one class, over the images of a training set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassProfile {
    /// The mean weight of the class over images that contain it; `None` if none does.
    pub weight_positive: Option<f64>,
    /// The mean weight of the class over images that do not contain it; `None` if all do.
    pub weight_negative: Option<f64>,
    /// b_c = -log(N / n_c - 1), the logit of the class's frequency.
    pub bias: f64,
    /// The shift added to the logit of a positive: margin, tolerance and adjustment together.
    pub shift_positive: f64,
    /// The shift added to the logit of a negative.
    pub shift_negative: f64,
}

/// The number of images whose weights are held in memory at a time.
const ROWS: usize = 1024;

/// Returns the profile of every class of `labels`, with each image drawn once (uniform sampling).
/// Weights normalised by batch are those of batches of 1,024 images in table order.
pub fn profile(loss: &Elementwise, labels: &LabelTable) -> Result<Vec<ClassProfile>> {
    let num_classes = labels.num_classes();
    if loss.num_classes() != Some(num_classes) {
        let problem = format_args!("was not built for the {num_classes} classes of the table");
        return Err(Error::input("loss", problem));
    }
    // Running means are exact if all weights of a class are equal.
    let mut means = vec![[0.0; 2]; num_classes];
    let mut counts = vec![[0usize; 2]; num_classes];
    for start in (0..labels.len()).step_by(ROWS) {
        let targets = labels.targets_of(start..labels.len().min(start + ROWS));
        let weights = loss.weights(&targets);
        for (i, (weight, target)) in weights.iter().zip(&targets).enumerate() {
            let side = usize::from(*target > 0.5);
            let count = &mut counts[i % num_classes][side];
            *count += 1;
            let mean = &mut means[i % num_classes][side];
            *mean += (weight - *mean) / *count as f64;
        }
    }
    let mean = |class: usize, side: usize| (counts[class][side] > 0).then_some(means[class][side]);
    Ok((0..num_classes)
        .map(|class| ClassProfile {
            weight_positive: mean(class, 1),
            weight_negative: mean(class, 0),
            bias: loss.class_bias()[class],
            shift_positive: loss.shift_positive()[class],
            shift_negative: loss.shift_negative()[class],
        })
        .collect())
}

/// A point on a curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The logit.
    pub logit: f64,
    /// The loss.
    pub loss: f64,
    /// d loss / d logit.
    pub gradient: f64,
}

/// Returns the loss of one logit of `class`, as a positive or as a negative, at each of `logits`.
///
/// For an element-wise loss this is the term of that logit with the mean weight of the class in
/// `profiles`, before the reduction over images and classes. For any other loss it is the loss of
/// one image whose other logits are 0 and whose only positive is `class` (for the curve of a
/// negative: `other`).
pub fn curve(
    loss: &dyn Loss,
    profiles: Option<&[ClassProfile]>,
    (class, other): (usize, usize),
    num_classes: usize,
    positive: bool,
    logits: impl Iterator<Item = f64>,
) -> Result<Vec<Point>> {
    if let (Some(elementwise), Some(profiles)) = (loss.elementwise(), profiles) {
        let profile = &profiles[class];
        let weight = if positive {
            profile.weight_positive
        } else {
            profile.weight_negative
        };
        let weight = weight.unwrap_or(1.0);
        return Ok(logits
            .map(|logit| {
                let term = elementwise.element(logit, class, positive, 0);
                Point {
                    logit,
                    loss: weight * term.value,
                    gradient: weight * term.derivative,
                }
            })
            .collect());
    }
    let mut targets = vec![0.0; num_classes];
    targets[if positive { class } else { other }] = 1.0;
    let mut image = vec![0.0; num_classes];
    let mut gradient = vec![0.0; num_classes];
    logits
        .map(|logit| {
            image[class] = logit;
            let batch = Batch::new(&image, &targets, num_classes, 0)?;
            let loss = loss.evaluate(&batch, &mut gradient)?;
            Ok(Point {
                logit,
                loss,
                gradient: gradient[class],
            })
        })
        .collect()
}

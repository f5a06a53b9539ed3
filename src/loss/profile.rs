//! What a loss does to each class of a training set: weights, shifts, curves.

use super::batch::Batch;
use super::elementwise::Elementwise;
use super::objective::Loss;
use crate::data::labels::LabelTable;
use crate::error::{Error, Result};

/// The means of a loss's parts for one class, over the images of a training set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassProfile {
    /// Mean weight of the class on images that show it; `None` where none does.
    pub weight_positive: Option<f64>,
    /// Mean weight of the class on images that do not show it; `None` where all do.
    pub weight_negative: Option<f64>,
    /// b_c = -log(N / n_c - 1), the logit of the class's frequency.
    pub bias: f64,
    /// What is added to the logit of a positive: margin, tolerance and adjustment together.
    pub shift_positive: f64,
    /// What is added to the logit of a negative.
    pub shift_negative: f64,
}

/// Images whose weights are held at a time.
const ROWS: usize = 1024;

/// The profile of every class of `labels`, one draw an image (uniform sampling). Weights that are
/// normalised by batch are those of batches of 1,024 images in table order.
pub fn profile(loss: &Elementwise, labels: &LabelTable) -> Result<Vec<ClassProfile>> {
    let num_classes = labels.num_classes();
    if loss.num_classes() != Some(num_classes) {
        let problem = format_args!("was not built for the {num_classes} classes of the table");
        return Err(Error::input("loss", problem));
    }
    // Running means: exact where all weights of a class are the same.
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

/// A point of a curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The logit.
    pub logit: f64,
    /// The loss.
    pub loss: f64,
    /// d loss / d logit.
    pub gradient: f64,
}

/// The loss of one logit of `class` over `logits`, as a positive or as a negative.
///
/// For an element-wise loss it is the term of that logit with the class's mean weight of
/// `profiles`, before the mean over images and classes. For any other it is the loss of one image
/// whose other logits are 0, and whose only positive is `class`, or `other` for the negative.
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

//! The loss of a network that ignores its input.

use super::batch::Batch;
use super::objective::Loss;
use crate::error::Result;

/// Iterations of the search, after which the value is within a few thousandths of the minimum.
const ROUNDS: usize = 60;

/// Returns the smallest mean loss, over batches of `batch_size` images, of logits that are the same
/// for every image (one constant per class). A network whose training loss stays at this value has
/// learned how frequent the classes are, and nothing from the images.
///
/// `targets` are 0 or 1, images x `num_classes`, in the order in which the training draws them.
/// Images beyond the last full batch are left out; fewer images than a batch form one batch.
/// `epoch` counts from 0 and matters for losses that change during training.
///
/// The constants are found by resilient propagation (Riedmiller and Braun 1993): each class has its
/// own step size, which grows while the sign of the gradient stays the same and shrinks when it
/// changes. Only the signs of gradients are used, so the scale of the loss does not matter. For a
/// loss that is not convex in the constants, the value is an upper bound. Errors are those of the
/// loss.
pub fn chance_loss(
    loss: &dyn Loss,
    targets: &[f32],
    num_classes: usize,
    batch_size: usize,
    epoch: usize,
) -> Result<f64> {
    let images = targets.len() / num_classes.max(1);
    let batch_size = batch_size.clamp(1, images.max(1));
    let batches = targets.chunks_exact(batch_size * num_classes);
    let mut logits = vec![0.0; batch_size * num_classes];
    let mut gradient = logits.clone();
    let mut constants = vec![0.0f64; num_classes];
    let mut steps = vec![1.0f64; num_classes];
    let mut before = vec![0.0f64; num_classes];
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        for row in logits.chunks_exact_mut(num_classes) {
            row.copy_from_slice(&constants);
        }
        let mut slopes = vec![0.0; num_classes];
        let mut total = 0.0;
        for targets in batches.clone() {
            let batch = Batch::new(&logits, targets, num_classes, epoch)?;
            total += loss.evaluate(&batch, &mut gradient)?;
            for (i, slope) in gradient.iter().enumerate() {
                slopes[i % num_classes] += slope;
            }
        }
        least = least.min(total / batches.len() as f64);
        for class in 0..num_classes {
            let turn = slopes[class] * before[class];
            steps[class] = (steps[class] * factor(turn)).clamp(1e-6, 10.0);
            if turn >= 0.0 {
                constants[class] -= steps[class] * sign(slopes[class]);
                before[class] = slopes[class];
            } else {
                // The step overshot: skip one iteration, then go on with the shorter step.
                before[class] = 0.0;
            }
        }
    }
    Ok(least)
}

/// Returns the factor by which a step grows or shrinks, with the values of the paper.
fn factor(turn: f64) -> f64 {
    match turn {
        turn if turn > 0.0 => 1.2,
        turn if turn < 0.0 => 0.5,
        _ => 1.0,
    }
}

/// Returns -1, 0 or 1. Unlike `signum`, it returns 0 for 0.
fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::labels::ClassFrequency;
    use crate::loss::LossConfig;

    /// Labels of 20 images and 3 classes with 1, 5 and 12 positives, spread evenly.
    fn targets() -> Vec<f32> {
        let positive = |image: usize, class: usize| match class {
            0 => image == 7,
            1 => image.is_multiple_of(4),
            _ => image % 5 < 3,
        };
        (0..60)
            .map(|i| f32::from(u8::from(positive(i / 3, i % 3))))
            .collect()
    }

    fn built(text: &str) -> std::sync::Arc<dyn Loss> {
        let config: LossConfig = toml::from_str(text).unwrap();
        let frequency = ClassFrequency {
            counts: vec![1, 5, 12],
            num_images: 20,
        };
        config.build(&frequency).unwrap()
    }

    #[test]
    fn chance_of_cross_entropy_is_the_entropy_of_the_frequencies() {
        let entropy = |p: f64| -(p * p.ln() + (1.0 - p) * (1.0 - p).ln());
        let expected = [0.05, 0.25, 0.6].map(entropy).iter().sum::<f64>() / 3.0;
        let loss = built("name = 'bce'");
        let found = chance_loss(loss.as_ref(), &targets(), 3, 20, 0).unwrap();
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        // Batches of one image have the same mean.
        let found = chance_loss(loss.as_ref(), &targets(), 3, 1, 0).unwrap();
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }

    #[test]
    fn no_other_constants_do_better() {
        for text in [
            "name = 'db-focal'",
            "name = 'asl'",
            "name = 'focal'",
            "name = 'hill'",
        ] {
            let loss = built(text);
            let targets = targets();
            let found = chance_loss(loss.as_ref(), &targets, 3, 20, 0).unwrap();
            let mut gradient = vec![0.0; 60];
            for grid in 0..17usize.pow(3) {
                let at = |class: u32| (grid / 17usize.pow(class) % 17) as f64 * 0.5 - 5.0;
                let constants = [at(0), at(1), at(2)];
                let logits: Vec<f64> = (0..60).map(|i| constants[i % 3]).collect();
                let batch = Batch::new(&logits, &targets, 3, 0).unwrap();
                let other = loss.evaluate(&batch, &mut gradient).unwrap();
                assert!(
                    other >= found * (1.0 - 1e-4),
                    "{text} {constants:?} {other} {found}"
                );
            }
        }
    }
}

//! The magnitude of a loss. At the same learning rate, a loss with ten times the gradient trains
//! ten times as fast, so a comparison at that rate compares scales.

use super::batch::Batch;
use super::bce;
use super::objective::Loss;
use crate::data::labels::ClassFrequency;
use crate::error::Result;
use crate::loss::LossConfig;

/// The factor from which the magnitude of a loss counts as different from that of cross-entropy.
pub const FAR: f64 = 10.0;

/// The norm of the gradient at logits of 0, which is about what a new head returns.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct StartGradient {
    /// The L2 norm over images x classes, averaged over batches.
    pub norm: f64,
    /// The norm for binary cross-entropy (`bce`, mean over images x classes) on the same batches.
    pub cross_entropy: f64,
}

impl StartGradient {
    /// Returns the ratio of the norm to that of cross-entropy.
    pub fn ratio(&self) -> f64 {
        self.norm / self.cross_entropy
    }

    /// Returns true if the gradient is more than [`FAR`] times larger or smaller than that of
    /// cross-entropy.
    pub fn is_far(&self) -> bool {
        !(1.0 / FAR..=FAR).contains(&self.ratio())
    }
}

/// Returns the gradient of `loss` at the start of training, over batches of `batch_size` images of
/// `targets` (0 or 1, images x classes, in the order in which the training draws them). Images
/// beyond the last full batch are left out; fewer images than a batch form one batch. `epoch`
/// counts from 0.
///
/// # Errors
/// Those of the loss.
pub fn start_gradient(
    loss: &dyn Loss,
    targets: &[f32],
    frequency: &ClassFrequency,
    batch_size: usize,
    epoch: usize,
) -> Result<StartGradient> {
    let num_classes = frequency.counts.len();
    let cross_entropy = LossConfig::named(bce::DEFINITIONS[0].name)?.build(frequency)?;
    let images = targets.len() / num_classes.max(1);
    let batch_size = batch_size.clamp(1, images.max(1));
    let logits = vec![0.0; batch_size * num_classes];
    let mut gradient = logits.clone();
    let (mut sums, mut batches) = ([0.0f64; 2], 0usize);
    for targets in targets.chunks_exact(batch_size * num_classes) {
        let batch = Batch::new(&logits, targets, num_classes, epoch)?;
        for (sum, loss) in sums.iter_mut().zip([loss, cross_entropy.as_ref()]) {
            loss.evaluate(&batch, &mut gradient)?;
            *sum += gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        }
        batches += 1;
    }
    let mean = |sum: f64| sum / batches.max(1) as f64;
    Ok(StartGradient {
        norm: mean(sums[0]),
        cross_entropy: mean(sums[1]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> StartGradient {
        let config: LossConfig = toml::from_str(text).unwrap();
        let frequency = ClassFrequency {
            counts: vec![1, 5, 12],
            num_images: 20,
        };
        let loss = config.build(&frequency).unwrap();
        let targets: Vec<f32> = (0..60).map(|i| f32::from(u8::from(i % 7 == 0))).collect();
        start_gradient(loss.as_ref(), &targets, &frequency, 10, 0).unwrap()
    }

    /// At 0, every element of the gradient of cross-entropy is 1/2 over the 30 elements of a batch;
    /// that of focal loss follows from the product rule.
    #[test]
    fn closed_forms() {
        let expected = 0.5 / 30f64.sqrt();
        let bce = of("name = 'bce'");
        assert!(
            (bce.norm - expected).abs() < 1e-12 && bce.ratio() == 1.0,
            "{bce:?}"
        );
        // d/dz p^2 softplus(z) at 0 = 2 p p (1 - p) ln 2 + p^2 p = ln 2 / 4 + 1 / 8.
        let focal = of("name = 'focal'\nbalance = 1.0");
        let slope = std::f64::consts::LN_2 / 4.0 + 0.125;
        assert!((focal.ratio() - slope / 0.5).abs() < 1e-12, "{focal:?}");
        assert!(!focal.is_far());
        // With the sum over 30 elements instead of their mean.
        let sum = of("name = 'bce'\nreduction = 'sum'");
        assert!((sum.ratio() - 30.0).abs() < 1e-9 && sum.is_far());
        assert!(of("name = 'focal'\nbalance = 0.1").is_far());
    }
}

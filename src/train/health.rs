//! Detection of failed trainings: features that no longer distinguish images, a backbone without
//! gradient, a loss no better than chance.

use candle_core::{DType, Device, Tensor};

use crate::error::Result;

/// Number of steps between two checks of the network.
const INTERVAL: usize = 25;

/// Returns whether `step`, counted from 0, is checked.
pub fn is_due(step: usize) -> bool {
    (step + 1).is_multiple_of(INTERVAL)
}

/// Features count as alike if their spread over the images of a batch is below this fraction of
/// their magnitude. A working network has about 1; one whose units are dead or saturated only has
/// rounding errors, below 1e-5.
const ALIKE: f64 = 1e-3;

/// A backbone has no gradient if its share of the norm is below this.
const VANISHED: f64 = 1e-5;

/// A loss counts as no better than chance from this fraction of the chance loss upwards.
const NEAR_CHANCE: f64 = 0.99;

/// The problems of a training, each reported once.
#[derive(Debug, Default)]
pub struct Health {
    /// Number of consecutive checks that found features alike, then of those without a gradient.
    alike: usize,
    vanished: usize,
    said: Vec<String>,
}

/// Number of consecutive checks that make a finding: a single batch may be unusual.
const LOOKS: usize = 2;

const REMEDY: &str = "the rate may be too high for this network: try a fifth of \
    `optimizer.learning_rate`, a longer `schedule.warmup_iterations`, or a tighter \
    `optimizer.max_gradient_norm`";

impl Health {
    /// Checks one step: `features` are the pooled features of its batch, [N, F]; `backbone_norm` is
    /// the gradient norm of the backbone's parameters, `None` if none of them learns; `norm` that
    /// of all parameters. Returns what should be reported now.
    pub fn look(
        &mut self,
        step: usize,
        features: &Tensor,
        backbone_norm: Option<f64>,
        norm: f64,
    ) -> Result<Option<String>> {
        let spread = spread(features)?;
        let count = |bad: bool, before: usize| if bad { before + 1 } else { 0 };
        self.alike = count(spread < ALIKE, self.alike);
        let vanished = backbone_norm.is_some_and(|backbone| backbone <= VANISHED * norm);
        self.vanished = count(vanished, self.vanished);
        let problem = if self.alike == LOOKS {
            "all images look alike to the network: its features no longer differ between them"
        } else if self.vanished == LOOKS {
            "the backbone no longer gets a gradient: only neck and head still learn"
        } else {
            return Ok(None);
        };
        if !self.said.is_empty() {
            return Ok(None);
        }
        self.said.push(problem.to_owned());
        Ok(Some(format!("step {step}: {problem}; {REMEDY}")))
    }

    /// Compares the mean loss of the last epoch with the chance loss
    /// ([`chance_loss`](crate::loss::chance_loss)). Returns what should be reported; it does not
    /// count as a finding, since a short training may rank images well before it has learnt how
    /// frequent classes are.
    pub(super) fn end(loss: f64, chance: f64) -> Option<String> {
        // Losses are non-negative except with unusual settings; a negative one cannot be compared
        // this way.
        if !(chance > 0.0 && loss >= NEAR_CHANCE * chance) {
            return None;
        }
        Some(format!(
            "the loss of the last epoch, {loss:.4}, is no better than that of a network that does \
             not look at the pictures, {chance:.4}: it has learnt nothing, or not yet how frequent \
             the classes are (then mAP is good and thresholds are not); train longer \
             (`train.epochs`), or with another `optimizer.learning_rate`"
        ))
    }

    /// Returns everything that was found, one sentence each, without remedies.
    pub fn findings(&self) -> &[String] {
        &self.said
    }
}

/// Returns how much `features` [N, F] differ between the N images: the root mean square over
/// features of the standard deviation over images, relative to the root mean square of the values.
/// 0 if all values are 0; 1 for a single image, which shows nothing.
fn spread(features: &Tensor) -> Result<f64> {
    let (images, width) = features.dims2()?;
    if images < 2 {
        return Ok(1.0);
    }
    let values = features.detach().to_device(&Device::Cpu)?;
    let values = values
        .to_dtype(DType::F32)?
        .flatten_all()?
        .to_vec1::<f32>()?;
    let n = images as f64;
    let (mut variance, mut square) = (0.0, 0.0);
    for feature in 0..width {
        let column = || {
            values
                .iter()
                .skip(feature)
                .step_by(width)
                .map(|&x| f64::from(x))
        };
        let mean = column().sum::<f64>() / n;
        variance += column().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        square += column().map(|x| x * x).sum::<f64>() / n;
    }
    Ok(if square > 0.0 {
        (variance / square).sqrt()
    } else {
        0.0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(rows: &[[f32; 2]]) -> Tensor {
        Tensor::from_slice(rows.as_flattened(), (rows.len(), 2), &Device::Cpu).unwrap()
    }

    #[test]
    fn the_spread_is_that_of_the_definition() {
        // Columns (1, 3) and (2, 2): variances 1 and 0, mean squares 5 and 4.
        let found = spread(&features(&[[1.0, 2.0], [3.0, 2.0]])).unwrap();
        assert!((found - (1.0f64 / 9.0).sqrt()).abs() < 1e-12, "{found}");
        assert_eq!(spread(&features(&[[0.0, 0.0], [0.0, 0.0]])).unwrap(), 0.0);
    }

    #[test]
    fn a_dead_network_is_told_once_and_a_living_one_never() {
        let alive = features(&[[1.0, 0.0], [0.0, 1.0]]);
        let dead = features(&[[6.0, 0.0], [6.0, 0.0]]);
        let mut health = Health::default();
        for step in 0..10 {
            assert_eq!(health.look(step, &alive, Some(1.0), 1.5).unwrap(), None);
        }
        // A single unusual batch is not a finding.
        assert_eq!(health.look(10, &dead, Some(1.0), 1.5).unwrap(), None);
        assert_eq!(health.look(11, &alive, Some(1.0), 1.5).unwrap(), None);
        assert_eq!(health.look(12, &dead, Some(1.0), 1.5).unwrap(), None);
        let said = health.look(13, &dead, Some(1.0), 1.5).unwrap().unwrap();
        assert!(
            said.contains("step 13") && said.contains("learning_rate"),
            "{said}"
        );
        assert_eq!(health.look(14, &dead, Some(0.0), 1.5).unwrap(), None);
        assert_eq!(health.findings().len(), 1);
    }

    #[test]
    fn a_backbone_without_gradient_is_told_unless_it_is_frozen() {
        let alive = features(&[[1.0, 0.0], [0.0, 1.0]]);
        let mut frozen = Health::default();
        let mut starved = Health::default();
        for step in 0..2 {
            assert_eq!(frozen.look(step, &alive, None, 1.0).unwrap(), None);
            let said = starved.look(step, &alive, Some(1e-7), 1.0).unwrap();
            assert_eq!(said.is_some(), step == 1);
        }
        assert!(starved.findings()[0].contains("gradient"));
    }

    #[test]
    fn a_loss_at_chance_is_told() {
        assert!(Health::end(0.2, 0.25).is_none());
        let said = Health::end(0.26, 0.25).unwrap();
        assert!(said.contains("0.2600") && said.contains("0.2500"), "{said}");
    }
}

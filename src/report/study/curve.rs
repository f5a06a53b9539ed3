//! The course of a training: loss by step, validation mAP by epoch.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::rows;
use crate::run_dir::RunDir;
use crate::train::record::{EpochRecord, StepRecord};

/// Points by ascending x.
pub type Curve = Vec<(f64, f64)>;

/// Largest number of points of a curve; more would not be visible.
const MAX_POINTS: usize = 100;

/// Returns the mean loss over each of at most a hundred sections of the training, at the middle of
/// the section in steps. Read from `steps.csv`, otherwise by epoch from `epochs.csv`, otherwise
/// empty.
pub(super) fn loss(run: &RunDir) -> Curve {
    let steps: Vec<StepRecord> = rows(&run.steps());
    let by_step = finite(steps.iter().map(|row| (row.step as f64, row.loss)));
    if !by_step.is_empty() {
        return thin(&by_step);
    }
    let epochs: Vec<EpochRecord> = rows(&run.epochs());
    finite(epochs.iter().map(|row| (row.epoch as f64 + 1.0, row.loss)))
}

/// Returns the validation mAP after each epoch, of the weights that would be the run's result.
pub(super) fn validation(run: &RunDir) -> Curve {
    let epochs: Vec<EpochRecord> = rows(&run.epochs());
    finite(
        epochs
            .iter()
            .filter_map(|row| Some((row.epoch as f64 + 1.0, row.score()?))),
    )
}

/// Reads the rows of a file that may be missing. A missing curve should not prevent the report, so
/// errors are logged as warnings.
fn rows<T: DeserializeOwned>(path: &Path) -> Vec<T> {
    if !path.is_file() {
        return Vec::new();
    }
    rows::read(path).unwrap_or_else(|error| {
        tracing::warn!("learning curve left out: {error}");
        Vec::new()
    })
}

fn finite(points: impl Iterator<Item = (f64, f64)>) -> Curve {
    points.filter(|point| point.1.is_finite()).collect()
}

/// Averages the points over sections of equal length.
fn thin(points: &[(f64, f64)]) -> Curve {
    let stretch = points.len().div_ceil(MAX_POINTS).max(1);
    (points.chunks(stretch))
        .map(|chunk| {
            let n = chunk.len() as f64;
            let sum = |of: fn(&(f64, f64)) -> f64| chunk.iter().map(of).sum::<f64>();
            (sum(|p| p.0) / n, sum(|p| p.1) / n)
        })
        .collect()
}

/// Returns the mean of curves with the same x values. If their lengths differ, as after an
/// interruption, all are cut to the shortest.
pub(super) fn mean(curves: &[&Curve]) -> Curve {
    let length = curves.iter().map(|curve| curve.len()).min().unwrap_or(0);
    (0..length)
        .map(|at| {
            let sum: f64 = curves.iter().map(|curve| curve[at].1).sum();
            (curves[0][at].0, sum / curves.len() as f64)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::write_text;

    #[test]
    fn long_curves_are_means_of_stretches() {
        let points: Curve = (0..250).map(|i| (f64::from(i), f64::from(i % 3))).collect();
        let thinned = thin(&points);
        // 250 points in sections of 3: 83 of them, and one point left over.
        assert_eq!(thinned.len(), 84);
        assert_eq!(thinned[0], (1.0, 1.0));
        assert_eq!(thinned[83], (249.0, 0.0));
    }

    #[test]
    fn gaps_are_left_out_and_damage_is_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::new(folder.path());
        assert_eq!(loss(&run), []);
        let text = "epoch,loss,validation_map,seconds,images_per_second\n0,1.5,,1,\n1,NaN,0.25,1,\n2,0.5,0.5,1,\n";
        write_text(&run.epochs(), text).unwrap();
        assert_eq!(loss(&run), [(1.0, 1.5), (3.0, 0.5)]);
        assert_eq!(validation(&run), [(2.0, 0.25), (3.0, 0.5)]);
        write_text(
            &run.steps(),
            "step,epoch,learning_rate,loss,gradient_norm\n0,0,1,x,1\n",
        )
        .unwrap();
        assert_eq!(loss(&run), [(1.0, 1.5), (3.0, 0.5)]);
    }
}

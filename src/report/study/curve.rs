//! What happened during a training: loss by step, validation mAP by epoch.

use std::path::Path;

use crate::error::{Error, Result};
use crate::run_dir::RunDir;

/// Points by ascending x.
pub type Curve = Vec<(f64, f64)>;

/// Most points of a curve: more would not be seen.
const MOST_POINTS: usize = 100;

/// Mean loss over each of at most a hundred stretches of the training, at the middle of the
/// stretch in steps. From `steps.csv`, else by epoch from `epochs.csv`, else empty.
pub(super) fn loss(run: &RunDir) -> Curve {
    let steps = rows(&run.steps(), "step", "loss");
    match steps.is_empty() {
        false => thin(&steps),
        true => (rows(&run.epochs(), "epoch", "loss").into_iter())
            .map(|(epoch, loss)| (epoch + 1.0, loss))
            .collect(),
    }
}

/// mAP on the validation part after each epoch.
pub(super) fn validation(run: &RunDir) -> Curve {
    (rows(&run.epochs(), "epoch", "validation_map").into_iter())
        .map(|(epoch, map)| (epoch + 1.0, map))
        .collect()
}

/// Two columns of a file that may be missing. A curve is no reason to have no report: what cannot
/// be read is a warning.
fn rows(path: &Path, x: &str, y: &str) -> Curve {
    if !path.is_file() {
        return Vec::new();
    }
    columns(path, x, y).unwrap_or_else(|error| {
        tracing::warn!("learning curve left out: {error}");
        Vec::new()
    })
}

fn columns(path: &Path, x: &str, y: &str) -> Result<Curve> {
    let text = fs_err::read_to_string(path)?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let place = |name: &str| {
        header
            .iter()
            .position(|h| *h == name)
            .ok_or_else(|| Error::line(path, 1, format_args!("the header has no column `{name}`")))
    };
    let (x, y) = (place(x)?, place(y)?);
    let mut curve = Vec::new();
    for (number, line) in lines.enumerate() {
        let number_at = |column: usize| {
            let text = line.split(',').nth(column).unwrap_or_default();
            match text {
                "" => Ok(None),
                _ => text.parse::<f64>().map(Some).map_err(|_| {
                    let problem = format!("`{text}` is not a number");
                    Error::line(path, number as u64 + 2, problem)
                }),
            }
        };
        if let (Some(x), Some(y)) = (number_at(x)?, number_at(y)?)
            && x.is_finite()
            && y.is_finite()
        {
            curve.push((x, y));
        }
    }
    Ok(curve)
}

/// Means over stretches of equal length.
fn thin(points: &[(f64, f64)]) -> Curve {
    let stretch = points.len().div_ceil(MOST_POINTS).max(1);
    (points.chunks(stretch))
        .map(|chunk| {
            let n = chunk.len() as f64;
            let sum = |of: fn(&(f64, f64)) -> f64| chunk.iter().map(of).sum::<f64>();
            (sum(|p| p.0) / n, sum(|p| p.1) / n)
        })
        .collect()
}

/// The mean of curves that have the same places; where they differ, as after an interruption,
/// only the places of the shortest count.
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
        // 250 points in stretches of 3: 83 of them and one point that is left.
        assert_eq!(thinned.len(), 84);
        assert_eq!(thinned[0], (1.0, 1.0));
        assert_eq!(thinned[83], (249.0, 0.0));
    }

    #[test]
    fn gaps_are_left_out_and_damage_is_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::new(folder.path());
        assert_eq!(loss(&run), []);
        let text = "epoch,loss,validation_map\n0,1.5,\n1,NaN,0.25\n2,0.5,0.5\n";
        write_text(&run.epochs(), text).unwrap();
        assert_eq!(loss(&run), [(1.0, 1.5), (3.0, 0.5)]);
        assert_eq!(validation(&run), [(2.0, 0.25), (3.0, 0.5)]);
        write_text(&run.steps(), "step,loss\n0,x\n").unwrap();
        let error = columns(&run.steps(), "step", "loss").unwrap_err();
        assert!(error.to_string().contains("steps.csv:2"), "{error}");
        assert_eq!(loss(&run), [(1.0, 1.5), (3.0, 0.5)]);
    }
}

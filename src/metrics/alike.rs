//! Detection of scores that do not distinguish images.

/// Scores of a class count as alike if their range is smaller than this fraction of the largest
/// magnitude: the rounding error of a constant.
const ROUNDING: f64 = 1e-5;

/// Returns for each class whether all images have the same score up to rounding, as with a network
/// whose units are dead: its AP is then the class's share of the images, regardless of the
/// training. `scores` are images x `num_classes`. Returns false for fewer than two images, which
/// show nothing.
pub fn alike_per_class<S: Copy + Into<f64>>(scores: &[S], num_classes: usize) -> Vec<bool> {
    let images = scores.len() / num_classes.max(1);
    (0..num_classes)
        .map(|class| {
            let column = || (0..images).map(|image| scores[image * num_classes + class].into());
            let low = column().fold(f64::INFINITY, f64::min);
            let high = column().fold(f64::NEG_INFINITY, f64::max);
            images > 1 && high - low <= ROUNDING * low.abs().max(high.abs())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_and_their_rounding_are_alike_and_nothing_else_is() {
        // Columns: a constant, a constant with rounding, all zero, small but distinct
        // probabilities.
        let scores = [
            [-2.5f32, 3.0, 0.0, 1e-7],
            [-2.5, 3.000001, 0.0, 2e-7],
            [-2.5, 3.0, 0.0, 4e-7],
        ];
        let alike = alike_per_class(scores.as_flattened(), 4);
        assert_eq!(alike, [true, true, true, false]);
        assert_eq!(alike_per_class(&[1.0f64, 2.0], 2), [false, false]);
        assert!(alike_per_class::<f64>(&[], 0).is_empty());
    }
}

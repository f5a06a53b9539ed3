//! Scores that no longer tell images apart.

/// Scores of a class are alike where they span less than this part of the largest of them: what
/// rounding leaves of a constant.
const ROUNDING: f64 = 1e-5;

/// For each class whether all images score alike, as those of a network do whose units are dead:
/// its AP is then the class's share of the images, whatever the training was to show. `scores` are
/// images x `num_classes`. False for fewer than two images, of which nothing can be said.
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
        // Columns: a constant, a constant with rounding, all zero, small but ranked probabilities.
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

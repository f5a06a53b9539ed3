//! Label smoothing.

/// Smooths `targets`: y becomes (1 - s) y + s / 2 with s = `smoothing`, the label smoothing of
/// Szegedy et al. (CVPR 2016) for two outcomes. With 0 nothing changes.
///
/// For a smoothing below 1, a target stays on its side of one half.
pub fn smooth(targets: &mut [f32], smoothing: f64) {
    if smoothing > 0.0 {
        let (kept, half) = ((1.0 - smoothing) as f32, (0.5 * smoothing) as f32);
        targets.iter_mut().for_each(|y| *y = kept * *y + half);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certainty_is_taken_off_both_sides_alike() {
        let mut targets = [0.0f32, 1.0, 0.5];
        smooth(&mut targets, 0.0);
        assert_eq!(targets, [0.0, 1.0, 0.5]);
        smooth(&mut targets, 0.2);
        for (found, expected) in targets.iter().zip([0.1, 0.9, 0.5]) {
            assert!((found - expected).abs() < 1e-7, "{found} {expected}");
        }
    }
}

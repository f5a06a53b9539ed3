//! The expected score of a random order.

/// Returns the expected AP (as the area under the step curve) of a class with `positives` among
/// `images`, if all orders of the images are equally likely; `None` without a positive, or with
/// more positives than images.
///
/// The image at rank i is a positive with probability P / N, and then each of the i - 1 before it
/// is one with probability (P - 1) / (N - 1), so that
///
/// ```text
/// E[AP] = 1/P sum over i of P/N 1/i (1 + (i - 1) (P - 1)/(N - 1))
///       = 1/N (H_N + (P - 1)/(N - 1) (N - H_N)),  H_N = 1 + 1/2 + ... + 1/N
/// ```
///
/// (Bestgen, Exact expected average precision of the random baseline for system evaluation, Prague
/// Bulletin of Mathematical Linguistics 103, 2015). It is above the share P / N, by much for few
/// images.
pub fn expected_average_precision(images: usize, positives: usize) -> Option<f64> {
    if positives == 0 || positives > images {
        return None;
    }
    let n = images as f64;
    let harmonic: f64 = (1..=images).map(|i| 1.0 / i as f64).sum();
    let others = match images {
        1 => 0.0,
        _ => (positives as f64 - 1.0) / (n - 1.0),
    };
    Some((harmonic + others * (n - harmonic)) / n)
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;
    use crate::metrics::{ApMethod, average_precision};

    /// All sets of ranks of the positives are equally likely, so the expectation is the mean of
    /// their APs, computed one by one.
    #[test]
    fn it_is_the_mean_over_all_orders() {
        for images in 1..=9usize {
            let scores: Vec<f64> = (0..images).map(|i| -(i as f64)).collect();
            let mut sums = vec![(0.0, 0.0); images + 1];
            for places in 1u32..1 << images {
                let targets: Vec<u8> = (0..images).map(|i| (places >> i & 1) as u8).collect();
                let found = average_precision(&scores, &targets, ApMethod::Area).unwrap();
                let (sum, orders) = &mut sums[places.count_ones() as usize];
                *sum += found;
                *orders += 1.0;
            }
            for (positives, (sum, orders)) in sums.into_iter().enumerate().skip(1) {
                assert_relative_eq!(
                    expected_average_precision(images, positives).unwrap(),
                    sum / orders,
                    max_relative = 1e-12
                );
            }
        }
    }

    #[test]
    fn it_is_above_the_share_and_near_it_for_many_images() {
        assert_eq!(expected_average_precision(100, 0), None);
        assert_eq!(expected_average_precision(3, 4), None);
        assert_eq!(expected_average_precision(7, 7), Some(1.0));
        let few = expected_average_precision(100, 2).unwrap();
        assert!(few > 0.06 && few < 0.07, "{few}, three times the share");
        let many = expected_average_precision(100_000, 2_000).unwrap();
        assert!((many - 0.02).abs() < 2e-4, "{many}");
    }
}

//! Paired tests between two methods, and the correction for many tests.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// Up to this number of pairs the signed-rank test is exact, over all assignments of signs. Beyond
/// it the normal approximation is as good, and the exact test is slow.
const MAX_EXACT: usize = 200;

/// The result of a paired test.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct PairedTest {
    /// Number of pairs used; the signed-rank test leaves out those without a difference.
    pub pairs: usize,
    /// The test's statistic: t, or the sum of the ranks of the positive differences.
    pub statistic: f64,
    /// Two-sided p-value of the hypothesis that there is no difference.
    pub p_value: f64,
}

/// Returns the mean and the sample standard deviation (divided by n - 1). The mean is `None` for no
/// values, the deviation for fewer than two.
pub fn mean_and_deviation(values: &[f64]) -> (Option<f64>, Option<f64>) {
    let n = values.len() as f64;
    if values.is_empty() {
        return (None, None);
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let deviation = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
    (Some(mean), deviation)
}

/// Runs Student's paired t-test on the differences of the pairs. Returns `None` for fewer than two
/// pairs, and if all differences are equal, since t is undefined then.
pub fn paired_t_test(differences: &[f64]) -> Option<PairedTest> {
    let (mean, deviation) = mean_and_deviation(differences);
    let (mean, deviation) = (mean?, deviation?);
    let n = differences.len() as f64;
    // With equal differences the deviation consists of rounding errors.
    let largest = differences.iter().fold(0.0f64, |most, d| most.max(d.abs()));
    if deviation <= 8.0 * f64::EPSILON * largest {
        return None;
    }
    let statistic = mean / (deviation / n.sqrt());
    let distribution = StudentsT::new(0.0, 1.0, n - 1.0).ok()?;
    Some(PairedTest {
        pairs: differences.len(),
        statistic,
        p_value: (2.0 * distribution.sf(statistic.abs())).min(1.0),
    })
}

/// Returns the number of pairs (seeds, for example) with which a paired t-test detects a true
/// difference of `wanted` with a probability of `power` at the two-sided level 1 - `level`, if the
/// differences have the standard deviation `deviation`. `None` if more than 10,000 would be needed.
pub fn pairs_needed(deviation: f64, wanted: f64, level: f64, power: f64) -> Option<usize> {
    let enough = |pairs: usize| {
        let quantile =
            |share: f64| StudentsT::new(0.0, 1.0, (pairs - 1) as f64).map(|t| t.inverse_cdf(share));
        match (quantile((1.0 + level) / 2.0), quantile(power)) {
            (Ok(found), Ok(missed)) => {
                (found + missed) * deviation <= wanted * (pairs as f64).sqrt()
            }
            _ => false,
        }
    };
    (2..=10_000).find(|&pairs| enough(pairs))
}

/// Runs Wilcoxon's signed-rank test on the differences of the pairs. Differences of 0 are left out,
/// ties share their mean rank. The test is exact (over all signs, given the ranks) for up to 200
/// pairs; beyond, it uses the normal approximation with the correction for ties. `None` if no
/// difference is left.
pub fn wilcoxon_signed_rank(differences: &[f64]) -> Option<PairedTest> {
    let mut sorted: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    let n = sorted.len();
    if n == 0 || sorted.iter().any(|d| d.is_nan()) {
        return None;
    }
    sorted.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    // Doubled ranks are integers even for ties.
    let mut doubled = vec![0usize; n];
    let mut ties = 0.0;
    let mut start = 0;
    while start < n {
        let same = |d: &&f64| d.abs() == sorted[start].abs();
        let length = sorted[start..].iter().take_while(same).count();
        doubled[start..start + length].fill(2 * start + length + 1);
        ties += (length as f64).powi(3) - length as f64;
        start += length;
    }
    let positive: usize = (sorted.iter().zip(&doubled))
        .filter_map(|(d, rank)| (*d > 0.0).then_some(rank))
        .sum();
    let total: usize = doubled.iter().sum();
    let p_value = match n <= MAX_EXACT {
        true => exact(&doubled, positive.min(total - positive)),
        false => {
            let n = n as f64;
            let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0;
            let distance = (positive as f64 / 2.0 - n * (n + 1.0) / 4.0).abs();
            2.0 * Normal::new(0.0, 1.0).ok()?.sf(distance / variance.sqrt())
        }
    };
    Some(PairedTest {
        pairs: n,
        statistic: positive as f64 / 2.0,
        p_value: p_value.min(1.0),
    })
}

/// Returns twice the share of all assignments of signs whose sum of positive ranks is at most
/// `smaller`.
fn exact(doubled: &[usize], smaller: usize) -> f64 {
    // probability[s] is that of a sum s of the positive ranks; sums beyond `smaller` are not
    // needed.
    let mut probability = vec![0.0f64; smaller + 1];
    probability[0] = 1.0;
    for &rank in doubled {
        for sum in (0..=smaller).rev() {
            let with = sum.checked_sub(rank).map_or(0.0, |s| probability[s]);
            probability[sum] = 0.5 * (probability[sum] + with);
        }
    }
    2.0 * probability.iter().sum::<f64>()
}

/// Returns the variance of the mean over runs, each given with its training subset (those of a
/// subset adjacent), and its degrees of freedom. It is computed over the means of the subsets if
/// there are several, since runs of one subset are alike, otherwise over the seeds. `None` for one
/// run.
pub fn variance_over_runs(values_of_runs: &[(&str, f64)]) -> Option<(f64, f64)> {
    let mut subsets: Vec<Vec<f64>> = Vec::new();
    let mut last = None;
    for (subset, value) in values_of_runs {
        if last.replace(*subset) != Some(*subset) {
            subsets.push(Vec::new());
        }
        subsets.last_mut()?.push(*value);
    }
    let values: Vec<f64> = match subsets.as_slice() {
        [seeds] => seeds.clone(),
        several => (several.iter())
            .filter_map(|seeds| mean_and_deviation(seeds).0)
            .collect(),
    };
    let deviation = mean_and_deviation(&values).1?;
    let n = values.len() as f64;
    Some((deviation * deviation / n, n - 1.0))
}

/// Like [`variance_over_runs`], for the difference of two methods whose runs are not paired: the
/// sum of the variances of both means, with Welch's degrees of freedom.
pub fn variance_over_both(method: &[(&str, f64)], baseline: &[(&str, f64)]) -> Option<(f64, f64)> {
    let (own, others) = (variance_over_runs(method)?, variance_over_runs(baseline)?);
    let variance = own.0 + others.0;
    let parts = own.0.powi(2) / own.1 + others.0.powi(2) / others.1;
    let freedom = match parts > 0.0 {
        true => variance.powi(2) / parts,
        false => own.1 + others.1,
    };
    Some((variance, freedom))
}

/// Corrects p-values for multiple testing by Holm's procedure, which keeps the probability of any
/// false finding below the level. `None` values are not counted.
pub fn holm(p_values: &[Option<f64>]) -> Vec<Option<f64>> {
    let mut order: Vec<(usize, f64)> = (p_values.iter().enumerate())
        .filter_map(|(i, p)| Some((i, (*p)?)))
        .collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut corrected = vec![None; p_values.len()];
    let mut largest = 0.0f64;
    for (place, &(i, p)) in order.iter().enumerate() {
        largest = largest.max(p * (order.len() - place) as f64).min(1.0);
        corrected[i] = Some(largest);
    }
    corrected
}

/// Ranks the scores, 1 for the highest; ties share their mean rank.
pub fn ranks(scores: &[f64]) -> Vec<f64> {
    (scores.iter())
        .map(|score| {
            let above = scores.iter().filter(|other| *other > score).count();
            let equal = scores.iter().filter(|other| *other == score).count();
            above as f64 + (equal as f64 + 1.0) / 2.0
        })
        .collect()
}

/// The expected values are SciPy's (1.17.1), each with the call that computed it.
#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    const A: [f64; 12] = [
        0.011, -0.023, 0.035, 0.047, -0.052, 0.068, 0.071, 0.089, -0.004, 0.093, 0.101, 0.116,
    ];

    fn waves(n: usize, shift: f64) -> Vec<f64> {
        (1..=n).map(|k| (k as f64 * 1.7).sin() + shift).collect()
    }

    fn near(test: Option<PairedTest>, pairs: usize, statistic: f64, p_value: f64) {
        let test = test.unwrap();
        assert_eq!(test.pairs, pairs);
        assert_relative_eq!(test.statistic, statistic, max_relative = 1e-10);
        assert_relative_eq!(test.p_value, p_value, max_relative = 1e-9);
    }

    /// G*Power 3.1, means of matched pairs, two tails, level 0.05, power 0.8: 10 pairs for a
    /// difference of one standard deviation, 34 for half of one.
    #[test]
    fn as_many_pairs_are_needed_as_the_tables_say() {
        assert_eq!(pairs_needed(1.0, 1.0, 0.95, 0.8), Some(10));
        assert_eq!(pairs_needed(1.0, 0.5, 0.95, 0.8), Some(34));
        assert_eq!(pairs_needed(0.0, 0.5, 0.95, 0.8), Some(2));
        assert_eq!(pairs_needed(1.0, 1e-6, 0.95, 0.8), None);
    }

    #[test]
    fn the_t_test_is_that_of_scipy() {
        // scipy.stats.ttest_1samp(A, 0)
        near(paired_t_test(&A), 12, 2.9870664214722, 0.012362355042971151);
        // ttest_rel([0.70, 0.72], [0.65, 0.66])
        let two = [0.70 - 0.65, 0.72 - 0.66];
        near(
            paired_t_test(&two),
            2,
            10.999999999999979,
            0.05771587675260907,
        );
        // k = np.arange(1, 81); ttest_1samp(np.sin(k * 1.7) + 0.2, 0)
        let test = paired_t_test(&waves(80, 0.2));
        near(test, 80, 2.5522451681749017, 0.012630950714501328);
        // ttest_1samp(A + 5, 0): a p-value that 1 - cdf would lose
        let test = paired_t_test(&A.map(|a| a + 5.0));
        near(test, 12, 327.6681991901908, 2.6856134269582723e-23);
    }

    #[test]
    fn the_signed_rank_test_is_that_of_scipy() {
        // scipy.stats.wilcoxon(A, method="exact"): p; its statistic is the smaller sum, 10 of 78
        near(wilcoxon_signed_rank(&A), 12, 68.0, 0.02099609375);
        // wilcoxon([0.05, 0.06])
        near(wilcoxon_signed_rank(&[0.05, 0.06]), 2, 3.0, 0.5);
        // wilcoxon([1, 2, 2, -3, 4, 4, -1, 5, 0, 6], method=PermutationMethod(n_resamples=inf)):
        // ties and a zero
        let ties = [1.0, 2.0, 2.0, -3.0, 4.0, 4.0, -1.0, 5.0, 0.0, 6.0];
        near(wilcoxon_signed_rank(&ties), 9, 38.5, 0.06640625);
        // wilcoxon(np.sin(np.arange(1, 81) * 1.7) + 0.2, method="exact"): smaller sum 1083 of 3240
        let test = wilcoxon_signed_rank(&waves(80, 0.2));
        near(test, 80, 2157.0, 0.009557484188836618);
        // c = np.sin(np.arange(1, 1201) * 1.7) + 0.05
        // wilcoxon(c, method="approx", correction=False): smaller sum 321019 of 720600
        let c = waves(1200, 0.05);
        let test = wilcoxon_signed_rank(&c);
        near(test, 1200, 720600.0 - 321019.0, 0.0010702697623612934);
        // the same of np.round(c, 1): 41 zeros and many ties; smaller sum 295374.5 of 672220
        let rounded: Vec<f64> = c
            .iter()
            .map(|c| (c * 10.0).round_ties_even() / 10.0)
            .collect();
        let test = wilcoxon_signed_rank(&rounded);
        near(test, 1159, 672220.0 - 295374.5, 0.00034108807379127867);
    }

    #[test]
    fn what_is_undefined_is_none() {
        assert_eq!(paired_t_test(&[]), None);
        assert_eq!(paired_t_test(&[0.1]), None);
        assert_eq!(paired_t_test(&[0.1, 0.1, 0.1]), None);
        assert_eq!(wilcoxon_signed_rank(&[]), None);
        assert_eq!(wilcoxon_signed_rank(&[0.0, 0.0]), None);
        assert_eq!(mean_and_deviation(&[]), (None, None));
        assert_eq!(mean_and_deviation(&[0.5]), (Some(0.5), None));
        // The sample deviation of 1, 2, 3 is 1.
        assert_eq!(mean_and_deviation(&[1.0, 2.0, 3.0]), (Some(2.0), Some(1.0)));
    }

    #[test]
    fn holm_multiplies_by_what_is_left_and_never_falls() {
        // Holm's procedure by hand: 0.01 x 4, 0.02 x 3, then 0.03 x 2 and 0.04 x 1 stay at 0.06.
        let p = [Some(0.04), None, Some(0.01), Some(0.03), Some(0.02)];
        let corrected = holm(&p);
        let expected = [Some(0.06), None, Some(0.04), Some(0.06), Some(0.06)];
        for (own, expected) in corrected.iter().zip(expected) {
            assert_eq!(own.is_some(), expected.is_some());
            if let (Some(own), Some(expected)) = (own, expected) {
                assert_relative_eq!(*own, expected, max_relative = 1e-12);
            }
        }
        assert_eq!(holm(&[Some(0.7), Some(0.9)]), [Some(1.0), Some(1.0)]);
    }

    #[test]
    fn equal_scores_share_their_rank() {
        assert_eq!(ranks(&[0.5, 0.9, 0.5, 0.1]), [2.5, 1.0, 2.5, 4.0]);
    }

    #[test]
    fn runs_of_one_subset_are_seeds_and_several_subsets_count_by_their_means() {
        let (variance, freedom) = variance_over_runs(&[("a", 0.01), ("a", 0.03)]).unwrap();
        // The sample variance is 2e-4, that of the mean of two is half of it.
        assert!((variance - 1e-4).abs() < 1e-12 && freedom == 1.0);
        let three = [
            ("a", 0.01),
            ("a", 0.03),
            ("b", 0.02),
            ("b", 0.02),
            ("c", 0.05),
            ("c", 0.05),
        ];
        let (variance, freedom) = variance_over_runs(&three).unwrap();
        // The means are 0.02, 0.02, 0.05, their sample variance is 3e-4.
        assert!((variance - 1e-4).abs() < 1e-12 && freedom == 2.0);
        assert_eq!(variance_over_runs(&[("a", 0.01)]), None);
    }

    /// scipy.stats.ttest_ind([0.1, 0.2, 0.4], [0.3, 0.35], equal_var=False).df and its standard
    /// error, sqrt(0.07/9 + 0.00125/2).
    #[test]
    fn runs_that_are_no_pairs_have_the_spread_of_both() {
        let own = [("a", 0.1), ("b", 0.2), ("c", 0.4)];
        let others = [("d", 0.3), ("d", 0.35)];
        let (variance, freedom) = variance_over_both(&own, &others).unwrap();
        assert!((variance - (0.07 / 9.0 + 0.00125 / 2.0)).abs() < 1e-12);
        assert!((freedom - 2.304580513143397).abs() < 1e-9, "{freedom}");
    }
}

//! Comparison of many methods: Friedman's test over their ranks, and how far apart two mean ranks
//! have to be (Demsar, Statistical comparisons of classifiers over multiple data sets, JMLR 7,
//! 2006).

use statrs::distribution::{ChiSquared, Continuous, ContinuousCDF, FisherSnedecor, Normal};

use super::significance::ranks;

/// Mean ranks over blocks, with the tests of their differences.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// Number of blocks: sets of scores, one per method, obtained under the same conditions.
    pub blocks: usize,
    /// Mean rank of each method, 1 for the highest score; ties share their mean rank.
    pub means: Vec<f64>,
    /// Test of whether the methods differ at all; `None` for fewer than two methods or blocks, and
    /// if all scores within each block are equal.
    pub friedman: Option<Friedman>,
    /// Methods whose mean ranks are further apart than this differ (Nemenyi 1963); `None` for fewer
    /// than two methods or blocks.
    pub critical_difference: Option<f64>,
    /// Groups of methods, by index, within which no two differ significantly, by ascending mean
    /// rank; a group contained in another is left out, and so is a group of a single method.
    pub groups: Vec<Vec<usize>>,
}

/// Friedman's test of the hypothesis that all methods have the same mean rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Friedman {
    /// Friedman's chi-squared (1937), divided by the correction for ties; it has one degree of
    /// freedom fewer than there are methods.
    pub chi_squared: f64,
    /// The p-value of chi-squared.
    pub p_value: f64,
    /// p-value of the F statistic that Iman and Davenport (1980) derive from it, which is less
    /// conservative; 0 if all blocks have the same order.
    pub p_iman_davenport: f64,
}

impl Ranking {
    /// Ranks the scores of `blocks`, each with one score per method in the same order; `level` of
    /// the critical difference is in (0, 1), usually 0.95. `None` without blocks.
    pub fn new(blocks: &[Vec<f64>], level: f64) -> Option<Self> {
        let methods = blocks.first()?.len();
        assert!(blocks.iter().all(|block| block.len() == methods), "blocks");
        let by_block: Vec<Vec<f64>> = blocks.iter().map(|scores| ranks(scores)).collect();
        let mean = |method: usize| {
            let sum: f64 = by_block.iter().map(|ranks| ranks[method]).sum();
            sum / blocks.len() as f64
        };
        let means: Vec<f64> = (0..methods).map(mean).collect();
        let critical_difference = critical_difference(methods, blocks.len(), level);
        Some(Ranking {
            blocks: blocks.len(),
            friedman: friedman(&by_block, &means),
            groups: critical_difference.map_or(Vec::new(), |far| groups(&means, far)),
            means,
            critical_difference,
        })
    }
}

/// Runs the test over ranks, one block per row.
fn friedman(by_block: &[Vec<f64>], means: &[f64]) -> Option<Friedman> {
    let (n, k) = (by_block.len() as f64, means.len() as f64);
    if n < 2.0 || k < 2.0 {
        return None;
    }
    let squares: f64 = means.iter().map(|mean| mean * mean).sum();
    let plain = 12.0 * n / (k * (k + 1.0)) * (squares - k * (k + 1.0).powi(2) / 4.0);
    // Ties reduce the spread of the ranks in a block.
    let ties: f64 = by_block.iter().map(|ranks| tied(ranks)).sum();
    let correction = 1.0 - ties / (n * k * (k * k - 1.0));
    if correction <= 0.0 {
        return None;
    }
    // Rounding errors may leave a value below 0.
    let chi_squared = (plain / correction).max(0.0);
    let left = n * (k - 1.0) - chi_squared;
    let p_iman_davenport = match left > 1e-9 * chi_squared {
        true => {
            let statistic = (n - 1.0) * chi_squared / left;
            let degrees = (k - 1.0, (k - 1.0) * (n - 1.0));
            FisherSnedecor::new(degrees.0, degrees.1)
                .ok()?
                .sf(statistic)
        }
        false => 0.0,
    };
    Some(Friedman {
        chi_squared,
        p_value: ChiSquared::new(k - 1.0).ok()?.sf(chi_squared),
        p_iman_davenport,
    })
}

/// Returns the sum of t^3 - t over the groups of t equal ranks.
fn tied(ranks: &[f64]) -> f64 {
    // Each of t equal ranks contributes t^2 - 1.
    let equal = |rank: &f64| ranks.iter().filter(|other| *other == rank).count() as f64;
    ranks.iter().map(|rank| equal(rank).powi(2) - 1.0).sum()
}

/// Returns Nemenyi's critical difference of the mean ranks of `methods` over `blocks`,
/// q sqrt(k (k + 1) / 6 n), where q is the quantile of the studentised range divided by sqrt 2.
/// `None` for fewer than two of either.
pub fn critical_difference(methods: usize, blocks: usize, level: f64) -> Option<f64> {
    if methods < 2 || blocks < 2 {
        return None;
    }
    let (k, n) = (methods as f64, blocks as f64);
    let q = studentised_range_quantile(methods, level) / 2f64.sqrt();
    Some(q * (k * (k + 1.0) / (6.0 * n)).sqrt())
}

/// Returns the `level` quantile of the range of `count` independent standard normal variables: the
/// studentised range with infinitely many degrees of freedom. It is found by bisection to within
/// rounding, so `count` is not limited by a table.
fn studentised_range_quantile(count: usize, level: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while range_probability(count, high) < level && high < 1e3 {
        high *= 2.0;
    }
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        match range_probability(count, middle) < level {
            true => low = middle,
            false => high = middle,
        }
    }
    (low + high) / 2.0
}

/// Returns the probability that the range of `count` standard normal variables is at most `range`:
/// count times the integral of the density of the largest, phi(z), times (Phi(z) - Phi(z - range))
/// to the power count - 1. For such a function the trapezoidal rule is exact to rounding.
fn range_probability(count: usize, range: f64) -> f64 {
    const REACH: i32 = 160;
    const STEP: f64 = 1.0 / 16.0;
    let normal = Normal::standard();
    let sum: f64 = (-REACH..=REACH)
        .map(|k| {
            let z = f64::from(k) * STEP;
            let within = normal.cdf(z) - normal.cdf(z - range);
            normal.pdf(z) * within.powf(count as f64 - 1.0)
        })
        .sum();
    count as f64 * sum * STEP
}

/// Returns the maximal groups of methods whose mean ranks lie within `far` of each other.
fn groups(means: &[f64], far: f64) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..means.len()).collect();
    order.sort_by(|&a, &b| means[a].total_cmp(&means[b]));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut reached = 0;
    for first in 0..order.len() {
        let near = |&&other: &&usize| means[other] - means[order[first]] <= far;
        let end = first + order[first..].iter().take_while(near).count();
        // A group that ends where a previous one ended is contained in it.
        if end > reached && end - first > 1 {
            groups.push(order[first..end].to_vec());
        }
        reached = reached.max(end);
    }
    groups
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    /// scipy.stats.studentized_range.ppf(level, k, inf) and .cdf(3, k, inf), SciPy 1.17.1. Divided
    /// by sqrt 2 the first are 1.960, 2.343, 2.728 and 3.164, as in table 5 of Demsar.
    #[test]
    fn the_studentised_range_is_that_of_scipy() {
        for (k, at_95, at_90, below_3) in [
            (2, 2.771807648699355, 2.3261743073533476, 0.9661051464753106),
            (3, 3.314493155398122, 2.9023802134282515, 0.9144574283450421),
            (5, 3.857655510378623, 3.478280550703068, 0.789123495036462),
            (
                10,
                4.474124221725907,
                4.129346398236873,
                0.48781592602919316,
            ),
            (
                28,
                5.25309353580552,
                4.946745913475437,
                0.056543412589016066,
            ),
            (
                100,
                6.084637537173171,
                5.812496242333562,
                3.359821600712613e-6,
            ),
        ] {
            let near = 1e-9;
            assert_relative_eq!(
                studentised_range_quantile(k, 0.95),
                at_95,
                max_relative = near
            );
            assert_relative_eq!(
                studentised_range_quantile(k, 0.90),
                at_90,
                max_relative = near
            );
            assert_relative_eq!(range_probability(k, 3.0), below_3, max_relative = near);
        }
    }

    /// Six blocks of four methods, some of them tied: `r = scipy.stats.friedmanchisquare(*X.T)`, `F
    /// = (n - 1) r.statistic / (n (k - 1) - r.statistic)`, `scipy.stats.f.sf(F, k - 1, (k - 1) (n -
    /// 1))`, `rankdata(-X, axis=1).mean(0)`, `studentized_range.ppf(0.95, k, inf) / sqrt(2) *
    /// sqrt(k (k + 1) / (6 n))`.
    #[test]
    fn test_ranks_and_critical_difference_are_those_of_scipy() {
        let blocks = [
            vec![9.0, 8.5, 8.5, 7.0],
            vec![6.0, 7.5, 5.0, 5.5],
            vec![9.5, 9.5, 9.5, 8.0],
            vec![8.0, 7.0, 6.5, 6.0],
            vec![5.0, 6.0, 4.0, 4.0],
            vec![7.5, 8.0, 7.0, 6.5],
        ];
        let ranking = Ranking::new(&blocks, 0.95).unwrap();
        let friedman = ranking.friedman.unwrap();
        let near = 1e-9;
        assert_relative_eq!(
            friedman.chi_squared,
            13.388888888888902,
            max_relative = near
        );
        assert_relative_eq!(friedman.p_value, 0.0038668188991814252, max_relative = near);
        assert_relative_eq!(
            friedman.p_iman_davenport,
            0.00010449049427209817,
            max_relative = near
        );
        let expected = [10.0 / 6.0, 9.5 / 6.0, 3.0, 3.75];
        for (mean, expected) in ranking.means.iter().zip(expected) {
            assert_relative_eq!(*mean, expected, max_relative = near);
        }
        let far = ranking.critical_difference.unwrap();
        assert_relative_eq!(far, 1.9148432265902373, max_relative = near);
        // 3.75 - 1.58 and 3.75 - 1.67 are further apart than that, 3 - 1.58 is not.
        assert_eq!(ranking.groups, [vec![1, 0, 2], vec![2, 3]]);
    }

    #[test]
    fn where_all_blocks_agree_nothing_is_left_to_chance() {
        let blocks = vec![vec![3.0, 2.0, 1.0]; 20];
        let ranking = Ranking::new(&blocks, 0.95).unwrap();
        let friedman = ranking.friedman.unwrap();
        assert_relative_eq!(friedman.chi_squared, 40.0, max_relative = 1e-12);
        assert_eq!(friedman.p_iman_davenport, 0.0);
        assert!(ranking.groups.is_empty(), "all three are told apart");
        // All scores within each block are equal.
        let level = Ranking::new(&[vec![1.0, 1.0], vec![2.0, 2.0]], 0.95).unwrap();
        assert_eq!(level.friedman, None);
        assert_eq!(level.groups, [vec![0, 1]]);
    }

    #[test]
    fn one_block_and_one_method_have_ranks_and_no_test() {
        assert_eq!(Ranking::new(&[], 0.95), None);
        for blocks in [vec![vec![0.3, 0.2]], vec![vec![0.3], vec![0.4]]] {
            let ranking = Ranking::new(&blocks, 0.95).unwrap();
            assert_eq!(ranking.means[0], 1.0);
            assert_eq!(
                (ranking.friedman, ranking.critical_difference),
                (None, None)
            );
            assert!(ranking.groups.is_empty());
        }
    }
}

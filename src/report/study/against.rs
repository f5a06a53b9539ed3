//! Every method against the baseline: is the difference more than noise?

use serde::{Deserialize, Serialize};

use super::method::Method;
use crate::data::labels::Group;
use crate::metrics::significance::{
    holm, mean_and_deviation, paired_t_test, pairs_needed, wilcoxon_signed_rank,
};
use crate::metrics::{PerGroup, Scope};
use crate::report::evaluation::LEVEL;

/// The tests, by what they leave out or pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Paired jackknife over the test images; mAP averaged over seeds. Reports of old had a
    /// bootstrap in its place.
    #[serde(alias = "bootstrap-images")]
    JackknifeImages,
    /// The same with the runs as a sample too: the variance over test images and that over seeds and
    /// subsets together, in one interval.
    ImagesAndSeeds,
    /// Paired t-test over the AP of the classes, averaged over seeds.
    TClasses,
    /// Wilcoxon's signed-rank test over the same pairs.
    WilcoxonClasses,
    /// Paired t-test over the mAP of the seeds that both methods have.
    TSeeds,
    /// Wilcoxon's signed-rank test over the same pairs.
    WilcoxonSeeds,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 6] = [
        Kind::JackknifeImages,
        Kind::ImagesAndSeeds,
        Kind::TClasses,
        Kind::WilcoxonClasses,
        Kind::TSeeds,
        Kind::WilcoxonSeeds,
    ];

    /// The test's name for people.
    pub fn title(self) -> &'static str {
        match self {
            Kind::JackknifeImages => "jackknife, images",
            Kind::ImagesAndSeeds => "images and seeds",
            Kind::TClasses => "t, classes",
            Kind::WilcoxonClasses => "Wilcoxon, classes",
            Kind::TSeeds => "t, seeds",
            Kind::WilcoxonSeeds => "Wilcoxon, seeds",
        }
    }
}

/// One method against the baseline, by one test, over all classes or a group's: a row of
/// `tests.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// The method.
    pub method: String,
    /// What it is compared with.
    pub baseline: String,
    /// total, head, medium or tail.
    pub classes: Scope,
    /// The test.
    pub test: Kind,
    /// Pairs: images, classes or seeds.
    pub pairs: usize,
    /// Mean difference of the pairs, method minus baseline, in [-1, 1].
    pub difference: f64,
    /// Lower end of the 95 % interval; a jackknife's only.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
    /// t, or the sum of the positive ranks; none for a jackknife.
    pub statistic: Option<f64>,
    /// Two-sided p-value; `None` where the test is undefined.
    pub p_value: Option<f64>,
    /// The same after Holm, over all methods that this test was made for.
    pub p_holm: Option<f64>,
    /// Classes with too few positives for the interval; a jackknife's only.
    pub few_positives: Option<usize>,
    /// Whether they are so many that the interval may be too narrow.
    pub doubtful: Option<bool>,
    /// Pairs from which a true difference of a point of mAP would be found in 80 % of cases; of the
    /// t-test over seeds only.
    #[serde(default)]
    pub pairs_for_a_point: Option<usize>,
}

impl Test {
    /// Whether there is an interval that may be too narrow.
    pub fn is_doubtful(&self) -> bool {
        self.doubtful == Some(true)
    }
}

/// All tests of all methods but the baseline, in the order of the methods.
pub(super) fn tests(methods: &[Method], baseline: usize, groups: &[Group]) -> Vec<Test> {
    let mut tests = Vec::new();
    for kind in Kind::ALL {
        for scope in Scope::ALL {
            let mut family: Vec<Test> = (methods.iter().enumerate())
                .filter(|(place, _)| *place != baseline)
                .filter_map(|(_, method)| test(method, &methods[baseline], kind, scope, groups))
                .collect();
            let p_values: Vec<Option<f64>> = family.iter().map(|test| test.p_value).collect();
            for (test, corrected) in family.iter_mut().zip(holm(&p_values)) {
                test.p_holm = corrected;
            }
            tests.extend(family);
        }
    }
    let place = |test: &Test| methods.iter().position(|m| m.name == test.method);
    tests.sort_by_key(place);
    tests
}

fn test(
    method: &Method,
    baseline: &Method,
    kind: Kind,
    scope: Scope,
    groups: &[Group],
) -> Option<Test> {
    let blank = Test {
        method: method.name.clone(),
        baseline: baseline.name.clone(),
        classes: scope,
        test: kind,
        pairs: 0,
        difference: 0.0,
        low: None,
        high: None,
        statistic: None,
        p_value: None,
        p_holm: None,
        few_positives: None,
        doubtful: None,
        pairs_for_a_point: None,
    };
    let differences: Vec<f64> = match kind {
        Kind::JackknifeImages | Kind::ImagesAndSeeds => return jackknife(method, baseline, blank),
        Kind::TClasses | Kind::WilcoxonClasses => {
            (method.class_scores.iter().zip(&baseline.class_scores))
                .zip(groups)
                .filter(|(_, group)| scope.holds(**group))
                .filter_map(|((own, other), _)| Some((*own)? - (*other)?))
                .collect()
        }
        Kind::TSeeds | Kind::WilcoxonSeeds => {
            let differences = differences(method, baseline, scope);
            differences.into_iter().map(|(_, d)| d).collect()
        }
    };
    // A single pair has no spread to compare its difference with.
    if differences.len() < 2 {
        return None;
    }
    let found = match kind {
        Kind::TClasses | Kind::TSeeds => paired_t_test(&differences),
        _ => wilcoxon_signed_rank(&differences),
    };
    let (mean, deviation) = mean_and_deviation(&differences);
    let needed = || pairs_needed(deviation?, 0.01, LEVEL, 0.8);
    Some(Test {
        pairs: differences.len(),
        pairs_for_a_point: (kind == Kind::TSeeds).then(needed).flatten(),
        difference: mean?,
        statistic: found.map(|test| test.statistic),
        p_value: found.map(|test| test.p_value),
        ..blank
    })
}

/// Differences of the runs that both methods have, each with its subset, the subsets together.
fn differences<'a>(method: &'a Method, baseline: &Method, scope: Scope) -> Vec<(&'a str, f64)> {
    let difference = |pair: (&'a str, u64)| {
        let difference = method.of_pair(pair, scope)? - baseline.of_pair(pair, scope)?;
        Some((pair.0, difference))
    };
    method.pairs().filter_map(difference).collect()
}

/// The runs of a method, each with its subset, the subsets together.
fn scores(method: &Method, scope: Scope) -> Vec<(&str, f64)> {
    let scores = method.scores.iter().map(|scores| scores[scope]);
    (method.pairs().zip(scores))
        .filter_map(|((subset, _), score)| Some((subset, score?)))
        .collect()
}

/// As [`over_runs`] for the difference of two methods whose runs are no pairs: the variances of both
/// means, with Welch's degrees of freedom.
fn over_both(method: &[(&str, f64)], baseline: &[(&str, f64)]) -> Option<(f64, f64)> {
    let (own, others) = (over_runs(method)?, over_runs(baseline)?);
    let variance = own.0 + others.0;
    let parts = own.0.powi(2) / own.1 + others.0.powi(2) / others.1;
    let freedom = match parts > 0.0 {
        true => variance.powi(2) / parts,
        false => own.1 + others.1,
    };
    Some((variance, freedom))
}

/// Variance of the mean over runs, and its degrees of freedom: over the means of the subsets where
/// there are several, since runs of one subset are alike, else over the seeds. `None` for one run.
fn over_runs(differences: &[(&str, f64)]) -> Option<(f64, f64)> {
    let mut subsets: Vec<Vec<f64>> = Vec::new();
    let mut last = None;
    for (subset, difference) in differences {
        if last.replace(*subset) != Some(*subset) {
            subsets.push(Vec::new());
        }
        subsets.last_mut()?.push(*difference);
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

fn jackknife(method: &Method, baseline: &Method, blank: Test) -> Option<Test> {
    let gain = (method.jackknife.as_ref()?).gain_over(baseline.jackknife.as_ref()?);
    let interval = match blank.test {
        Kind::ImagesAndSeeds => {
            let runs = PerGroup::from_fn(|scope| match method.apart {
                None => over_runs(&differences(method, baseline, scope)),
                Some(_) => over_both(&scores(method, scope), &scores(baseline, scope)),
            });
            gain.intervals_over_runs(&runs, LEVEL)[blank.classes]?
        }
        _ => gain.intervals(LEVEL)[blank.classes]?,
    };
    Some(Test {
        pairs: gain.num_images(),
        difference: interval.estimate,
        low: Some(interval.low),
        high: Some(interval.high),
        p_value: interval.p_value,
        few_positives: Some(interval.few_positives),
        doubtful: Some(interval.is_doubtful()),
        ..blank
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_subset_are_seeds_and_several_subsets_count_by_their_means() {
        let (variance, freedom) = over_runs(&[("a", 0.01), ("a", 0.03)]).unwrap();
        // Sample variance 2e-4, of the mean of two half of that.
        assert!((variance - 1e-4).abs() < 1e-12 && freedom == 1.0);
        let three = [
            ("a", 0.01),
            ("a", 0.03),
            ("b", 0.02),
            ("b", 0.02),
            ("c", 0.05),
            ("c", 0.05),
        ];
        let (variance, freedom) = over_runs(&three).unwrap();
        // Means 0.02, 0.02, 0.05: sample variance 3e-4.
        assert!((variance - 1e-4).abs() < 1e-12 && freedom == 2.0);
        assert_eq!(over_runs(&[("a", 0.01)]), None);
    }

    /// scipy.stats.ttest_ind([0.1, 0.2, 0.4], [0.3, 0.35], equal_var=False).df and its standard
    /// error, sqrt(0.07/9 + 0.00125/2).
    #[test]
    fn runs_that_are_no_pairs_have_the_spread_of_both() {
        let own = [("a", 0.1), ("b", 0.2), ("c", 0.4)];
        let others = [("d", 0.3), ("d", 0.35)];
        let (variance, freedom) = over_both(&own, &others).unwrap();
        assert!((variance - (0.07 / 9.0 + 0.00125 / 2.0)).abs() < 1e-12);
        assert!((freedom - 2.304580513143397).abs() < 1e-9, "{freedom}");
    }
}

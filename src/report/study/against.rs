//! Comparison of every method with the baseline: is the difference more than noise?

use serde::{Deserialize, Serialize};

use super::method::Method;
use crate::data::labels::Group;
use crate::metrics::significance::{
    holm, mean_and_deviation, paired_t_test, pairs_needed, variance_over_both, variance_over_runs,
    wilcoxon_signed_rank,
};
use crate::metrics::{PerGroup, Scope};
use crate::report::evaluation::LEVEL;

/// The tests, named after what they leave out or pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Paired jackknife over the test images; mAP is averaged over seeds. Old reports had a
    /// bootstrap instead.
    #[serde(alias = "bootstrap-images")]
    JackknifeImages,
    /// The same with the runs treated as a sample too: one interval includes the variance over test
    /// images and that over seeds and subsets.
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

    /// Returns the test's name for people.
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

/// The result of one test of a method against the baseline, over all classes or a group: a row of
/// `tests.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// The method.
    pub method: String,
    /// The method it is compared with.
    pub baseline: String,
    /// The scope: total, head, medium or tail.
    pub classes: Scope,
    /// The test.
    pub test: Kind,
    /// Number of pairs: images, classes or seeds.
    pub pairs: usize,
    /// Mean difference over the pairs, method minus baseline, in [-1, 1].
    pub difference: f64,
    /// Lower end of the 95 % interval; only for a jackknife.
    pub low: Option<f64>,
    /// Upper end of the interval.
    pub high: Option<f64>,
    /// t, or the sum of the positive ranks; `None` for a jackknife.
    pub statistic: Option<f64>,
    /// Two-sided p-value; `None` where the test is undefined.
    pub p_value: Option<f64>,
    /// The p-value after Holm's correction over all methods with this test.
    pub p_holm: Option<f64>,
    /// Number of classes with too few positives for the interval; only for a jackknife.
    pub few_positives: Option<usize>,
    /// Whether there are so many of them that the interval may be too narrow.
    pub doubtful: Option<bool>,
    /// Number of pairs needed to detect a true difference of one point of mAP with a power of 80 %;
    /// only for the t-test over seeds.
    #[serde(default)]
    pub pairs_for_a_point: Option<usize>,
}

impl Test {
    /// Returns whether there is an interval that may be too narrow.
    pub fn is_doubtful(&self) -> bool {
        self.doubtful == Some(true)
    }
}

/// Runs all tests of all methods except the baseline, in the order of the methods.
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

/// Returns the differences of the runs that both methods have, each with its subset, grouped by
/// subset.
fn differences<'a>(method: &'a Method, baseline: &Method, scope: Scope) -> Vec<(&'a str, f64)> {
    let difference = |pair: (&'a str, u64)| {
        let difference = method.of_pair(pair, scope)? - baseline.of_pair(pair, scope)?;
        Some((pair.0, difference))
    };
    method.pairs().filter_map(difference).collect()
}

/// Returns the scores of the runs of a method, each with its subset, grouped by subset.
fn scores(method: &Method, scope: Scope) -> Vec<(&str, f64)> {
    let scores = method.scores.iter().map(|scores| scores[scope]);
    (method.pairs().zip(scores))
        .filter_map(|((subset, _), score)| Some((subset, score?)))
        .collect()
}

fn jackknife(method: &Method, baseline: &Method, blank: Test) -> Option<Test> {
    let gain = (method.jackknife.as_ref()?).gain_over(baseline.jackknife.as_ref()?);
    let interval = match blank.test {
        Kind::ImagesAndSeeds => {
            let runs = PerGroup::from_fn(|scope| match method.apart {
                None => variance_over_runs(&differences(method, baseline, scope)),
                Some(_) => variance_over_both(&scores(method, scope), &scores(baseline, scope)),
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

//! Every method against the baseline: is the difference more than noise?

use serde::{Deserialize, Serialize};

use super::method::Method;
use crate::data::labels::Group;
use crate::metrics::Scope;
use crate::metrics::significance::{holm, mean_and_deviation, paired_t_test, wilcoxon_signed_rank};
use crate::report::evaluation::LEVEL;

/// The tests, by what they leave out or pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Paired jackknife over the test images; mAP averaged over seeds. Reports of old had a
    /// bootstrap in its place.
    #[serde(alias = "bootstrap-images")]
    JackknifeImages,
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
    pub const ALL: [Kind; 5] = [
        Kind::JackknifeImages,
        Kind::TClasses,
        Kind::WilcoxonClasses,
        Kind::TSeeds,
        Kind::WilcoxonSeeds,
    ];

    /// The test's name for people.
    pub fn title(self) -> &'static str {
        match self {
            Kind::JackknifeImages => "jackknife, images",
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
    };
    let differences: Vec<f64> = match kind {
        Kind::JackknifeImages => return jackknife(method, baseline, blank),
        Kind::TClasses | Kind::WilcoxonClasses => {
            (method.class_scores.iter().zip(&baseline.class_scores))
                .zip(groups)
                .filter(|(_, group)| scope.holds(**group))
                .filter_map(|((own, other), _)| Some((*own)? - (*other)?))
                .collect()
        }
        Kind::TSeeds | Kind::WilcoxonSeeds => (method.seeds.iter())
            .filter_map(|&seed| Some(method.of_seed(seed, scope)? - baseline.of_seed(seed, scope)?))
            .collect(),
    };
    // A single pair has no spread to compare its difference with.
    if differences.len() < 2 {
        return None;
    }
    let found = match kind {
        Kind::TClasses | Kind::TSeeds => paired_t_test(&differences),
        _ => wilcoxon_signed_rank(&differences),
    };
    Some(Test {
        pairs: differences.len(),
        difference: mean_and_deviation(&differences).0?,
        statistic: found.map(|test| test.statistic),
        p_value: found.map(|test| test.p_value),
        ..blank
    })
}

fn jackknife(method: &Method, baseline: &Method, blank: Test) -> Option<Test> {
    let gain = (method.jackknife.as_ref()?).gain_over(baseline.jackknife.as_ref()?);
    let interval = gain.intervals(LEVEL)[blank.classes]?;
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

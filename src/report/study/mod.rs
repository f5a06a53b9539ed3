//! A report about many runs: methods over seeds, tests against a baseline, tables for a paper,
//! pictures, and one page with all of it.

mod against;
mod chance;
mod collect;
mod curve;
mod files;
mod images;
mod latex;
mod method;
mod page;
mod plots;
mod published;
mod ranks;
mod settings;
mod shown;
mod splits;
mod tables;

use std::path::PathBuf;

use crate::data::labels::Group;
use crate::data::split::Set;
use crate::error::{Error, Result, closest};
use crate::metrics::{PerGroup, Scope};
use crate::report::class_scores::ClassScore;

pub use against::{Kind, Test};
pub use chance::Chance;
pub use collect::{LeftOut, Run};
pub use curve::Curve;
pub use files::{MethodRow, RunRow};
pub use method::Method;
pub use published::{Checked, Published};
pub use ranks::{RankRow, Ranks};
pub use settings::Setting;
pub use splits::Splits;

/// Options of a report.
#[derive(Debug, Clone)]
pub struct Options {
    /// The method that the others are compared with. Defaults to `erm` if it is present, otherwise
    /// to the first method of the tables.
    pub baseline: Option<String>,
    /// Which evaluation is reported.
    pub set: Set,
    /// The title; defaults to the names of the experiments.
    pub title: Option<String>,
    /// Whether to combine runs with different splits.
    pub allow_different_splits: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            baseline: None,
            set: Set::Test,
            title: None,
            allow_different_splits: false,
        }
    }
}

/// The combined results of several runs.
#[derive(Debug, Clone)]
pub struct Study {
    title: String,
    set: Set,
    runs: Vec<Run>,
    left_out: Vec<LeftOut>,
    methods: Vec<Method>,
    baseline: usize,
    /// The run whose classes are used for the whole study: the first of the baseline.
    reference: usize,
    tests: Vec<Test>,
    ranks: PerGroup<Option<Ranks>>,
    chance: Option<Chance>,
    settings: Vec<Setting>,
    splits: Splits,
}

impl Study {
    /// Reads the runs in `paths` and below, and compares them. Unfinished runs and those without an
    /// evaluation are left out with a warning. It is an error if no run is left, if the splits of
    /// two runs have different test sets (unless that is allowed) or different classes, or if two
    /// runs have the same method, seed and split.
    pub fn read(paths: &[PathBuf], options: &Options) -> Result<Self> {
        let found = collect::find(paths)?;
        let (runs, left_out) = collect::read(found, options.set)?;
        for out in &left_out {
            tracing::warn!("{}: left out: {}", out.folder.display(), out.reason);
        }
        if runs.is_empty() {
            let places: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
            let problem = format!("no finished run with an evaluation on {}", options.set);
            return Err(Error::input(places.join(", "), problem).hint(
                "give folders that `dbloss run` wrote, or that `dbloss train` and `dbloss eval` did",
            ));
        }
        let allowed = options.allow_different_splits;
        let shared = splits::check(&runs, options.set, allowed)?;
        collect::check_pairs(&runs)?;
        let scored = match shared.splits {
            Splits::Different => images::AllScored::none(runs.len()),
            Splits::One | Splits::Subsets => images::score(&runs, options.set)?,
        };
        let mut methods = method::group(&runs, &scored.runs, published::benchmark(&runs));
        let baseline = baseline(&methods, options.baseline.as_deref())?;
        for place in 0..methods.len() {
            methods[place].apart = shared.apart(&methods[place], &methods[baseline]);
        }
        let of_baseline = |run: &Run| run.method == methods[baseline].name;
        let reference = runs.iter().position(of_baseline).unwrap_or(0);
        let classes = &runs[reference].classes;
        let groups: Vec<Group> = classes.iter().map(|class| class.group).collect();
        Ok(Study {
            title: (options.title.clone()).unwrap_or_else(|| experiments(&runs).join(", ")),
            set: options.set,
            tests: against::tests(&methods, baseline, &groups),
            ranks: PerGroup::from_fn(|scope| Ranks::new(&methods, scope)),
            chance: (scored.images).and_then(|images| Chance::new(&runs, images)),
            settings: settings::differing(&runs, &methods),
            methods,
            baseline,
            reference,
            runs,
            left_out,
            splits: shared.splits,
        })
    }

    /// Returns the methods, in the order of the tables.
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// Returns the method that the others are compared with.
    pub fn baseline(&self) -> &Method {
        &self.methods[self.baseline]
    }

    /// Returns the tests of every other method against the baseline.
    pub fn tests(&self) -> &[Test] {
        &self.tests
    }

    /// Returns the ranks over all classes and over each group; `None` if there is no pair of subset
    /// and seed for which every method has a score.
    pub fn ranks(&self) -> &PerGroup<Option<Ranks>> {
        &self.ranks
    }

    /// Returns the expected scores of a random order; `None` if the number of evaluated images is
    /// unknown: without predictions or split, and with different test sets.
    pub fn chance(&self) -> Option<&Chance> {
        self.chance.as_ref()
    }

    /// Returns the rows of `ranks.csv`.
    pub fn rank_rows(&self) -> Vec<RankRow> {
        ranks::rows(&self.methods, &self.ranks)
    }

    /// Returns the mean rank by total mAP of the method at index `place`; 1 is the best.
    fn rank(&self, place: usize) -> Option<f64> {
        self.ranks[Scope::Total].as_ref()?.mean(place)
    }

    /// Returns the runs that were found but left out of the report.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Returns the classes of the baseline's first run: names, groups, counts.
    fn classes(&self) -> &[ClassScore] {
        &self.runs[self.reference].classes
    }

    /// Returns the indices of the classes by descending training count.
    fn class_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.classes().len()).collect();
        order.sort_by_key(|&class| std::cmp::Reverse(self.classes()[class].train_count));
        order
    }

    /// Returns the expected AP of a random order for the class at index `place`.
    fn chance_of(&self, place: usize) -> Option<f64> {
        self.chance.as_ref()?.classes[place]
    }

    /// Returns the result of a test for a method.
    fn test(&self, method: &Method, kind: Kind, classes: Scope) -> Option<&Test> {
        (self.tests.iter())
            .find(|t| t.method == method.name && t.test == kind && t.classes == classes)
    }
}

/// Returns the distinct names of the experiments, in order.
fn experiments(runs: &[Run]) -> Vec<String> {
    let mut names: Vec<String> = (runs.iter())
        .map(|run| run.manifest.experiment.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}

fn baseline(methods: &[Method], wanted: Option<&str>) -> Result<usize> {
    let place = |name: &str| methods.iter().position(|method| method.name == name);
    let Some(wanted) = wanted else {
        return Ok(place("erm").unwrap_or(0));
    };
    place(wanted).ok_or_else(|| {
        let names: Vec<&str> = methods.iter().map(|m| m.name.as_str()).collect();
        let problem = format!(
            "there is no run of `{wanted}`, only of {}",
            names.join(", ")
        );
        let error = Error::argument("--baseline", problem);
        match closest(wanted, names) {
            Some(near) => error.hint(format_args!("did you mean `{near}`?")),
            None => error,
        }
    })
}

#[cfg(test)]
mod tests;

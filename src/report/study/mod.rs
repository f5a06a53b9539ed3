//! Many runs in one report: methods over seeds, tests against a baseline, tables for a paper,
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

/// What a report is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// The method that the others are compared with; without a name `erm`, if it is there, else
    /// the first in the order of the tables.
    pub baseline: Option<String>,
    /// Which evaluation.
    pub set: Set,
    /// The title; without one the names of the experiments.
    pub title: Option<String>,
    /// Take runs with different splits together.
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

/// Runs taken together.
#[derive(Debug, Clone)]
pub struct Study {
    title: String,
    set: Set,
    runs: Vec<Run>,
    left_out: Vec<LeftOut>,
    methods: Vec<Method>,
    baseline: usize,
    /// The run whose classes stand for all: the baseline's first.
    reference: usize,
    tests: Vec<Test>,
    ranks: PerGroup<Option<Ranks>>,
    chance: Option<Chance>,
    settings: Vec<Setting>,
    splits: Splits,
}

impl Study {
    /// Reads the runs in `paths` and below, and compares them. Unfinished runs and those without
    /// an evaluation are left out with a warning; it is an error if no run is left, if two are of
    /// splits with different test sets (unless that is allowed) or have different classes, and if two are of the
    /// same method and seed.
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

    /// The methods, in the order of the tables.
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// The method that the others are compared with.
    pub fn baseline(&self) -> &Method {
        &self.methods[self.baseline]
    }

    /// The tests of every other method against the baseline.
    pub fn tests(&self) -> &[Test] {
        &self.tests
    }

    /// Ranks over all classes and each group; `None` where no pair of subset and seed has a score of
    /// each method.
    pub fn ranks(&self) -> &PerGroup<Option<Ranks>> {
        &self.ranks
    }

    /// What a random order would score; `None` where the number of evaluated images is not known:
    /// without predictions or split, and over different test sets.
    pub fn chance(&self) -> Option<&Chance> {
        self.chance.as_ref()
    }

    /// The rows of `ranks.csv`.
    pub fn rank_rows(&self) -> Vec<RankRow> {
        ranks::rows(&self.methods, &self.ranks)
    }

    /// Mean rank by total mAP of the method at `place`, 1 for the best.
    fn rank(&self, place: usize) -> Option<f64> {
        self.ranks[Scope::Total].as_ref()?.mean(place)
    }

    /// Runs that were found and are not in the report.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// The classes as the baseline's first run has them: names, groups, counts.
    fn classes(&self) -> &[ClassScore] {
        &self.runs[self.reference].classes
    }

    /// Places of the classes by falling training count.
    fn class_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.classes().len()).collect();
        order.sort_by_key(|&class| std::cmp::Reverse(self.classes()[class].train_count));
        order
    }

    /// The expected AP of a random order in the class at `place`.
    fn chance_of(&self, place: usize) -> Option<f64> {
        self.chance.as_ref()?.classes[place]
    }

    /// A test's result for a method.
    fn test(&self, method: &Method, kind: Kind, classes: Scope) -> Option<&Test> {
        (self.tests.iter())
            .find(|t| t.method == method.name && t.test == kind && t.classes == classes)
    }
}

/// The experiments' names, each once, in order.
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

//! The results of one method over its seeds.

use super::collect::Run;
use super::curve::{self, Curve};
use super::images::{RECALLS, Scored};
use super::published::{self, Published};
use crate::metrics::significance::mean_and_deviation;
use crate::metrics::{Jackknife, PerGroup, Scope};

/// A method: a row of the tables.
#[derive(Debug, Clone)]
pub struct Method {
    /// The method's name in the configuration.
    pub name: String,
    /// The method's name as written in papers.
    pub title: String,
    /// The seed of each run, ordered by subset and then ascending; a subset is identified by the
    /// hash of its split.
    pub seeds: Vec<u64>,
    /// The subset of each run.
    pub subsets: Vec<String>,
    /// mAP of each run.
    pub scores: Vec<PerGroup<Option<f64>>>,
    /// AP of each class, averaged over seeds; `None` if it is undefined for one of them.
    pub class_scores: Vec<Option<f64>>,
    /// Sample standard deviation of `class_scores` over seeds; `None` for fewer than two.
    pub class_deviations: Vec<Option<f64>>,
    /// A remark on its training sets if it shares none with the baseline: such a method has no
    /// ranks, and its runs are not paired with others.
    pub apart: Option<String>,
    /// The published scores, if there are any for this benchmark and method.
    pub published: Option<Published>,
    /// Training loss of each run, by step.
    pub losses: Vec<Curve>,
    /// Validation mAP by epoch, averaged over seeds.
    pub validation: Curve,
    /// Training time of a run in seconds, averaged over seeds.
    pub train_seconds: f64,
    /// What is wrong with its runs: the seed and a sentence.
    pub remarks: Vec<(u64, String)>,
    /// mAP with the influence of each image on it, averaged over seeds; `None` if a seed has no
    /// predictions.
    pub jackknife: Option<Jackknife>,
    /// Precision at evenly spaced recalls for each class, averaged over seeds.
    pub precision: Vec<Option<Vec<f64>>>,
}

impl Method {
    /// Returns the mean and the sample standard deviation of mAP over seeds.
    pub fn mean_and_deviation(&self, scope: Scope) -> (Option<f64>, Option<f64>) {
        let values: Vec<f64> = self.scores.iter().filter_map(|s| s[scope]).collect();
        mean_and_deviation(&values)
    }

    /// Returns the mean mAP over seeds.
    pub fn means(&self) -> PerGroup<Option<f64>> {
        PerGroup::from_fn(|scope| self.mean_and_deviation(scope).0)
    }

    /// Formats the number of its seeds, followed by `amiss` if one of its runs has a remark, and by
    /// `apart` if its training sets are not those of the baseline.
    pub(super) fn seeds_marked(&self, amiss: &str, apart: &str) -> String {
        let amiss = if self.remarks.is_empty() { "" } else { amiss };
        let apart = if self.apart.is_none() { "" } else { apart };
        format!("{}{amiss}{apart}", self.seeds.len())
    }

    /// Returns the subset and seed of each run, by which it is paired with the other methods' runs.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, u64)> {
        let subsets = self.subsets.iter().map(String::as_str);
        subsets.zip(self.seeds.iter().copied())
    }

    /// Returns the mAP of the run with the given subset and seed.
    pub fn of_pair(&self, pair: (&str, u64), scope: Scope) -> Option<f64> {
        let place = self.pairs().position(|own| own == pair)?;
        self.scores[place][scope]
    }
}

/// Groups runs (with what was computed from their predictions) into methods, in the order of the
/// paper's table; other methods follow, sorted by name.
pub(super) fn group(
    runs: &[Run],
    scored: &[Option<Scored>],
    benchmark: Option<&str>,
) -> Vec<Method> {
    let mut names: Vec<&str> = runs.iter().map(|run| run.method.as_str()).collect();
    names.sort_by_key(|name| order(name));
    names.dedup();
    (names.into_iter())
        .map(|name| method(name, runs, scored, benchmark))
        .collect()
}

/// Returns the sort key for the tables: known methods first, numbers in names by their value.
fn order(name: &str) -> (usize, String, Vec<Piece>) {
    let (experiment, method) = name.rsplit_once('/').unwrap_or(("", name));
    (
        published::place(method),
        experiment.to_owned(),
        pieces(method),
    )
}

/// A part of a name: text or a number.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    /// The bit pattern of a non-negative number, which sorts like the number.
    Number(u64),
    Text(String),
}

fn pieces(name: &str) -> Vec<Piece> {
    let numeric = |c: char| c.is_ascii_digit() || c == '.';
    let mut pieces = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c: char| numeric(c) != numeric(first));
        let (piece, behind) = rest.split_at(end.unwrap_or(rest.len()));
        pieces.push(match piece.parse::<f64>() {
            Ok(number) if numeric(first) => Piece::Number(number.to_bits()),
            _ => Piece::Text(piece.to_owned()),
        });
        rest = behind;
    }
    pieces
}

fn method(name: &str, runs: &[Run], scored: &[Option<Scored>], benchmark: Option<&str>) -> Method {
    let mut own: Vec<(&Run, &Option<Scored>)> = (runs.iter().zip(scored))
        .filter(|(run, _)| run.method == name)
        .collect();
    own.sort_by_key(|(run, _)| (&run.manifest.split_hash, run.manifest.seed));
    let classes = own.first().map_or(0, |(run, _)| run.classes.len());
    let of_class = |class: usize| -> (Option<f64>, Option<f64>) {
        let scores: Option<Vec<f64>> = (own.iter())
            .map(|(run, _)| run.classes[class].average_precision)
            .collect();
        scores.map_or((None, None), |scores| mean_and_deviation(&scores))
    };
    let (class_scores, class_deviations) = (0..classes).map(of_class).unzip();
    let validations: Vec<&Curve> = own.iter().map(|(run, _)| &run.validation).collect();
    // Only if every seed has predictions do they represent the method.
    let scored: Option<Vec<&Scored>> = own.iter().map(|(_, scored)| scored.as_ref()).collect();
    let scored = scored.unwrap_or_default();
    let seconds: Vec<f64> = own
        .iter()
        .map(|(run, _)| run.manifest.train_seconds)
        .collect();
    let remarks = own.iter().flat_map(|(run, _)| {
        let of_run = |remark: &String| (run.manifest.seed, remark.clone());
        run.remarks.iter().map(of_run)
    });
    Method {
        name: name.to_owned(),
        title: published::title(name),
        seeds: own.iter().map(|(run, _)| run.manifest.seed).collect(),
        subsets: (own.iter())
            .map(|(run, _)| run.manifest.split_hash.clone())
            .collect(),
        scores: own.iter().map(|(run, _)| run.groups.means).collect(),
        class_scores,
        class_deviations,
        apart: None,
        published: benchmark.and_then(|benchmark| published::find(benchmark, name)),
        losses: own.iter().map(|(run, _)| run.loss.clone()).collect(),
        validation: curve::mean(&validations),
        train_seconds: mean_and_deviation(&seconds).0.unwrap_or(0.0),
        remarks: remarks.collect(),
        jackknife: Jackknife::mean(scored.iter().map(|scored| &scored.jackknife)),
        precision: (0..if scored.is_empty() { 0 } else { classes })
            .map(|class| mean_precision(&scored, class))
            .collect(),
    }
}

fn mean_precision(scored: &[&Scored], class: usize) -> Option<Vec<f64>> {
    let curves: Option<Vec<&Vec<f64>>> = (scored.iter())
        .map(|scored| scored.precision.get(class)?.as_ref())
        .collect();
    let curves = curves?;
    let mean = |k: usize| curves.iter().map(|c| c[k]).sum::<f64>() / curves.len() as f64;
    Some((0..RECALLS).map(mean).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_come_in_the_order_of_the_paper_and_numbers_by_value() {
        let mut names = [
            "zlpr", "db-focal", "mu-0.5", "asl", "erm", "mu-0.05", "rs", "mu-10",
        ];
        names.sort_by_key(|name| order(name));
        let expected = [
            "erm", "rs", "db-focal", "asl", "mu-0.05", "mu-0.5", "mu-10", "zlpr",
        ];
        assert_eq!(names, expected);
    }
}

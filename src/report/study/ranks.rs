//! Ranks of the methods over the runs that all of them have, and which methods differ
//! significantly.

use serde::{Deserialize, Serialize};

use super::method::Method;
use crate::metrics::{PerGroup, Ranking, Scope, critical_difference};
use crate::report::evaluation::LEVEL;
use crate::rows::number;

/// Mean ranks by mAP; a block consists of the runs of all methods with the same subset and seed.
#[derive(Debug, Clone)]
pub struct Ranks {
    /// The ranks, in the order of the ranked methods.
    pub ranking: Ranking,
    /// The indices of the ranked methods in the tables; methods on other training sets than the
    /// baseline's are left out.
    pub places: Vec<usize>,
    /// Number of subsets that the blocks belong to.
    pub subsets: usize,
}

/// A method's rank, a row of `ranks.csv`: for all classes and for each group, the methods by
/// ascending mean rank.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankRow {
    /// The scope that mAP is taken over: total, head, medium or tail.
    pub classes: Scope,
    /// The method.
    pub method: String,
    /// The method's mean rank; 1 is the best.
    #[serde(serialize_with = "number::full_or_empty")]
    pub mean_rank: Option<f64>,
    /// The numbers of the groups it belongs to, separated by spaces; methods of one group do not
    /// differ significantly. Empty if it differs from all others, or if nothing is known.
    pub groups: String,
    /// Number of pairs of subset and seed that all methods have.
    pub blocks: usize,
    /// Methods whose mean ranks are further apart than this differ, at a level of 95 % over all
    /// pairs together (Nemenyi); empty for fewer than two methods or blocks.
    #[serde(serialize_with = "number::full_or_empty")]
    pub critical_difference: Option<f64>,
    /// Friedman's chi-squared, corrected for ties; the same in all rows of a scope.
    #[serde(serialize_with = "number::full_or_empty")]
    pub chi_squared: Option<f64>,
    /// p-value of the hypothesis that all methods have the same mean rank.
    pub p_friedman: Option<f64>,
    /// The same from the F statistic of Iman and Davenport.
    pub p_iman_davenport: Option<f64>,
    /// Number of subsets that the blocks belong to.
    pub subsets: usize,
    /// The critical difference if only the subsets were blocks, each with its mean over the seeds;
    /// empty for one subset.
    #[serde(serialize_with = "number::full_or_empty")]
    pub critical_difference_over_subsets: Option<f64>,
}

impl Ranks {
    /// Ranks the methods over the classes of `scope`; `None` if there is no pair of subset and seed
    /// for which every method has a score.
    pub(super) fn new(methods: &[Method], scope: Scope) -> Option<Self> {
        let ranked = |&place: &usize| methods[place].apart.is_none();
        let places: Vec<usize> = (0..methods.len()).filter(ranked).collect();
        let scores = |pair: (&str, u64)| -> Option<Vec<f64>> {
            let of_method = |&place: &usize| methods[place].of_pair(pair, scope);
            places.iter().map(of_method).collect()
        };
        let common: Vec<(&str, Vec<f64>)> = (methods[*places.first()?].pairs())
            .filter_map(|pair| Some((pair.0, scores(pair)?)))
            .collect();
        let mut subsets: Vec<&str> = common.iter().map(|(subset, _)| *subset).collect();
        subsets.dedup();
        let subsets = subsets.len();
        let blocks: Vec<Vec<f64>> = common.into_iter().map(|(_, scores)| scores).collect();
        let ranking = Ranking::new(&blocks, LEVEL)?;
        Some(Ranks {
            ranking,
            places,
            subsets,
        })
    }

    /// Returns the ranked methods by ascending mean rank: index in the tables and rank.
    pub fn order(&self) -> Vec<(usize, f64)> {
        let means = self.ranking.means.iter().copied();
        let mut order: Vec<(usize, f64)> = self.places.iter().copied().zip(means).collect();
        order.sort_by(|a, b| a.1.total_cmp(&b.1));
        order
    }

    /// Returns the mean rank of the method at index `place`; `None` if it is not ranked.
    pub fn mean(&self, place: usize) -> Option<f64> {
        let own = self.places.iter().position(|&other| other == place)?;
        Some(self.ranking.means[own])
    }

    /// Returns the groups of methods that do not differ significantly, by their indices.
    pub(super) fn groups(&self) -> impl Iterator<Item = Vec<usize>> + '_ {
        let of = |group: &Vec<usize>| group.iter().map(|&own| self.places[own]).collect();
        self.ranking.groups.iter().map(of)
    }

    /// Returns the critical difference with the subsets as blocks; `None` for one subset.
    pub fn critical_difference_over_subsets(&self) -> Option<f64> {
        critical_difference(self.ranking.means.len(), self.subsets, LEVEL)
    }

    /// Returns the numbers, from 1, of the groups that a method belongs to, separated by spaces.
    pub(super) fn groups_of(&self, method: usize) -> String {
        let numbered = (1..).zip(self.groups());
        let own: Vec<String> = numbered
            .filter(|(_, group)| group.contains(&method))
            .map(|(number, _): (usize, _)| number.to_string())
            .collect();
        own.join(" ")
    }

    /// Describes the ranks in sentences; `None` if there is no test.
    pub(super) fn in_words(&self) -> Option<String> {
        let ranking = &self.ranking;
        let far = ranking.critical_difference?;
        let mut text = format!("Blocks: {}. ", ranking.blocks);
        if let Some(test) = ranking.friedman {
            text.push_str(&format!(
                "Friedman's test of equal ranks: chi-squared {:.1}, p {}; after Iman and Davenport p {}. ",
                test.chi_squared,
                short_p(test.p_value),
                short_p(test.p_iman_davenport),
            ));
        }
        text.push_str(&format!(
            "Methods whose mean ranks differ by more than {far:.2} are told apart (Nemenyi, 95 % over \
             all pairs together)."
        ));
        if let Some(over_subsets) = self.critical_difference_over_subsets() {
            text.push_str(&format!(
                " Runs on one subset are not independent, but count here as if they were: with the {} \
                 subsets as blocks the difference would have to be {over_subsets:.2}.",
                self.subsets
            ));
        }
        Some(text)
    }
}

/// Formats a p-value with its relation sign, to follow the letter p.
fn short_p(p: f64) -> String {
    match p < 0.001 {
        true => "< 0.001".into(),
        false => format!("= {p:.3}"),
    }
}

/// Returns the rows of all scopes.
pub(super) fn rows(methods: &[Method], ranks: &PerGroup<Option<Ranks>>) -> Vec<RankRow> {
    let mut rows = Vec::new();
    for (scope, ranks) in ranks.iter() {
        let Some(ranks) = ranks else { continue };
        let ranking = &ranks.ranking;
        let test = ranking.friedman;
        rows.extend(ranks.order().into_iter().map(|(place, rank)| RankRow {
            classes: scope,
            method: methods[place].name.clone(),
            mean_rank: Some(rank),
            groups: ranks.groups_of(place),
            blocks: ranking.blocks,
            critical_difference: ranking.critical_difference,
            chi_squared: test.map(|test| test.chi_squared),
            p_friedman: test.map(|test| test.p_value),
            p_iman_davenport: test.map(|test| test.p_iman_davenport),
            subsets: ranks.subsets,
            critical_difference_over_subsets: ranks.critical_difference_over_subsets(),
        }));
    }
    rows
}

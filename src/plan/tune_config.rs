//! The `[tune]` table of a sweep file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Table;

use crate::error::{Error, KeyPath, Result};
use crate::range::Range;

/// How settings are chosen for each method. Every method gets the same number of trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TuneConfig {
    /// Which settings are tried, `grid`.
    pub strategy: Strategy,
    /// Settings that are drawn for each method, with `random` and `halving`; 0, the default, tries
    /// every point of the grid.
    pub trials: usize,
    /// With `halving`: the fraction of the settings that continues from one fold to the next, 0.5.
    pub keep: f64,
    /// Folds of the training subset, 3: each is the validation part of a training on the others.
    pub folds: usize,
    /// How often the subset is cut into folds, differently each time, 1.
    pub repeats: usize,
    /// Root of the streams that draw folds and settings, and the seed of the trials, 0.
    pub seed: u64,
    /// Seeds of the subsets that the final runs train on; if left out, the experiment's own. The
    /// search uses the first.
    pub subsets: Vec<u64>,
    /// Ranges for drawn values, any key of the configuration:
    /// `{ min = 1e-4, max = 1e-2, scale = "log" }`.
    pub range: Table,
    /// Further values for single methods: one table per method, of keys with lists or ranges.
    pub methods: Table,
    /// Methods that are second stages, each with the method whose network it starts from: the one
    /// trained with that method's chosen setting, on the same fold, or on the same subset with the
    /// same seed. Methods that are not tried are ignored.
    pub start: BTreeMap<String, String>,
}

impl Default for TuneConfig {
    fn default() -> Self {
        TuneConfig {
            strategy: Strategy::Grid,
            trials: 0,
            keep: 0.5,
            folds: 3,
            repeats: 1,
            seed: 0,
            subsets: Vec::new(),
            range: Table::new(),
            methods: Table::new(),
            start: BTreeMap::new(),
        }
    }
}

/// Which settings are tried, and on how many folds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Every point of the grid, on every fold.
    #[default]
    Grid,
    /// `trials` settings drawn at random, on every fold.
    Random,
    /// All settings on the first fold, the better part of them on the next, and so on (successive
    /// halving, Jamieson and Talwalkar, AISTATS 2016, with folds as the resource: a training keeps
    /// its length and its schedule).
    Halving,
}

impl Strategy {
    /// Returns the strategy's name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Grid => "grid",
            Strategy::Random => "random",
            Strategy::Halving => "halving",
        }
    }
}

impl TuneConfig {
    /// Checks the ranges; `at` is the key of this table.
    pub(in crate::plan) fn check(&self, at: &KeyPath) -> Result<()> {
        Range::WholeWithin(0, 10_000).check_whole(&at.join("trials"), self.trials)?;
        Range::Between(0.0, 1.0).check(&at.join("keep"), self.keep)?;
        Range::WholeWithin(2, 100).check_whole(&at.join("folds"), self.folds)?;
        Range::WholeWithin(1, 100).check_whole(&at.join("repeats"), self.repeats)?;
        Range::WholeWithin(0, i64::MAX).check_whole(&at.join("seed"), self.seed)?;
        for (i, &subset) in self.subsets.iter().enumerate() {
            let key = at.join("subsets").item(i);
            Range::WholeWithin(0, i64::MAX).check_whole(&key, subset)?;
            if self.subsets[..i].contains(&subset) {
                return Err(Error::key(key, format_args!("repeats {subset}")));
            }
        }
        match (self.strategy, self.trials) {
            (Strategy::Grid, 1..) => {
                let problem = format!("is {}, but `grid` tries every point", self.trials);
                Err(Error::key(at.join("trials"), problem)
                    .hint("choose `strategy = \"random\"`, or leave `trials` out"))
            }
            (Strategy::Random, 0) => {
                let problem = "is missing: say how many settings to draw for each method";
                Err(Error::key(at.join("trials"), problem).hint("for example `trials = 12`"))
            }
            _ => Ok(()),
        }
    }

    /// Returns the total number of folds: each repeat has its own.
    pub fn all_folds(&self) -> usize {
        self.folds * self.repeats
    }

    /// Returns how many of `settings` are tried on fold number `fold`, counted from 0.
    pub(super) fn settings_on_fold(&self, settings: usize, fold: usize) -> usize {
        match self.strategy {
            Strategy::Halving => {
                let part = self.keep.powi(fold as i32) * settings as f64;
                (part.ceil() as usize).clamp(settings.min(1), settings)
            }
            Strategy::Grid | Strategy::Random => settings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_keeps_its_part_and_never_nothing() {
        let config = TuneConfig {
            strategy: Strategy::Halving,
            folds: 5,
            ..TuneConfig::default()
        };
        let tried: Vec<usize> = (0..5)
            .map(|fold| config.settings_on_fold(12, fold))
            .collect();
        assert_eq!(tried, [12, 6, 3, 2, 1]);
        assert_eq!(TuneConfig::default().settings_on_fold(12, 2), 12);
    }
}

//! The final runs: every method with its chosen settings, on whole subsets, evaluated once.

use std::path::Path;

use toml::{Table, Value};

use super::trials::Trial;
use super::{Means, Search, Tuning, apart, trials};
use crate::config::Experiment;
use crate::data::picture_hashes::PictureHashes;
use crate::data::split::{Set, Split};
use crate::error::{Error, Result};
use crate::io::{absolute, write_text};
use crate::layers::embedded;
use crate::plan::collect::{Collected, collect};
use crate::plan::folder::Plan;
use crate::plan::grid::Point;
use crate::report::tuning::{self, F1Row, ThresholdRow};
use crate::run_dir::RunDir;
use crate::wording::counted;

use super::outcome::SubsetScores;

impl Tuning {
    /// The file of the chosen settings: an experiment that extends the tuned one.
    const CHOSEN: &str = "chosen.toml";

    /// Writes down the settings chosen by the search. Once the final runs have begun the choice is
    /// fixed: other methods may be added, with their own choices, but no choice can be changed.
    ///
    /// # Errors
    /// Fails if there are already final runs with another choice for one of the methods.
    pub(super) fn fix_choice(&self, search: &Search) -> Result<Vec<(String, Point)>> {
        let mut chosen = Vec::new();
        for candidates in &self.candidates {
            let (point, _) = trials::best(candidates, &search.trials)?;
            chosen.push((candidates.method.clone(), point.clone()));
        }
        let text = self.choice_text(&chosen)?;
        let path = self.home.join(Self::CHOSEN);
        if self.has_final_runs() && !keeps(&path, &text) {
            let problem =
                "another choice was made before, and its final runs have used the test set";
            return Err(Error::file(&path, problem).hint(
                "a choice that is made again after a look at the test set is one that it had a \
                 part in: give the new search another `name` or `--out`, and report both",
            ));
        }
        write_text(&path, &text)?;
        Ok(chosen)
    }

    /// Returns whether a final run has begun.
    fn has_final_runs(&self) -> bool {
        let folders = fs_err::read_dir(self.home.join("final"))
            .into_iter()
            .flatten();
        (folders.flatten()).any(|folder| folder.path().join("plan.json").is_file())
    }

    /// Formats the chosen settings as an experiment file.
    fn choice_text(&self, chosen: &[(String, Point)]) -> Result<String> {
        let mut methods = Table::new();
        for (method, point) in chosen {
            let mut table = Table::new();
            for assignment in &point.assignments {
                insert(&mut table, assignment.key.keys(), assignment.value.clone());
            }
            methods.insert(method.clone(), Value::Table(table));
        }
        let experiment = &self.sweep.config.experiment;
        let extends = match embedded::name_of(experiment) {
            Some(_) => experiment.clone(),
            None => absolute(&std::env::current_dir()?, experiment),
        };
        let mut file = Table::new();
        file.insert(
            "extends".into(),
            Value::String(extends.to_string_lossy().into_owned()),
        );
        file.insert(
            "name".into(),
            Value::String(format!("{}-chosen", self.sweep.name)),
        );
        file.insert("methods".into(), Value::Table(methods));
        let path = self.home.join(Self::CHOSEN);
        let text = toml::to_string(&file)
            .map_err(|e| Error::file(&path, format_args!("cannot be written: {e}")))?;
        let header = "# Written by `dbloss tune`: the settings that it chose for each method, on \
                      folds of the training\n# subset. No test image had a part in it.\n";
        Ok(format!("{header}{text}"))
    }

    /// Trains the methods with their chosen settings on every subset and evaluates them on the test
    /// set.
    ///
    /// # Errors
    /// Fails if runs failed, if a subset shares pictures with its test set, or if a signal arrived.
    pub(super) fn finals(
        &self,
        (chosen, thresholds): (&[(String, Point)], &[ThresholdRow]),
        means: Means,
        hashes: &mut PictureHashes,
    ) -> Result<(Vec<SubsetScores>, Vec<apart::SetRow>)> {
        let (mut scores, mut sets) = (Vec::new(), Vec::new());
        for index in 0..self.config.subsets.len().max(1) {
            let (subset, folder) = self.subset(index)?;
            if index > 0 {
                sets.extend(apart::check(&subset, &self.subset_name(index), hashes)?);
            }
            let runs = self.final_runs(chosen, index, &folder)?;
            tracing::info!(
                "{}: {}",
                self.subset_name(index),
                counted(runs.len(), "final run")
            );
            let (plan, split) = self.run_stages(index, runs, means)?;
            let Collected { comparison, .. } = collect(&plan, &split)?;
            if let Some(comparison) = comparison {
                scores.push(SubsetScores {
                    f1: self.f1(index, &plan, &split, thresholds)?,
                    name: self.subset_name(index),
                    split: split.hash.clone(),
                    runs: comparison.rows(),
                });
            }
        }
        Ok((scores, sets))
    }

    /// Runs the final runs `runs` of a subset; second stages run after the runs they start from.
    fn run_stages(
        &self,
        index: usize,
        runs: Vec<Experiment>,
        means: Means,
    ) -> Result<(Plan, Split)> {
        let plan = |runs| -> Result<Plan> {
            let plan = Plan::of_runs(&self.sweep.name, self.subset_home(index), runs)?;
            Ok(Self::scored_for_f1(plan))
        };
        let (second, first): (Vec<_>, Vec<_>) =
            (runs.iter().cloned()).partition(|run| self.config.start.contains_key(&run.method));
        if !second.is_empty() {
            self.run_all(&mut plan(first)?, means, |_| false)?;
        }
        let mut all = plan(runs)?;
        let split = self.run_all(&mut all, means, |_| false)?;
        Ok((all, split))
    }

    /// Makes the plan also evaluate its runs on their training sets, whose scores are the unit of
    /// the thresholds.
    fn scored_for_f1(mut plan: Plan) -> Plan {
        plan.sets = vec![Set::Test, Set::Train];
        plan
    }

    /// Scores the training images of the trainings with the chosen settings.
    ///
    /// # Errors
    /// Fails if a run fails or a signal arrived.
    pub(super) fn score_training(
        &self,
        search: &Search,
        chosen: &[(String, Point)],
        means: Means,
    ) -> Result<()> {
        for number in 0..search.folds.len() {
            let runs = (chosen.iter())
                .map(|(method, point)| self.trial(method, point, number, &search.trials))
                .collect::<Result<_>>()?;
            let mut plan = Self::scored_for_f1(self.trials_of(number, runs)?);
            self.run_all(&mut plan, means, |_| false)?;
        }
        Ok(())
    }

    /// Returns the thresholds of each method with its chosen setting, chosen on its folds together;
    /// methods without thresholds are left out.
    ///
    /// # Errors
    /// Fails if a file of scores is damaged.
    pub(super) fn thresholds(
        &self,
        search: &Search,
        chosen: &[(String, Point)],
    ) -> Result<Vec<ThresholdRow>> {
        let mut all = Vec::new();
        for (method, point) in chosen {
            let own =
                |trial: &&Trial| trial.row.method == *method && trial.row.setting == point.label;
            let folds: Vec<(&Split, &RunDir)> = (search.trials.iter())
                .filter(own)
                .map(|trial| (&search.folds[trial.row.fold - 1], &trial.run))
                .collect();
            all.extend(tuning::thresholds(method, &folds)?.into_iter().flatten());
        }
        Ok(all)
    }

    /// Computes F1 of the runs of a subset whose methods have thresholds.
    fn f1(
        &self,
        index: usize,
        plan: &Plan,
        split: &Split,
        thresholds: &[ThresholdRow],
    ) -> Result<Vec<F1Row>> {
        let mut rows = Vec::new();
        for run in &plan.runs {
            let Experiment { method, seed, .. } = &run.experiment;
            let own = thresholds.iter().filter(|row| row.method == *method);
            let own: Vec<ThresholdRow> = own.cloned().collect();
            if own.is_empty() {
                continue;
            }
            let found = tuning::at_thresholds(&own, split, &plan.run_dir(run))?;
            rows.extend(
                found
                    .iter()
                    .flat_map(|found| found.iter())
                    .map(|(scope, f1)| F1Row {
                        subset: self.subset_name(index),
                        method: method.clone(),
                        seed: *seed,
                        classes: scope,
                        micro_f1: f1.micro,
                        macro_f1: f1.macro_average,
                    }),
            );
        }
        Ok(rows)
    }

    fn final_runs(
        &self,
        chosen: &[(String, Point)],
        index: usize,
        split_folder: &Path,
    ) -> Result<Vec<Experiment>> {
        let more = self.subset_assignment(index);
        let mut runs = Vec::new();
        for (method, point) in chosen {
            let mut assignments = [point.on(&self.shared), more.clone()].concat();
            assignments.extend(self.placeholder(method));
            let file = self.sources.with(&assignments)?;
            for mut run in
                file.resolve_all(std::slice::from_ref(method), &self.sweep.config.seeds)?
            {
                run.split_folder = Some(split_folder.to_owned());
                self.begin_final(&mut run, &self.subset_home(index));
                runs.push(run);
            }
        }
        Ok(runs)
    }
}

/// Returns whether the choice `after` contains every method of the one at `path`, with the same
/// settings.
fn keeps(path: &Path, after: &str) -> bool {
    let methods = |text: &str| -> Option<Table> {
        match text.parse::<Table>().ok()?.remove("methods")? {
            Value::Table(methods) => Some(methods),
            _ => None,
        }
    };
    let before = fs_err::read_to_string(path).ok();
    let before = before.and_then(|before| methods(&before));
    let (Some(before), Some(after)) = (before, methods(after)) else {
        return false;
    };
    (before.iter()).all(|(method, settings)| after.get(method) == Some(settings))
}

/// Inserts `value` at the nested key `keys`.
fn insert(table: &mut Table, keys: &[String], value: Value) {
    match keys {
        [] => {}
        [last] => {
            table.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let below = table
                .entry(first.clone())
                .or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(below) = below {
                insert(below, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_may_come_in_and_none_may_change_or_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chosen.toml");
        let erm = "[methods.erm.optimizer]\nlearning_rate = 2.0\n";
        let rs = "[methods.rs.optimizer]\nlearning_rate = 1.0\n";
        assert!(!keeps(&path, erm), "what it was is not known");
        write_text(&path, &format!("extends = \"a.toml\"\n{erm}")).unwrap();
        assert!(keeps(&path, erm));
        assert!(keeps(&path, &format!("{rs}{erm}")));
        assert!(!keeps(&path, rs));
        assert!(!keeps(&path, &erm.replace("2.0", "1.0")));
    }
}

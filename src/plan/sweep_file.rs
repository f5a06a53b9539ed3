//! The sweep file: which methods, seeds and settings of an experiment to run.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::grid::{self, Axis};
use super::slurm_config::SlurmConfig;
use super::tune_config::TuneConfig;
use crate::config::keys::Described;
use crate::config::{Experiment, ExperimentFile, ExperimentSources};
use crate::error::{Error, KeyPath, Result};
use crate::layers::{Assignment, Layers, Origin, Tree, embedded};
use crate::range::Range;

/// What a sweep file says, as it says it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepConfig {
    /// The sweep's name and the folder of its runs; if left out, the file's name.
    #[serde(default)]
    pub name: Option<String>,
    /// The experiment file, relative to the sweep's.
    pub experiment: PathBuf,
    /// Files whose methods can be chosen too, in addition to the experiment's own.
    #[serde(default)]
    pub methods_from: Vec<PathBuf>,
    /// The methods; if left out, all of the experiment's.
    #[serde(default)]
    pub methods: Vec<String>,
    /// The seeds; if left out, the experiment's.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// Runs at a time on one machine, 1.
    #[serde(default = "one")]
    pub jobs: usize,
    /// Overrides for every run: any key of the configuration.
    #[serde(default)]
    pub set: Table,
    /// Values to try, every combination of them: any key of the configuration, a list each.
    #[serde(default)]
    pub grid: Table,
    /// How `dbloss tune` chooses among the values; without it a sweep compares all of them.
    #[serde(default)]
    pub tune: Option<TuneConfig>,
    /// What a run asks of Slurm.
    #[serde(default)]
    pub slurm: SlurmConfig,
}

fn one() -> usize {
    1
}

impl Described for SweepConfig {
    const NAMED: (&'static str, &'static str) = ("SweepConfig", "src/plan/sweep_file.rs");
    const LEAST: &'static str = "experiment = 'x'\ntune = {}";

    fn check(&self) -> Result<()> {
        Range::AtLeast(1).check_whole(&KeyPath::from("jobs"), self.jobs)?;
        self.slurm.check(&KeyPath::from("slurm"))?;
        match &self.tune {
            Some(tune) => tune.check(&KeyPath::from("tune")),
            None => Ok(()),
        }
    }
}

/// A sweep file that has been read and checked.
#[derive(Debug, Clone)]
pub struct SweepFile {
    /// Its path.
    pub path: PathBuf,
    /// The sweep's name.
    pub name: String,
    /// Its contents.
    pub config: SweepConfig,
    /// Where its keys were written.
    written: Tree,
}

impl SweepFile {
    /// Reads the file; `extends` works as in an experiment file.
    pub fn read(path: &Path) -> Result<Self> {
        Self::of(path, &Layers::read(path)?)
    }

    /// Makes a sweep over learning rates of the experiment file at `path`: 0.1, 0.3, 1, 3 and 10
    /// times its own.
    ///
    /// # Errors
    /// As [`ExperimentFile::read`].
    pub fn around(path: &Path) -> Result<Self> {
        let path = &embedded::meant(path)?;
        let file = ExperimentFile::read(path, &[])?;
        let first = file.methods().first().map(|name| (*name).to_owned());
        let experiment = file.resolve(first.as_deref(), None)?;
        let rate = experiment.optimizer.learning_rate;
        let rates: Vec<String> = [0.1, 0.3, 1.0, 3.0, 10.0]
            .map(|factor| format!("{:.2e}", factor * rate))
            .to_vec();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let text = format!(
            "experiment = {}\nname = {}\n[grid]\n\"optimizer.learning_rate\" = [{}]\n[tune]\n",
            Value::String(name.into_owned()),
            Value::String(format!("{}-tuned", experiment.name)),
            rates.join(", "),
        );
        Self::of(path, &Layers::parse(path, &text)?)
    }

    /// Returns whether a parsed file is a sweep: a sweep names the experiment it runs.
    pub fn is_one(layers: &Layers) -> bool {
        layers.table().contains_key("experiment")
    }

    /// Like [`SweepFile::read`], for a file that has already been parsed: `layers` is that file
    /// with those it extends.
    pub fn of(path: &Path, layers: &Layers) -> Result<Self> {
        let mut config: SweepConfig = layers.typed()?;
        let written = layers.tree().clone();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = config.name.clone().unwrap_or_else(|| stem.into_owned());
        (config.check()).map_err(|error| written.locate(error))?;
        let experiment = KeyPath::from("experiment");
        let methods_from = KeyPath::from("methods_from");
        let files = std::iter::once((experiment, &mut config.experiment)).chain(
            (config.methods_from.iter_mut().enumerate())
                .map(|(i, file)| (methods_from.item(i), file)),
        );
        for (key, file) in files {
            *file = written.beside(&key, file);
            if !embedded::is_there(file) {
                let problem = format!("is `{}`, which does not exist", file.display());
                return Err(written
                    .locate(Error::key(key, problem))
                    .hint("the path is relative to the folder of the file that names it"));
            }
        }
        Ok(SweepFile {
            path: path.to_owned(),
            name,
            config,
            written,
        })
    }

    /// Returns every run, resolved and checked: by method, then by grid point, then by seed.
    /// `overrides` are `key=value` assignments applied after the file's `[set]`.
    pub fn experiments(&self, overrides: &[String]) -> Result<Vec<Experiment>> {
        let shared = self.shared(overrides)?;
        let points = grid::points(&self.axes(&shared)?);
        let sources = self.sources()?;
        let mut by_method: Vec<(String, Vec<Experiment>)> = Vec::new();
        let mut chosen = Vec::new();
        for point in &points {
            let file = sources.with(&point.on(&shared))?;
            chosen = self.methods(&file);
            for mut run in file.resolve_all(&chosen, &self.config.seeds)? {
                let method = run.method.clone();
                run.method.push_str(&point.label);
                run.check()?;
                match by_method.iter_mut().find(|(name, _)| *name == method) {
                    Some((_, runs)) => runs.push(run),
                    None => by_method.push((method, vec![run])),
                }
            }
        }
        let order = |name: &String| chosen.iter().position(|other| other == name);
        by_method.sort_by_key(|(name, _)| order(name));
        let runs: Vec<Experiment> = by_method.into_iter().flat_map(|(_, runs)| runs).collect();
        self.check_runs(&runs)?;
        Ok(runs)
    }

    fn check_runs(&self, runs: &[Experiment]) -> Result<()> {
        let Some(first) = runs.first() else {
            return Err(Error::file(&self.path, "asks for no run"));
        };
        let mut names: Vec<String> = runs.iter().map(Experiment::run_name).collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let problem = format!("asks for the run `{}` twice", twice[0]);
            return Err(Error::file(&self.path, problem));
        }
        if runs
            .iter()
            .any(|run| run.split != first.split || run.split_folder != first.split_folder)
        {
            return Err(Error::file(&self.path, "its runs do not share one split")
                .hint("write one sweep per split: the tables compare runs on the same images"));
        }
        Ok(())
    }

    /// Renames the sweep if `overrides` contain `name=NAME`.
    pub fn renamed(mut self, overrides: &[String]) -> Self {
        let mut given = overrides.iter().rev();
        if let Some(name) = given.find_map(|text| text.strip_prefix("name=")) {
            self.name = name.trim_matches('"').to_owned();
        }
        self
    }

    /// Returns the methods to run; empty means all of the experiment's own.
    pub(super) fn methods(&self, file: &ExperimentFile) -> Vec<String> {
        match self.config.methods.is_empty() {
            true => file.own_methods().to_vec(),
            false => self.config.methods.clone(),
        }
    }

    /// Reads the experiment and the files of methods.
    pub(super) fn sources(&self) -> Result<ExperimentSources> {
        ExperimentSources::read(&self.config.experiment, &self.config.methods_from)
    }

    /// Returns the assignments for every run: the file's `[set]`, then `overrides`.
    pub(super) fn shared(&self, overrides: &[String]) -> Result<Vec<Assignment>> {
        let set = self.leaves(&KeyPath::from("set"), &self.config.set);
        let mut shared: Vec<Assignment> = set.into_iter().map(|(_, set)| set).collect();
        for text in overrides {
            shared.push(Assignment::parse(text)?);
        }
        shared.push(Assignment {
            key: KeyPath::from("name"),
            value: Value::String(self.name.clone()),
            origin: Origin::file(&self.path),
        });
        Ok(shared)
    }

    /// Returns the axes of the file's `[grid]`; `shared` applies to every run.
    pub(super) fn axes(&self, shared: &[Assignment]) -> Result<Vec<Axis>> {
        let leaves = self.leaves(&KeyPath::from("grid"), &self.config.grid);
        grid::axes(leaves, shared, |key| self.origin(key))
    }

    /// Returns the leaves of `table`, which is at key `at` of the file, as assignments, each with
    /// the path where it is written.
    fn leaves(&self, at: &KeyPath, table: &Table) -> Vec<(KeyPath, Assignment)> {
        self.leaves_where(at, table, |_| false)
    }

    /// Like `leaves`, where tables for which `whole` is true count as values too.
    fn leaves_where(
        &self,
        at: &KeyPath,
        table: &Table,
        whole: fn(&Table) -> bool,
    ) -> Vec<(KeyPath, Assignment)> {
        let written = grid::leaf_paths(table, at, whole).into_iter();
        written
            .map(|(path, value)| {
                // `"a.b" = 1` and `a.b = 1` are the same.
                let dotted = path.keys()[at.keys().len()..].join(".");
                let assignment = Assignment {
                    key: KeyPath::from(dotted.as_str()),
                    value,
                    origin: self.origin(&path),
                };
                (path, assignment)
            })
            .collect()
    }

    /// Like `leaves`, for a table whose values may be ranges, that is tables with `min` and `max`.
    pub(super) fn spaces(&self, at: &KeyPath, table: &Table) -> Vec<(KeyPath, Assignment)> {
        self.leaves_where(at, table, |inner| inner.contains_key("min"))
    }

    /// Returns where a key of the file was written.
    pub(super) fn origin(&self, key: &KeyPath) -> Origin {
        let origin = self.written.origin(key).cloned();
        origin.unwrap_or_else(|| Origin::file(&self.path))
    }

    /// Adds the file and the line of the key to an error.
    pub(super) fn locate(&self, error: Error) -> Error {
        self.written.locate(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPERIMENT: &str = r#"
        split_folder = "s"
        name = "base"
        seeds = [4]
        [methods.erm]
        loss = { name = "bce" }
        sampler = { kind = "uniform" }
        [methods.focal]
        loss = { name = "focal" }
        sampler = { kind = "uniform" }
    "#;

    fn sweep(text: &str) -> Result<Vec<Experiment>> {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("e.toml"), EXPERIMENT).unwrap();
        fs_err::write(
            folder.path().join("more.toml"),
            "[methods.asl]\nloss = { name = 'asl' }\nsampler = { kind = 'class-aware' }\n\
             [methods.focal]\nloss = { name = 'focal', balance = 7.0 }\n",
        )
        .unwrap();
        let path = folder.path().join("lr.toml");
        fs_err::write(&path, format!("experiment = 'e.toml'\n{text}")).unwrap();
        SweepFile::read(&path)?.experiments(&["train.epochs=3".to_owned()])
    }

    #[test]
    fn methods_seeds_and_grid_multiply() {
        let runs = sweep(
            "methods = ['focal', 'asl', 'erm']\nmethods_from = ['more.toml']\nseeds = [1, 2]\n\
             [set]\ntrain.batch_size = 4\nschedule.kind = 'step'\n\
             [grid]\n'optimizer.learning_rate' = [0.01, 0.02]\nschedule.milestones = [[1, 2], [2]]",
        )
        .unwrap();
        assert_eq!(runs.len(), 3 * 2 * 2 * 2);
        let names: Vec<String> = runs.iter().map(Experiment::run_name).collect();
        assert_eq!(names[0], "focal+learning_rate=0.01+milestones=1-2-s1");
        assert_eq!(names[7], "focal+learning_rate=0.02+milestones=2-s2");
        assert_eq!(names[8], "asl+learning_rate=0.01+milestones=1-2-s1");
        assert_eq!(runs[7].optimizer.learning_rate, 0.02);
        assert!(
            runs.iter()
                .all(|run| run.name == "lr" && run.train.batch_size == 4 && run.train.epochs == 3)
        );
        // The experiment's own method overrides the one of the same name elsewhere, key by key.
        assert!(runs[0].to_toml().unwrap().contains("balance = 7.0"));
    }

    #[test]
    fn every_point_of_a_grid_comes_from_one_reading_and_a_mistake_in_one_names_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs_err::write(at("base.toml"), EXPERIMENT).unwrap();
        fs_err::write(at("e.toml"), "extends = 'base.toml'\nseeds = [0]\n").unwrap();
        let sources = ExperimentSources::read(&at("e.toml"), &[]).unwrap();
        for name in ["base.toml", "e.toml"] {
            fs_err::remove_file(at(name)).unwrap();
        }
        for epochs in [1, 2] {
            let assignment = Assignment::parse(&format!("train.epochs={epochs}")).unwrap();
            let runs = sources.with(&[assignment]).unwrap().resolve_all(&[], &[]);
            let epochs_of = |run: &Experiment| run.train.epochs;
            assert_eq!(
                runs.unwrap().iter().map(epochs_of).collect::<Vec<_>>(),
                [epochs; 2]
            );
        }
        // The first line names the experiment; the second value of the list is wrong.
        let wrong = "[grid]\n'optimizer.learning_rate' = [\n  0.1,\n  -1.0,\n]";
        let error = sweep(wrong).unwrap_err().to_string();
        assert!(
            error.contains("lr.toml:5") && error.contains("optimizer.learning_rate"),
            "{error}"
        );
    }

    #[test]
    fn without_lists_it_runs_what_the_experiment_runs() {
        let runs = sweep("methods_from = ['more.toml']").unwrap();
        let names: Vec<String> = runs.iter().map(Experiment::run_name).collect();
        assert_eq!(names, ["erm-s4", "focal-s4"]);
    }

    #[test]
    fn what_cannot_be_swept_is_refused() {
        for (text, expected) in [
            ("[grid]\nseed = [1, 2]", "cannot be part of a grid"),
            ("[grid]\n'train.epochs' = [1, 2]", "set to one value too"),
            ("[grid]\n'train.batch_size' = 4", "expected a list"),
            ("[grid]\n'optimizer.learning_rate' = [0.1, 0.1]", "twice"),
            ("[grid]\nsplit_folder = ['a', 'b']", "one split"),
            ("[grid]\n'optimizer.lerning_rate' = [0.1]", "lerning_rate"),
            ("methods = ['asl']", "no method `asl`"),
            ("job = 2", "lr.toml:2"),
            ("[slurm]\ntime = 'two hours'", "time"),
        ] {
            let error = sweep(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}

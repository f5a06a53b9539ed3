//! The sweep file: which methods, seeds and settings of an experiment are to be run.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::slurm_config::SlurmConfig;
use crate::config::{Experiment, ExperimentSources};
use crate::error::{Error, KeyPath, Result};
use crate::layers::{Assignment, Layers, Origin, Tree, embedded, plain};
use crate::range::Range;

/// What a sweep file says, as it says it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepConfig {
    /// The sweep's name, the folder of its runs; the file's name without it.
    #[serde(default)]
    pub name: Option<String>,
    /// The experiment file, relative to the sweep's.
    pub experiment: PathBuf,
    /// Files whose methods can be chosen too, beneath the experiment's own.
    #[serde(default)]
    pub methods_from: Vec<PathBuf>,
    /// The methods; all of the experiment's without it.
    #[serde(default)]
    pub methods: Vec<String>,
    /// The seeds; the experiment's without it.
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
    /// What a run asks of Slurm.
    #[serde(default)]
    pub slurm: SlurmConfig,
}

fn one() -> usize {
    1
}

/// One point of the grid.
#[derive(Debug, Clone, Default)]
struct Point {
    assignments: Vec<Assignment>,
    label: String,
}

/// A sweep file, read and checked.
#[derive(Debug, Clone)]
pub struct SweepFile {
    /// Its path.
    pub path: PathBuf,
    /// The sweep's name.
    pub name: String,
    /// What it says.
    pub config: SweepConfig,
    /// Where it says it.
    written: Tree,
}

impl SweepFile {
    /// Reads the file; `extends` works as in an experiment.
    pub fn read(path: &Path) -> Result<Self> {
        Self::of(path, &Layers::read(path)?)
    }

    /// Whether a file that has been read is a sweep: it names the experiment that it runs.
    pub fn is_one(layers: &Layers) -> bool {
        layers.table().contains_key("experiment")
    }

    /// Like [`SweepFile::read`], of a file that has been read: `layers` is it with what it extends.
    pub fn of(path: &Path, layers: &Layers) -> Result<Self> {
        let mut config: SweepConfig = layers.typed()?;
        let written = layers.tree().clone();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = config.name.clone().unwrap_or_else(|| stem.into_owned());
        Range::AtLeast(1)
            .check_whole(&KeyPath::from("jobs"), config.jobs)
            .and_then(|()| config.slurm.check(&KeyPath::from("slurm")))
            .map_err(|error| written.locate(error))?;
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

    /// Every run, resolved and checked: by method, then by point of the grid, then by seed.
    /// `overrides` are `key=value` assignments on top of the file's `[set]`.
    pub fn experiments(&self, overrides: &[String]) -> Result<Vec<Experiment>> {
        let config = &self.config;
        let set = self.leaves("set").into_iter();
        let mut shared: Vec<Assignment> = set.map(|(_, assignment)| assignment).collect();
        for text in overrides {
            shared.push(Assignment::parse(text)?);
        }
        let points = self.points(&shared)?;
        let sources = ExperimentSources::read(&config.experiment, &config.methods_from)?;
        let mut by_method: Vec<(String, Vec<Experiment>)> = Vec::new();
        let mut chosen = config.methods.clone();
        for point in &points {
            let mut all = shared.clone();
            all.extend(point.assignments.iter().cloned());
            all.push(Assignment {
                key: KeyPath::from("name"),
                value: Value::String(self.name.clone()),
                origin: Origin::file(&self.path),
            });
            let file = sources.with(&all)?;
            if chosen.is_empty() {
                chosen = file.own_methods().to_vec();
            }
            for mut run in file.resolve_all(&chosen, &config.seeds)? {
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
                .hint("make a sweep for each split: tables compare runs on the same images"));
        }
        Ok(())
    }

    /// The leaves of a table of the file as assignments, each with the path that it is written
    /// at.
    fn leaves(&self, table: &str) -> Vec<(KeyPath, Assignment)> {
        let values = match table {
            "set" => &self.config.set,
            _ => &self.config.grid,
        };
        let written = leaf_paths(values, &KeyPath::from(table)).into_iter();
        written
            .map(|(at, value)| {
                // `"a.b" = 1` and `a.b = 1` are the same.
                let dotted = at.keys()[1..].join(".");
                let assignment = Assignment {
                    key: KeyPath::from(dotted.as_str()),
                    value,
                    origin: self.origin(&at),
                };
                (at, assignment)
            })
            .collect()
    }

    fn origin(&self, key: &KeyPath) -> Origin {
        let origin = self.written.origin(key).cloned();
        origin.unwrap_or_else(|| Origin::file(&self.path))
    }

    /// Every combination of the grid's values; one empty point without a grid.
    fn points(&self, shared: &[Assignment]) -> Result<Vec<Point>> {
        let axes = self.leaves("grid");
        let short = |key: &KeyPath| key.last().unwrap_or_default().to_owned();
        let mut points = vec![Point::default()];
        for (at, axis) in &axes {
            let key = &axis.key;
            let problem = |text: String| Error::at(axis.origin.place(), text);
            let root = key.keys().first().map(String::as_str).unwrap_or_default();
            if ["name", "method", "seed", "seeds", "methods"].contains(&root) {
                return Err(problem(format!("`{key}` cannot be a grid"))
                    .hint("methods and seeds have lists of their own: `methods`, `seeds`"));
            }
            if let Some(set) = shared.iter().find(|set| set.key == *key) {
                let (value, place) = (&set.value, set.origin.place());
                return Err(problem(format!(
                    "the grid's `{key}` is set to one value too: {value}, in {place}"
                )));
            }
            let values = match &axis.value {
                Value::Array(values) if !values.is_empty() => values,
                other => {
                    return Err(problem(format!(
                        "the grid's `{key}` is {}, expected a list such as [0.01, 0.02]",
                        plain(other)
                    )));
                }
            };
            let shared_name = axes
                .iter()
                .filter(|(_, a)| short(&a.key) == short(key))
                .count()
                > 1;
            let name = match shared_name {
                true => key.to_string(),
                false => short(key),
            };
            points = points
                .iter()
                .flat_map(|point| {
                    values.iter().enumerate().map(|(i, value)| {
                        let mut next = point.clone();
                        next.assignments.push(Assignment {
                            key: key.clone(),
                            value: value.clone(),
                            origin: self.origin(&at.item(i)),
                        });
                        next.label
                            .push_str(&format!("+{name}={}", file_name(value)));
                        next
                    })
                })
                .collect();
        }
        Ok(points)
    }
}

/// A value as a part of a folder's name.
fn file_name(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut name = String::new();
    for c in text.chars() {
        match c.is_alphanumeric() || "._-".contains(c) {
            true => name.push(c),
            false if name.ends_with('-') || name.is_empty() => {}
            false => name.push('-'),
        }
    }
    name.trim_end_matches('-').to_owned()
}

/// The values of nested tables with their paths as they are written.
fn leaf_paths(table: &Table, at: &KeyPath) -> Vec<(KeyPath, Value)> {
    let mut found = Vec::new();
    for (key, value) in table {
        let path = at.child(key);
        match value {
            Value::Table(inner) => found.extend(leaf_paths(inner, &path)),
            _ => found.push((path, value.clone())),
        }
    }
    found
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
        // The experiment's own method lies over the one of the same name elsewhere, key by key.
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
        // The first line is that of the experiment; the second value of the list is wrong.
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
            ("[grid]\nseed = [1, 2]", "cannot be a grid"),
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

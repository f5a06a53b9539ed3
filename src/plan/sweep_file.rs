//! The sweep file: which methods, seeds and settings of an experiment are to be run.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::slurm_config::SlurmConfig;
use crate::config::{Experiment, ExperimentFile, Layers, leaves};
use crate::error::{Error, Result};

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
    assignments: Vec<String>,
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
}

impl SweepFile {
    /// Reads the file; `extends` works as in an experiment.
    pub fn read(path: &Path) -> Result<Self> {
        let config: SweepConfig = Layers::read(path)?.typed()?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = config.name.clone().unwrap_or_else(|| stem.into_owned());
        if config.jobs == 0 {
            return Err(Error::file(path, "`jobs` is 0, expected at least 1"));
        }
        config.slurm.check(path)?;
        Ok(SweepFile {
            path: path.to_owned(),
            name,
            config,
        })
    }

    /// Every run, resolved and checked: by method, then by point of the grid, then by seed.
    /// `overrides` are `key=value` assignments on top of the file's `[set]`.
    pub fn experiments(&self, overrides: &[String]) -> Result<Vec<Experiment>> {
        let config = &self.config;
        let beside = |file: &PathBuf| self.path.parent().unwrap_or(Path::new(".")).join(file);
        let experiment = beside(&config.experiment);
        if !experiment.is_file() {
            let problem = format!("`experiment`: `{}` does not exist", experiment.display());
            return Err(Error::file(&self.path, problem)
                .hint("the path is relative to the folder of the sweep file"));
        }
        let methods_from: Vec<PathBuf> = config.methods_from.iter().map(beside).collect();
        let mut shared = assignments(&config.set);
        shared.extend(overrides.iter().cloned());
        let points = self.points(&shared)?;
        let mut by_method: Vec<(String, Vec<Experiment>)> = Vec::new();
        let mut chosen = config.methods.clone();
        for point in &points {
            let mut all = shared.clone();
            all.extend(point.assignments.iter().cloned());
            all.push(format!("name={}", Value::String(self.name.clone())));
            let file = ExperimentFile::read_with_methods(&experiment, &methods_from, &all)?;
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

    /// Every combination of the grid's values; one empty point without a grid.
    fn points(&self, shared: &[String]) -> Result<Vec<Point>> {
        let axes = leaves(&self.config.grid);
        let short = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
        let mut points = vec![Point::default()];
        for (key, values) in &axes {
            let problem = |text: String| Error::file(&self.path, format!("[grid] `{key}`: {text}"));
            let root = key.split('.').next().unwrap_or(key);
            if ["name", "method", "seed", "seeds", "methods"].contains(&root) {
                return Err(problem("cannot be a grid".to_owned())
                    .hint("methods and seeds have lists of their own: `methods`, `seeds`"));
            }
            if let Some(set) = (shared.iter()).find(|set| set.split('=').next() == Some(key)) {
                return Err(problem(format!("is set to one value too: `{set}`")));
            }
            let values = match values {
                Value::Array(values) if !values.is_empty() => values,
                _ => return Err(problem("expected a list such as [0.01, 0.02]".to_owned())),
            };
            let shared_name = axes.iter().filter(|(k, _)| short(k) == short(key)).count() > 1;
            let name = match shared_name {
                true => key.clone(),
                false => short(key),
            };
            points = points
                .iter()
                .flat_map(|point| {
                    values.iter().map(|value| {
                        let mut next = point.clone();
                        next.assignments.push(format!("{key}={value}"));
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

fn assignments(table: &Table) -> Vec<String> {
    let pairs = leaves(table).into_iter();
    pairs.map(|(key, value)| format!("{key}={value}")).collect()
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

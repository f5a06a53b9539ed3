//! Experiments as data: TOML in, a typed tree, and the resolved TOML back out.

pub mod layers;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::data::augment::InputConfig;
use crate::data::image::OnBadImage;
use crate::data::sampler::SamplerConfig;
use crate::data::split::SplitConfig;
use crate::error::{Error, Place, Result, closest};
use crate::loss::LossConfig;
use crate::model::ModelConfig;
use crate::optim::{Schedule, SgdConfig};
use crate::train::fit::TrainConfig;

pub use layers::{Layers, leaves};

/// One training, fully resolved: what changes numbers, and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// The experiment's name: the folder of its runs.
    pub name: String,
    /// The method's name: the row of the tables.
    #[serde(default)]
    pub method: String,
    /// Root of every random stream of the training. The split has a seed of its own.
    #[serde(default)]
    pub seed: u64,
    /// A split folder that exists already; without it, `split` says how to build one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_folder: Option<PathBuf>,
    /// What to do about a picture that cannot be decoded.
    #[serde(default)]
    pub on_bad_image: OnBadImage,
    /// How the split is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitConfig>,
    /// The network.
    #[serde(default)]
    pub model: ModelConfig,
    /// Picture size, normalisation and augmentation.
    #[serde(default)]
    pub input: InputConfig,
    /// The loss.
    pub loss: LossConfig,
    /// The order of the training images.
    pub sampler: SamplerConfig,
    /// The optimiser.
    #[serde(default)]
    pub optimizer: SgdConfig,
    /// The learning rate by step.
    #[serde(default)]
    pub schedule: Schedule,
    /// Batch size and length.
    #[serde(default)]
    pub train: TrainConfig,
}

impl Experiment {
    /// Checks every range, as far as that is possible without the data.
    pub fn check(&self) -> Result<()> {
        for (key, name) in [("name", &self.name), ("method", &self.method)] {
            if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
                let problem = format!("`{name}` cannot name a folder");
                return Err(Error::input(key, problem));
            }
        }
        let seeds = [Some(self.seed), self.split.as_ref().map(|split| split.seed)];
        if seeds
            .into_iter()
            .flatten()
            .any(|seed| i64::try_from(seed).is_err())
        {
            let problem = format!("is too large, expected at most {}", i64::MAX);
            return Err(Error::input("seed", problem));
        }
        if self.split.is_none() && self.split_folder.is_none() {
            return Err(Error::input("split", "is missing").hint(
                "add a `[split]` table with a source, or `split_folder` with the path of a split",
            ));
        }
        if let Some(split) = &self.split {
            split.check()?;
        }
        self.model.check()?;
        self.input.check()?;
        self.sampler.check()?;
        self.optimizer.check()?;
        self.schedule.check()?;
        self.train.check()
    }

    /// The resolved configuration as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| {
            Error::input(
                "configuration",
                format_args!("cannot be written as TOML: {e}"),
            )
        })
    }

    /// Hash, in hexadecimal, of everything in the resolved configuration that the trained weights
    /// depend on. Two experiments with one hash end with the same weights, so a run may go on, or
    /// count as finished, under either.
    ///
    /// Left out are the experiment's name, how often checkpoints are written, what is recorded on
    /// the way, and what to do about a picture that cannot be decoded: it decides whether a run
    /// ends there, not what it learns from the others.
    pub fn hash(&self) -> Result<String> {
        let mut shared = self.clone();
        shared.name = String::new();
        shared.on_bad_image = OnBadImage::default();
        shared.train.checkpoint_steps = TrainConfig::default().checkpoint_steps;
        shared.train.tensorboard = TrainConfig::default().tensorboard;
        Ok(blake3::hash(shared.to_toml()?.as_bytes())
            .to_hex()
            .to_string())
    }

    /// `<method>-s<seed>`: the name of the run's folder.
    pub fn run_name(&self) -> String {
        format!("{}-s{}", self.method, self.seed)
    }
}

/// An experiment file: shared settings and the methods that it compares.
#[derive(Debug, Clone)]
pub struct ExperimentFile {
    layers: Layers,
    methods: Table,
    own_methods: Vec<String>,
    only: Vec<String>,
    seeds: Vec<u64>,
    path: PathBuf,
}

impl ExperimentFile {
    /// Reads the file, what it extends, and the `--set` assignments.
    pub fn read(path: &Path, assignments: &[String]) -> Result<Self> {
        Self::read_with_methods(path, &[], assignments)
    }

    /// Like [`ExperimentFile::read`]; the methods of the files `methods_from` can be chosen too. A
    /// method that the experiment has itself lies over one of the same name, key by key.
    pub fn read_with_methods(
        path: &Path,
        methods_from: &[PathBuf],
        assignments: &[String],
    ) -> Result<Self> {
        let mut layers = Layers::read(path)?;
        for assignment in assignments {
            layers.set(assignment)?;
        }
        let own = match layers.take("methods") {
            Some(Value::Table(methods)) => methods,
            None => Table::new(),
            Some(_) => return Err(Error::file(path, "`methods` is not a table")),
        };
        let mut own_methods: Vec<String> = own.iter().map(|(name, _)| name.clone()).collect();
        let mut methods = Table::new();
        for other in methods_from {
            match Layers::read(other)?.take("methods") {
                Some(Value::Table(found)) => layers::merge(&mut methods, found),
                _ => return Err(Error::file(other, "has no table `methods`")),
            }
        }
        layers::merge(&mut methods, own);
        if let Some((name, _)) = methods.iter().find(|(_, v)| !v.is_table()) {
            let place = layers.place(&format!("methods.{name}"));
            return Err(Error::input(
                place,
                format_args!("method `{name}` is not a table"),
            ));
        }
        for (name, overrides) in &methods {
            for key in ["name", "method", "seed", "split", "split_folder"] {
                if overrides.get(key).is_some() {
                    let place = layers.place(&format!("methods.{name}"));
                    let problem = format!("method `{name}` overrides `{key}`");
                    return Err(Error::input(place, problem)
                        .hint("methods share one split: set it for the whole experiment"));
                }
            }
        }
        let only: Vec<String> = match layers.take("only") {
            None => Vec::new(),
            Some(value) => value.try_into().map_err(|_| {
                Error::input(
                    layers.place("only"),
                    "`only` is not a list of methods such as [\"erm\", \"db-focal\"]",
                )
            })?,
        };
        let known = || methods.iter().map(|(name, _)| name.as_str());
        if let Some(name) = only.iter().find(|name| !methods.contains_key(*name)) {
            let problem = format!("`only` names `{name}`, which is no method of this file");
            let error = Error::input(layers.place("only"), problem);
            return Err(match closest(name, known()) {
                Some(near) => error.hint(format_args!("did you mean `{near}`?")),
                None => error.hint("methods are the tables `[methods.NAME]`"),
            });
        }
        own_methods.retain(|name| only.is_empty() || only.contains(name));
        let seeds = match layers.take("seeds") {
            None => Vec::new(),
            Some(value) => value.try_into().map_err(|_| {
                Error::file(path, "`seeds` is not a list of numbers such as [0, 1, 2]")
            })?,
        };
        Ok(ExperimentFile {
            layers,
            methods,
            own_methods,
            only,
            seeds,
            path: path.to_owned(),
        })
    }

    /// Names of the methods that the file compares, in its order; empty if the file is one method
    /// itself. `only = ["erm", "db-focal"]` chooses among those that it or its bases define.
    pub fn methods(&self) -> Vec<&str> {
        (self.defined().into_iter())
            .filter(|name| self.only.is_empty() || self.only.iter().any(|o| o == name))
            .collect()
    }

    /// Names of all methods that are defined: those that may be asked for by name.
    pub fn defined(&self) -> Vec<&str> {
        self.methods.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Like [`ExperimentFile::methods`], without those of other files.
    pub fn own_methods(&self) -> &[String] {
        &self.own_methods
    }

    /// The seeds the file asks for; empty if it does not say.
    pub fn seeds(&self) -> &[u64] {
        &self.seeds
    }

    /// The resolved experiment of `method`, which may be left out if there is but one, checked.
    pub fn resolve(&self, method: Option<&str>, seed: Option<u64>) -> Result<Experiment> {
        let (names, defined) = (self.methods(), self.defined());
        let own = self.layers.table().get("method").and_then(Value::as_str);
        let method = match (method, names.as_slice()) {
            (Some(name), []) if own == Some(name) => Some(name),
            (Some(name), []) => {
                let problem = match own {
                    Some(own) => format!("is the method `{own}`, not `{name}`"),
                    None => format!("names no methods, so there is no `{name}`"),
                };
                return Err(Error::file(&self.path, problem).hint("leave `--method` out"));
            }
            (Some(name), _) if defined.contains(&name) => Some(name),
            (Some(name), _) => {
                let problem = format!("has no method `{name}`, only {}", defined.join(", "));
                let error = Error::file(&self.path, problem);
                return Err(match closest(name, defined.iter().copied()) {
                    Some(near) => error.hint(format_args!("did you mean `{near}`?")),
                    None => error,
                });
            }
            (None, []) => None,
            (None, [only]) => Some(*only),
            (None, _) => {
                let problem = format!("compares several methods: {}", names.join(", "));
                return Err(Error::file(&self.path, problem)
                    .hint("choose one with `--method`, or train them all with `dbloss run`"));
            }
        };
        let mut layers = self.layers.clone();
        if let Some(Value::Table(overrides)) = method.and_then(|name| self.methods.get(name)) {
            layers.overlay(method.unwrap_or_default(), overrides);
        }
        // Read ahead of the rest, for its errors name their keys.
        if let Some(Value::Table(loss)) = layers.table().get("loss") {
            LossConfig::from_table(loss, &"loss".into()).map_err(|e| self.locate(&layers, e))?;
        }
        let mut experiment: Experiment = layers.typed()?;
        if let Some(seed) = seed {
            experiment.seed = seed;
        }
        if let Some(method) = method {
            experiment.method = method.to_owned();
        } else if experiment.method.is_empty() {
            experiment.method = experiment.loss.name().to_owned();
        }
        experiment.check().map_err(|e| self.locate(&layers, e))?;
        Ok(experiment)
    }

    /// The methods `only` (all of them if it is empty), each with every seed, resolved and checked
    /// before the first of them runs.
    pub fn resolve_all(&self, only: &[String], seeds: &[u64]) -> Result<Vec<Experiment>> {
        let mut sorted = seeds.to_vec();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            let problem = format!("seed {} is given twice", twice[0]);
            return Err(Error::argument("--seeds", problem));
        }
        for name in only {
            self.resolve(Some(name), None)?;
        }
        let seeds: Vec<Option<u64>> = match (seeds, self.seeds.as_slice()) {
            ([], []) => vec![None],
            ([], own) => own.iter().copied().map(Some).collect(),
            (given, _) => given.iter().copied().map(Some).collect(),
        };
        let listed = match only {
            [] => self.methods(),
            _ => self.defined(),
        };
        let mut methods: Vec<Option<&str>> = listed.into_iter().map(Some).collect();
        methods
            .retain(|method| only.is_empty() || only.iter().any(|o| method == &Some(o.as_str())));
        if methods.is_empty() {
            methods.push(only.first().map(String::as_str));
        }
        let mut experiments = Vec::new();
        for method in methods {
            for seed in &seeds {
                experiments.push(self.resolve(method, *seed)?);
            }
        }
        Ok(experiments)
    }

    /// Turns a key into the file and line that wrote it.
    fn locate(&self, layers: &Layers, error: Error) -> Error {
        match error {
            Error::Input(mut input) => {
                let key = input.at.to_string();
                input.problem = format!("`{key}` {}", input.problem);
                input.at = Place::Named(layers.place(&key));
                Error::Input(input)
            }
            other => other,
        }
    }
}

/// Every TOML file under `folder`, sorted; empty if the folder does not exist.
pub fn experiment_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        for entry in fs_err::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "toml") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

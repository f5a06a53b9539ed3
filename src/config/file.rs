//! An experiment file: what its methods share, what each of them changes, and which are chosen.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use toml::{Table, Value};

use super::{Experiment, Written};
use crate::error::{Error, KeyPath, Result};
use crate::layers::{Assignment, Layers, Tree, leaves};

/// An experiment file: shared settings and the methods that it compares.
#[derive(Debug, Clone)]
pub struct ExperimentFile {
    layers: Layers,
    /// The tables of `[methods]`, those of other files underneath.
    methods: Tree,
    own_methods: Vec<String>,
    only: Vec<String>,
    seeds: Vec<u64>,
    path: PathBuf,
}

/// An experiment file and others with methods, read, with nothing assigned yet: what many points of
/// a grid begin with.
#[derive(Debug, Clone)]
pub struct ExperimentSources {
    path: PathBuf,
    layers: Layers,
    /// The tables `[methods]` of the other files, one over the other.
    other_methods: Tree,
}

impl ExperimentSources {
    /// Reads the file, what it extends, and the files `methods_from`, whose methods can be chosen
    /// too.
    pub fn read(path: &Path, methods_from: &[PathBuf]) -> Result<Self> {
        Self::of(path, Layers::read(path)?, methods_from)
    }

    /// Like [`ExperimentSources::read`], of a file that has been read: `layers` is it with what it
    /// extends.
    fn of(path: &Path, layers: Layers, methods_from: &[PathBuf]) -> Result<Self> {
        let mut other_methods = Tree::default();
        for other in methods_from {
            match Layers::read(other)?.take_table("methods")? {
                Some(found) => other_methods.merge(found),
                None => return Err(Error::file(other, "has no table `methods`")),
            }
        }
        Ok(ExperimentSources {
            path: layers.file().unwrap_or(path).to_owned(),
            layers,
            other_methods,
        })
    }

    /// The experiment file under `assignments`. A method that the experiment has itself lies over
    /// one of the same name in another file, key by key.
    pub fn with(&self, assignments: &[Assignment]) -> Result<ExperimentFile> {
        let mut layers = self.layers.clone();
        for assignment in assignments {
            layers.assign(assignment);
        }
        let own = layers.take_table("methods")?.unwrap_or_default();
        let mut own_methods: Vec<String> = own.table().keys().cloned().collect();
        let mut methods = self.other_methods.clone();
        methods.merge(own);
        check_methods(&methods)?;
        let mut only = Vec::new();
        let expected = "a list of methods such as [\"erm\", \"db-focal\"]";
        if let Some((names, tree)) = layers.take::<Vec<String>>("only", expected)? {
            check_only(&names, &methods, &tree)?;
            only = names;
        }
        own_methods.retain(|name| only.is_empty() || only.contains(name));
        let seeds = layers.take(
            "seeds",
            "a list of whole numbers at or above 0, such as [0, 1, 2]",
        )?;
        Ok(ExperimentFile {
            layers,
            methods,
            own_methods,
            only,
            seeds: seeds.map(|(seeds, _)| seeds).unwrap_or_default(),
            path: self.path.clone(),
        })
    }
}

impl ExperimentFile {
    /// Reads the file, what it extends, and the `--set` assignments.
    pub fn read(path: &Path, assignments: &[String]) -> Result<Self> {
        Self::of(path, Layers::read(path)?, assignments)
    }

    /// Like [`ExperimentFile::read`], of a file that has been read: `layers` is it with what it
    /// extends.
    pub fn of(path: &Path, layers: Layers, assignments: &[String]) -> Result<Self> {
        let parsed = assignments.iter().map(|text| Assignment::parse(text));
        ExperimentSources::of(path, layers, &[])?.with(&parsed.collect::<Result<Vec<_>>>()?)
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
        self.methods.table().keys().map(String::as_str).collect()
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
        let method = self.choose(method)?;
        let mut layers = self.layers.clone();
        if let Some(name) = method {
            // A method without a table is one of a file that is a single method itself.
            if let Some(overrides) = self.methods.below(&KeyPath::root().child(name)) {
                layers.overlay(overrides);
            }
        }
        let tree = layers.tree();
        let mut experiment: Experiment = tree.typed(&ALL_KEYS)?;
        if let Some(seed) = seed {
            experiment.seed = seed;
        }
        if let Some(method) = method {
            experiment.method = method.to_owned();
        } else if experiment.method.is_empty() {
            experiment.method = experiment.loss.name().to_owned();
        }
        experiment.complete(tree.table());
        experiment.resolve_paths(|key, path| tree.resolve(key, path));
        experiment.written = Written {
            tree: Arc::new(tree.clone()),
            file: self.path.clone(),
        };
        (experiment.check()).map_err(|error| experiment.locate(error))?;
        Ok(experiment)
    }

    /// The method that is meant; `None` where the file is one itself.
    fn choose<'a>(&'a self, method: Option<&'a str>) -> Result<Option<&'a str>> {
        let (names, defined) = (self.methods(), self.defined());
        let own = self.layers.table().get("method").and_then(Value::as_str);
        let problem = match (method, names.as_slice()) {
            (None, []) => return Ok(None),
            (None, [only]) => return Ok(Some(*only)),
            (Some(name), []) if own == Some(name) => return Ok(method),
            (Some(name), _) if defined.contains(&name) => return Ok(method),
            (None, _) => {
                let problem = format!("compares several methods: {}", names.join(", "));
                return Err(Error::file(&self.path, problem)
                    .hint("choose one with `--method`, or train them all with `dbloss run`"));
            }
            (Some(name), []) => match own {
                Some(own) => format!("describes the method `{own}`, not `{name}`"),
                None => format!("has no methods, so there is no `{name}`"),
            },
            (Some(name), _) => {
                let problem = format!("has no method `{name}`, only {}", defined.join(", "));
                return Err(Error::file(&self.path, problem).did_you_mean(name, defined));
            }
        };
        Err(Error::file(&self.path, problem).hint("leave `--method` out"))
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
}

/// Refuses methods that are no tables, or that change what all of them share.
fn check_methods(methods: &Tree) -> Result<()> {
    let key = |name: &str| KeyPath::root().child(name);
    let named = |error: Error| methods.locate_below(&KeyPath::from("methods"), error);
    for (name, overrides) in methods.table() {
        if !overrides.is_table() {
            return Err(named(Error::key(
                key(name),
                "is not a table; expected a table of keys to change",
            )));
        }
        for shared in [
            "name",
            "method",
            "seed",
            "seeds",
            "only",
            "split",
            "split_folder",
        ] {
            if overrides.get(shared).is_some() {
                let at = key(name).child(shared);
                return Err(named(Error::key(at, "cannot differ between methods"))
                    .hint("methods share one split: set it for the whole experiment"));
            }
        }
    }
    Ok(())
}

/// Refuses names in `only` that are no methods.
fn check_only(only: &[String], methods: &Tree, written: &Tree) -> Result<()> {
    let unknown = |name: &String| !methods.table().contains_key(name);
    let Some(at) = only.iter().position(unknown) else {
        return Ok(());
    };
    let problem = format!("names `{}`, which is not a method of this file", only[at]);
    let error = written.locate(Error::key(KeyPath::from("only").item(at), problem));
    Err(error
        .hint("methods are the tables `[methods.NAME]`")
        .did_you_mean(&only[at], methods.table().keys().map(String::as_str)))
}

/// Every key that an experiment of the usual kinds has, for keys at the wrong place.
static ALL_KEYS: LazyLock<Vec<KeyPath>> = LazyLock::new(|| {
    let usual = "name = 'x'\nloss.name = 'bce'\nsampler.kind = 'class-aware'\n\
                 split.source.kind = 'shapes'";
    let experiment: Option<Experiment> = toml::from_str(usual).ok();
    let table = experiment.and_then(|e| Table::try_from(e).ok());
    let keys = table
        .iter()
        .flat_map(leaves)
        .map(|(key, _)| KeyPath::from(key.as_str()));
    keys.collect()
});

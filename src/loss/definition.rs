//! Definitions of the named losses: formula, keys, source, and the parts they are made of.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::Table;

use super::composition::Composition;
use super::objective::Loss;
use super::part::{Kind, Setting, complete, settings};
use crate::error::{Error, KeyPath, Result};

/// The definition of a named loss.
#[derive(Debug)]
pub struct Definition {
    /// The name in TOML, lower case with hyphens.
    pub name: &'static str,
    /// The name used in papers.
    pub title: &'static str,
    /// The formula in plain text.
    pub formula: &'static str,
    /// How it is built.
    pub form: Form,
    /// The keys that may be set, in the order of every list, as dotted paths into the parts, such
    /// as `weight.beta`. A path to a part stands for all of its keys. In the `[loss]` table a key
    /// is named by the last segment of its path.
    pub keys: &'static [&'static str],
    /// The published method it implements, and where it was published.
    pub source: &'static str,
    /// When to use it.
    pub when: &'static str,
    /// Definitions that go beyond the source, and surprising behaviour; may be empty.
    pub notes: &'static str,
}

/// How a loss is built.
#[derive(Debug)]
pub enum Form {
    /// From the parts of a [`Composition`], written in TOML as for `composed`.
    Preset(&'static str),
    /// As a type of its own: the description of its keys and a function that builds it from them.
    Own(
        &'static [Kind],
        fn(&Table, at: &KeyPath) -> Result<Arc<dyn Loss>>,
    ),
}

/// Builds the loss `L` from the complete table `parts`; for [`Form::Own`].
pub fn own<L: Loss + DeserializeOwned + 'static>(
    parts: &Table,
    at: &KeyPath,
) -> Result<Arc<dyn Loss>> {
    match parts.clone().try_into::<L>() {
        Ok(loss) => Ok(Arc::new(loss)),
        Err(error) => Err(Error::key(at, error.message())),
    }
}

impl Definition {
    /// Returns the complete table of its parts, with its defaults.
    pub fn parts(&self) -> Result<Table> {
        let preset = match self.form {
            Form::Preset(preset) => preset,
            Form::Own(..) => "",
        };
        let preset: Table = preset.parse().map_err(|e| Error::input(self.name, e))?;
        complete(self.kinds(), &preset, &KeyPath::from(self.name))
    }

    /// Returns the keys that may be set, in the order of every list, with their values in `parts`.
    pub fn settings(&self, parts: &Table) -> Vec<Setting> {
        let all = settings(self.kinds(), parts);
        let below = |path: &str, part: &str| {
            (path.strip_prefix(part)).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        (self.keys.iter())
            .flat_map(|wanted| all.iter().filter(|setting| below(&setting.path, wanted)))
            .cloned()
            .collect()
    }

    fn kinds(&self) -> &'static [Kind] {
        match self.form {
            Form::Preset(_) => Composition::KINDS,
            Form::Own(kinds, _) => kinds,
        }
    }
}

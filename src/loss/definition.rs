//! What a named loss says about itself: formula, keys, source; and what it is made of.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::Table;

use super::composition::Composition;
use super::objective::Loss;
use super::part::{Kind, Setting, complete, settings};
use crate::error::{Error, KeyPath, Result};

/// One named loss.
#[derive(Debug)]
pub struct Definition {
    /// The name in TOML, lower case with hyphens.
    pub name: &'static str,
    /// The name that papers print.
    pub title: &'static str,
    /// The formula in plain text.
    pub formula: &'static str,
    /// What it is made of.
    pub form: Form,
    /// The keys that may be set, in the order of every list: dotted paths into the parts, such as
    /// `weight.beta`. A path that ends at a part stands for all keys of it. In the `[loss]` table
    /// a key has the last name of its path.
    pub keys: &'static [&'static str],
    /// Which published method it stands for, and where to read it.
    pub source: &'static str,
    /// When to choose it.
    pub when: &'static str,
    /// What is defined beyond the source, and what surprises; may be empty.
    pub notes: &'static str,
}

/// What a loss is made of.
#[derive(Debug)]
pub enum Form {
    /// The parts of a [`Composition`], as `composed` takes them in TOML.
    Preset(&'static str),
    /// A type of its own: what is known about its keys, and how it is made of them.
    Own(
        &'static [Kind],
        fn(&Table, at: &KeyPath) -> Result<Arc<dyn Loss>>,
    ),
}

/// The loss `L` of the complete table `parts`; for [`Form::Own`].
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
    /// The complete table of its parts, with its defaults.
    pub fn parts(&self) -> Result<Table> {
        let preset = match self.form {
            Form::Preset(preset) => preset,
            Form::Own(..) => "",
        };
        let preset: Table = preset.parse().map_err(|e| Error::input(self.name, e))?;
        complete(self.kinds(), &preset, &KeyPath::from(self.name))
    }

    /// The keys that may be set, in the order of every list, with the values that they have in
    /// `parts`.
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

//! The `[loss]` table of an experiment.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::{Table, Value};

use super::composition::{Composition, Normalisation, Weight};
use super::definition::{Definition, Form};
use super::elementwise::Elementwise;
use super::objective::Loss;
use super::part::{self, complete, unknown, value_mut};
use crate::data::labels::ClassFrequency;
use crate::error::{Error, KeyPath, Result};
use crate::layers::carry;

/// The name of a loss that is composed of parts.
pub const COMPOSED: &str = "composed";

/// A loss given by name and keys, or a composition of parts.
///
/// In TOML: `loss = { name = "db-focal", lambda = 2.0 }`, or `name = "composed"` with the tables of
/// [`Composition`]. It is serialized with every key, including those at their defaults, so that a
/// saved configuration does not depend on the defaults.
#[derive(Debug, Clone)]
pub struct LossConfig {
    /// The definition of the named loss; `None` for a composition of parts.
    definition: Option<&'static Definition>,
    /// The complete, validated table of its parts.
    parts: Table,
}

impl LossConfig {
    /// Returns the loss `name` with its default settings.
    pub fn named(name: &str) -> Result<Self> {
        Self::from_table(
            &Table::from_iter([("name".into(), name.into())]),
            &KeyPath::from("loss"),
        )
    }

    /// Returns the loss made of the parts in `composition`. Numbers out of range are an error.
    pub fn composed(composition: &Composition) -> Result<Self> {
        Self::from_parts(&part::table(composition), &KeyPath::from("loss"))
    }

    fn from_parts(given: &Table, at: &KeyPath) -> Result<Self> {
        let parts = || Composition::KINDS.iter().flat_map(|kind| kind.keys);
        let known = parts().map(|key| key.name).chain(["name"]);
        if let Some(name) = given
            .keys()
            .find(|name| !known.clone().any(|k| k == **name))
        {
            return Err(unknown(&at.child(name), "key", name, known));
        }
        Ok(LossConfig {
            definition: None,
            parts: complete(Composition::KINDS, given, at)?,
        })
    }

    /// Reads the table at the key `at`. Errors name the key, the accepted values and the closest
    /// match.
    pub fn from_table(table: &Table, at: &KeyPath) -> Result<Self> {
        let place = at.child("name");
        let mut given = table.clone();
        let name = match given.remove("name") {
            Some(Value::String(name)) => name,
            Some(other) => {
                let problem = format!("is {other}, expected the name of a loss in quotes");
                return Err(Error::key(&place, problem));
            }
            None => {
                return Err(
                    Error::key(&place, "is missing").hint("`dbloss loss list` shows the names")
                );
            }
        };
        if name == COMPOSED {
            return Self::from_parts(&given, at);
        }
        let definition = super::definition(&name).ok_or_else(|| {
            let names = super::names().into_iter().chain([COMPOSED]);
            unknown(&place, "loss", &name, names)
        })?;
        Self::preset(definition, &given, at)
    }

    /// Returns the loss of `definition` with the keys `given` (without `name`) in place of its
    /// defaults.
    pub fn preset(definition: &'static Definition, given: &Table, at: &KeyPath) -> Result<Self> {
        let mut parts = definition.parts()?;
        let settings = definition.settings(&parts);
        for (name, value) in given {
            let place = at.child(name);
            let Some(setting) = settings.iter().find(|setting| setting.key.name == name) else {
                let what = format!("key of `{}`", definition.name);
                let accepted = settings.iter().map(|setting| setting.key.name);
                let accepted = accepted.chain(["name"]);
                return Err(unknown(&place, &what, name, accepted));
            };
            let value = setting.key.read(value, &place)?;
            if let Some(old) = value_mut(&mut parts, &setting.path) {
                *old = value;
            }
        }
        Ok(LossConfig {
            definition: Some(definition),
            parts,
        })
    }

    /// Returns all keys as a TOML table. Keys are ordered by name for a named loss and by part for
    /// `composed`; the order enters the hash of an experiment and must not change.
    pub fn to_table(&self) -> Table {
        let mut table = match self.definition {
            None => self.parts.clone(),
            Some(definition) => {
                let mut settings = definition.settings(&self.parts);
                settings.sort_by_key(|setting| setting.key.name);
                let pairs = settings.into_iter();
                pairs.map(|s| (s.key.name.to_owned(), s.value)).collect()
            }
        };
        table.insert("name".into(), self.name().into());
        table
    }

    /// Returns the name of the loss, or `composed` if it is made of parts.
    pub fn name(&self) -> &'static str {
        self.definition.map_or(COMPOSED, |d| d.name)
    }

    /// Returns the parts that make up the loss, or `None` if it is not element-wise.
    pub fn composition(&self) -> Option<Composition> {
        match self.definition.map(|definition| &definition.form) {
            Some(Form::Own(..)) => None,
            _ => Composition::read(&self.parts, &KeyPath::from("loss")).ok(),
        }
    }

    /// Returns the same loss with a weight of 1 for every image and class, or `None` if it has no
    /// class weights.
    pub fn without_weights(&self) -> Option<Self> {
        let mut composition = self.composition()?;
        if composition.weight == (Weight::None {}) {
            return None;
        }
        composition.weight = Weight::None {};
        composition.normalisation = Normalisation::None;
        Self::composed(&composition).ok()
    }

    /// Builds the loss for a training set with these class counts.
    pub fn build(&self, class_frequency: &ClassFrequency) -> Result<Arc<dyn Loss>> {
        match self.definition.map(|definition| &definition.form) {
            Some(Form::Own(_, build)) => build(&self.parts, &KeyPath::from("loss")),
            _ => {
                let composition = Composition::read(&self.parts, &KeyPath::from("loss"))?;
                Ok(Arc::new(Elementwise::new(composition, class_frequency)?))
            }
        }
    }
}

impl PartialEq for LossConfig {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.parts == other.parts
    }
}

impl Serialize for LossConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_table().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LossConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let table = match Value::deserialize(deserializer)? {
            Value::Table(table) => table,
            other => {
                let problem = "expected a table such as `{ name = \"db-focal\" }`";
                return Err(D::Error::custom(format_args!("is {other}, {problem}")));
            }
        };
        Self::from_table(&table, &KeyPath::from("loss")).map_err(|error| carry(&error))
    }
}

/// Builds the loss `name` with its defaults. A shorthand for tests and benchmarks.
pub fn build(name: &str, frequency: &ClassFrequency) -> Result<Arc<dyn Loss>> {
    LossConfig::named(name)?.build(frequency)
}

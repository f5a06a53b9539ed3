//! The `[model.head]` table of an experiment.

use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::Table;

use super::Kind;
use super::interface::{Head, HeadContext, Takes};
use crate::error::{Error, KeyPath, Result};
use crate::layers::{deserialize_table, read_kind};
use crate::model::builder::Builder;

/// A head with its settings: in TOML one flat table, `kind` (`linear` where it is left out) and the
/// keys of the kind.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadConfig(pub Kind);

impl Default for HeadConfig {
    /// The head of the published recipe.
    fn default() -> Self {
        HeadConfig(Kind::Linear(super::Linear::default()))
    }
}

impl HeadConfig {
    /// Reads the table at the key `at`. Errors name the key, the accepted values and the closest
    /// match.
    ///
    /// # Errors
    /// If a key or its value is not one of those accepted.
    pub fn from_table(table: &Table, at: &KeyPath) -> Result<Self> {
        let shared = ["kind"];
        let read = |name: &str, own: &Table| Kind::read(name, own, &shared, at);
        let (kind, _) = read_kind(table, at, &shared, Kind::NAMES, read)?;
        Ok(HeadConfig(kind))
    }

    /// Returns its name in TOML.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// Checks the ranges; `at` is the key of the table.
    pub fn check(&self, at: &KeyPath) -> Result<()> {
        let keys = self.0.keys().map_err(|e| Error::key(at, e))?;
        self.0.definition().check(&keys, at)?;
        self.0.settings().check(at)
    }

    /// Returns the input that the head takes.
    pub fn takes(&self) -> Takes {
        self.0.settings().takes()
    }

    /// Builds the head; its parameters are named `head.<name>`.
    ///
    /// # Errors
    /// If a file that it names cannot be read, or does not fit.
    pub fn build(&self, context: &HeadContext, builder: &Builder) -> Result<Box<dyn Head>> {
        self.0.settings().build(context, &builder.pp("head"))
    }
}

impl Serialize for HeadConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", self.name())?;
        for (key, value) in self.0.keys().map_err(S::Error::custom)? {
            map.serialize_entry(&key, &value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for HeadConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_table(deserializer, "model.head", Self::from_table)
    }
}

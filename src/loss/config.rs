//! The `[loss]` table of an experiment.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::composition::Composition;
use super::definition::{Build, Definition, Settings};
use super::{Elementwise, Loss};
use crate::data::labels::ClassFrequency;
use crate::error::{Error, Result, closest};

/// The name under which a loss is put together part by part.
pub const COMPOSED: &str = "composed";

/// A loss by name with its parameters, or a composition of parts.
///
/// In TOML: `loss = { name = "db-focal", lambda = 2.0 }`, or `name = "composed"` with the tables
/// of [`Composition`]. It is written back with every parameter, the defaults too, so that a saved
/// configuration does not depend on them.
#[derive(Debug, Clone, PartialEq)]
pub struct LossConfig {
    name: String,
    body: Body,
}

#[derive(Debug, Clone, PartialEq)]
enum Body {
    Named(Settings),
    Composed(Box<Composition>),
}

impl LossConfig {
    /// The loss `name` with its defaults.
    pub fn named(name: &str) -> Result<Self> {
        let mut table = toml::Table::new();
        table.insert("name".into(), name.into());
        Self::from_table(&table)
    }

    /// A loss put together from parts.
    pub fn composed(composition: Composition) -> Self {
        LossConfig {
            name: COMPOSED.into(),
            body: Body::Composed(Box::new(composition)),
        }
    }

    /// Reads the table; errors name the key, what is accepted and the closest match.
    pub fn from_table(table: &toml::Table) -> Result<Self> {
        let name = match table.get("name") {
            Some(toml::Value::String(name)) => name.clone(),
            Some(other) => {
                let problem = format!("is {other}, expected the name of a loss in quotes");
                return Err(Error::input("loss.name", problem));
            }
            None => {
                return Err(Error::input("loss.name", "is missing")
                    .hint("`dbloss loss list` shows the names"));
            }
        };
        let body = if name == COMPOSED {
            let mut parts = table.clone();
            parts.remove("name");
            let composition: Composition = parts.try_into().map_err(part_error)?;
            Body::Composed(Box::new(composition))
        } else {
            Body::Named(Settings::new(super::definition(&name)?, table)?)
        };
        let config = LossConfig { name, body };
        config.check()?;
        Ok(config)
    }

    /// All parameters as a TOML table.
    pub fn to_table(&self) -> toml::Table {
        let mut table = match &self.body {
            Body::Named(settings) => settings.to_table(),
            Body::Composed(composition) => {
                toml::Table::try_from(composition.as_ref()).unwrap_or_default()
            }
        };
        table.insert("name".into(), self.name.clone().into());
        table
    }

    /// The name of the loss, `composed` for one put together from parts.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The parts that the loss is made of; `None` where it is not element-wise.
    pub fn composition(&self) -> Option<Composition> {
        match &self.body {
            Body::Composed(composition) => Some(composition.as_ref().clone()),
            Body::Named(settings) => match self.definition()?.build {
                Build::Composition(compose) => Some(compose(settings)),
                Build::Own(_) => None,
            },
        }
    }

    /// What is known about the loss; `None` for one put together from parts.
    pub fn definition(&self) -> Option<&'static Definition> {
        super::definition(&self.name).ok()
    }

    /// Checks every number against its range.
    pub fn check(&self) -> Result<()> {
        match self.composition() {
            Some(composition) => composition.check(),
            None => Ok(()),
        }
    }

    /// The loss for a training set with these class counts.
    pub fn build(&self, class_frequency: &ClassFrequency) -> Result<Arc<dyn Loss>> {
        let compose = |composition: &Composition| -> Result<Arc<dyn Loss>> {
            Ok(Arc::new(Elementwise::new(composition, class_frequency)?))
        };
        match &self.body {
            Body::Composed(composition) => compose(composition),
            Body::Named(settings) => match super::definition(&self.name)?.build {
                Build::Composition(parts) => compose(&parts(settings)),
                Build::Own(build) => Ok(build(settings)),
            },
        }
    }
}

/// Turns serde's message into an error of the house, with the closest accepted name.
fn part_error(error: toml::de::Error) -> Error {
    let message = error.message().to_string();
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let wrong = Error::input("loss", format_args!("in a composition: {message}"));
    match quoted.split_first() {
        Some((given, accepted)) => match closest(given, accepted.iter().copied()) {
            Some(near) => wrong.hint(format_args!("did you mean `{near}`?")),
            None => wrong,
        },
        None => wrong,
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
        let table = toml::Table::deserialize(deserializer)?;
        Self::from_table(&table).map_err(|error| match &error {
            Error::Input(input) => match &input.hint {
                Some(hint) => D::Error::custom(format_args!("{input} ({hint})")),
                None => D::Error::custom(input),
            },
            other => D::Error::custom(other),
        })
    }
}

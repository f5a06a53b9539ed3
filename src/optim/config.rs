//! The `[optimizer]` table of an experiment.

use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::Table;

use super::Kind;
use crate::error::{Error, KeyPath, Result};
use crate::layers::{deserialize_table, read_kind, read_table};
use crate::range::Range;

/// An optimiser with what is common to all of them.
///
/// In TOML one flat table: `kind` (`sgd` where it is left out), `learning_rate`,
/// `max_gradient_norm`, the table `groups`, and the keys of the kind.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerConfig {
    /// Full learning rate; if left out, 0.02 for SGD and 1e-4 for AdamW.
    pub learning_rate: f64,
    /// Bound of the gradients' global L2 norm, 35; 0 for none.
    pub max_gradient_norm: f64,
    /// What differs between the parts of the network.
    pub groups: Groups,
    /// The optimiser, with the keys of its own.
    pub kind: Kind,
}

/// What differs between parameters: factors on the learning rate, and who is spared weight decay.
/// The defaults are the published recipe: nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Groups {
    /// Factor on the rate of the backbone, 1. A part with 0 does not learn, and its gradient does
    /// not count in the norm.
    pub backbone: f64,
    /// Factor on the rate of the neck, 1.
    pub neck: f64,
    /// Factor on the rate of the head, 1.
    pub head: f64,
    /// Factor on the rate for each stage below the top, 1; neck and head are the top.
    pub layer_decay: f64,
    /// Whether weight decay applies to biases and the scales and shifts of norms, that is,
    /// parameters of one dimension; true.
    pub decay_norms_and_biases: bool,
}

impl Default for Groups {
    fn default() -> Self {
        Groups {
            backbone: 1.0,
            neck: 1.0,
            head: 1.0,
            layer_decay: 1.0,
            decay_norms_and_biases: true,
        }
    }
}

impl Groups {
    /// Checks the ranges; `at` is the key of the table.
    pub fn check(&self, at: &KeyPath) -> Result<()> {
        let factors = [
            ("backbone", self.backbone),
            ("neck", self.neck),
            ("head", self.head),
        ];
        for (key, factor) in factors {
            Range::NotNegative.check(&at.join(key), factor)?;
        }
        if factors.iter().all(|(_, factor)| *factor == 0.0) {
            let problem = "has a factor of 0 for every part: nothing would learn";
            return Err(Error::key(at, problem));
        }
        Range::Above(0.0, 1.0).check(&at.join("layer_decay"), self.layer_decay)
    }

    /// Returns the factor on the learning rate of the parameter `name`, which is `below` stages
    /// under the top.
    pub fn factor(&self, name: &str, below: usize) -> f64 {
        let part = match name.split('.').next() {
            Some("backbone") => self.backbone,
            Some("neck") => self.neck,
            _ => self.head,
        };
        part * self.layer_decay.powi(below as i32)
    }
}

/// The keys common to every kind, starting with `kind`.
const SHARED: [&str; 4] = ["kind", "learning_rate", "max_gradient_norm", "groups"];

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::from(Kind::Sgd(Default::default()))
    }
}

impl From<Kind> for OptimizerConfig {
    /// Creates an optimiser of this kind, with the defaults of the common keys.
    fn from(kind: Kind) -> Self {
        OptimizerConfig {
            learning_rate: kind.learning_rate(),
            max_gradient_norm: 35.0,
            groups: Groups::default(),
            kind,
        }
    }
}

/// The keys common to every kind, as written in TOML.
#[derive(Deserialize)]
struct Shared {
    learning_rate: Option<f64>,
    max_gradient_norm: Option<f64>,
    groups: Option<Groups>,
}

impl OptimizerConfig {
    /// Reads the table at the key `at`. Errors name the key, the accepted values and the closest
    /// match.
    pub fn from_table(table: &Table, at: &KeyPath) -> Result<Self> {
        let read = |name: &str, own: &Table| Kind::read(name, own, &SHARED, at);
        let (kind, shared) = read_kind(table, at, &SHARED, Kind::NAMES, read)?;
        let given: Shared = read_table(&shared, at, &[])?;
        let usual = OptimizerConfig::from(kind);
        Ok(OptimizerConfig {
            learning_rate: given.learning_rate.unwrap_or(usual.learning_rate),
            max_gradient_norm: given.max_gradient_norm.unwrap_or(usual.max_gradient_norm),
            groups: given.groups.unwrap_or(usual.groups),
            kind: usual.kind,
        })
    }

    /// Checks the ranges; `at` is the key of the table.
    pub fn check(&self, at: &KeyPath) -> Result<()> {
        Range::Positive.check(&at.join("learning_rate"), self.learning_rate)?;
        Range::NotNegative.check(&at.join("max_gradient_norm"), self.max_gradient_norm)?;
        self.groups.check(&at.join("groups"))?;
        self.kind.check(at)
    }
}

impl Serialize for OptimizerConfig {
    /// Keys introduced after 0.1 are left out at their defaults, so that the hashes of experiments
    /// do not change.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if self.kind.name() != Kind::NAMES[0] {
            map.serialize_entry("kind", self.kind.name())?;
        }
        map.serialize_entry("learning_rate", &self.learning_rate)?;
        for (key, value) in self.kind.keys().map_err(S::Error::custom)? {
            map.serialize_entry(&key, &value)?;
        }
        map.serialize_entry("max_gradient_norm", &self.max_gradient_norm)?;
        if self.groups != Groups::default() {
            map.serialize_entry("groups", &self.groups)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for OptimizerConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_table(deserializer, "optimizer", Self::from_table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<OptimizerConfig> {
        OptimizerConfig::from_table(&text.parse().unwrap(), &KeyPath::from("optimizer"))
    }

    #[test]
    fn the_default_is_written_as_it_always_was() {
        let written = toml::to_string(&OptimizerConfig::default()).unwrap();
        let before = "learning_rate = 0.02\nmomentum = 0.9\nweight_decay = 0.0001\n\
                      max_gradient_norm = 35.0\n";
        assert_eq!(written, before);
        assert_eq!(read(before).unwrap(), OptimizerConfig::default());
    }

    #[test]
    fn what_is_written_is_read_back_the_same() {
        for kind in Kind::defaults() {
            let mut config = OptimizerConfig::from(kind);
            config.groups.layer_decay = 0.75;
            let written = toml::to_string(&config).unwrap();
            assert_eq!(read(&written).unwrap(), config, "{written}");
        }
    }

    #[test]
    fn mistakes_are_told_with_what_is_accepted() {
        for (text, expected) in [
            ("kind = 'adam'", "expected one of `sgd`, `adamw`"),
            (
                "kind = 'adamw'\nmomentum = 0.9",
                "`betas`, `epsilon`, `weight_decay`, `kind`",
            ),
            ("learning_rate = 'x'", "expected a number"),
            ("groups = { nek = 1.0 }", "optimizer.groups.nek"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let groups = read("groups = { backbone = 0, neck = 0, head = 0 }").unwrap();
        assert!(groups.check(&KeyPath::from("optimizer")).is_err());
    }
}

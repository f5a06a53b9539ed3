//! Configuration of a backbone.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::adapter::AdapterConfig;
use super::architecture::Architecture;
use super::families::{Definition, ExpectedInput, Published, RESNET50, definitions, names};

/// A network in the list of backbones.
#[derive(Clone, Copy)]
pub struct BackboneKind(&'static Definition);

impl BackboneKind {
    /// Returns the network of that name.
    pub fn named(name: &str) -> Option<Self> {
        let mut all = definitions();
        all.find(|definition| definition.name == name)
            .map(BackboneKind)
    }

    /// Returns all networks, in the order of the list.
    pub fn all() -> impl Iterator<Item = Self> {
        definitions().map(BackboneKind)
    }

    /// Returns its name in configurations.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Returns the input that its published weights expect.
    pub fn input(self) -> ExpectedInput {
        self.0.input
    }

    /// Returns the published network whose parameter names it uses.
    pub fn published(self) -> Published {
        self.0.published
    }

    /// Returns its architecture.
    pub fn architecture(self) -> Architecture {
        (self.0.architecture)()
    }
}

impl Default for BackboneKind {
    /// The network of the published recipe.
    fn default() -> Self {
        BackboneKind(&RESNET50)
    }
}

impl PartialEq for BackboneKind {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for BackboneKind {}

impl Hash for BackboneKind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl fmt::Debug for BackboneKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for BackboneKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for BackboneKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for BackboneKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        BackboneKind::named(&name).ok_or_else(|| D::Error::unknown_variant(&name, names()))
    }
}

/// Settings of a backbone.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneConfig {
    /// Which network.
    pub name: BackboneKind,
    /// The parameters of stages 0 to this one do not learn: -1 none, 0 the stem, 1 the stem and
    /// the first layer, up to 4, everything. Which statistics their batch norms use is up to
    /// `norm_eval` all the same.
    #[serde(default = "default_frozen_stages")]
    pub frozen_stages: i32,
    /// True: batch norms use their running statistics in training too (their affine parameters
    /// still learn). False: statistics of the batch.
    #[serde(default = "default_norm_eval")]
    pub norm_eval: bool,
    /// Whether the CPU engine may trade a little rounding for speed in 3x3 convolutions.
    #[serde(default)]
    pub winograd: Winograd,
    /// New parameters that learn in place of all others of the backbone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterConfig>,
}

/// Winograd's minimal filtering for 3x3 convolutions of stride 1, on the CPU: about three times
/// fewer multiplications, rounding a few times larger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Winograd {
    /// Wherever it is faster.
    #[default]
    On,
    /// Nowhere: every sum as it is written.
    Off,
}

fn default_frozen_stages() -> i32 {
    1
}

fn default_norm_eval() -> bool {
    true
}

impl BackboneConfig {
    /// Returns the published settings for a network: stem and first layer frozen, running
    /// statistics.
    pub fn new(name: BackboneKind) -> Self {
        BackboneConfig {
            name,
            frozen_stages: default_frozen_stages(),
            norm_eval: default_norm_eval(),
            winograd: Winograd::default(),
            adapter: None,
        }
    }

    /// Returns the architecture, with its adapter.
    pub fn architecture(&self) -> Architecture {
        let architecture = self.name.architecture();
        match &self.adapter {
            Some(adapter) => adapter.adapt(architecture),
            None => architecture,
        }
    }

    /// Returns whether the published parameters of `stage` are frozen; with an adapter, all of them
    /// are.
    pub fn is_frozen(&self, stage: usize) -> bool {
        self.adapter.is_some() || stage as i64 <= i64::from(self.frozen_stages)
    }

    /// Returns whether the parameters of an adapter are frozen.
    pub(super) fn is_adapter_frozen(&self) -> bool {
        (self.adapter.as_ref()).is_some_and(|adapter| adapter.frozen)
    }
}

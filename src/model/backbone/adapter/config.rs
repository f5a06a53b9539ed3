//! The `[model.adapter]` table of an experiment.

use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::Table;

use super::super::architecture::{Architecture, Operation};
use super::Kind;
use crate::error::{Error, KeyPath, Result};
use crate::layers::{deserialize_table, read_kind, read_table};
use crate::range::Range;

/// An adapter with what is common to all of them. The published parameters of the backbone do not
/// learn beside it, whatever stage they lie in.
///
/// In TOML one flat table: `kind` (`lora` where it is left out), `blocks`, `frozen`, and the keys of
/// the kind.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterConfig {
    /// How many blocks have the adapter, counted from the last; all if left out.
    pub blocks: Option<usize>,
    /// Whether the adapter itself is frozen too, as in a second training that starts from the
    /// network of the first; false.
    pub frozen: bool,
    /// The adapter, with the keys of its own.
    pub kind: Kind,
}

/// The keys common to every kind, starting with `kind`.
const SHARED: [&str; 3] = ["kind", "blocks", "frozen"];

impl From<Kind> for AdapterConfig {
    /// Creates an adapter of this kind that is trained in all blocks.
    fn from(kind: Kind) -> Self {
        AdapterConfig {
            blocks: None,
            frozen: false,
            kind,
        }
    }
}

/// The keys common to every kind, as written in TOML.
#[derive(Deserialize)]
struct Shared {
    blocks: Option<usize>,
    frozen: Option<bool>,
}

impl AdapterConfig {
    /// Reads the table at the key `at`. Errors name the key, the accepted values and the closest
    /// match.
    ///
    /// # Errors
    /// If a key or its value is not one of those accepted.
    pub fn from_table(table: &Table, at: &KeyPath) -> Result<Self> {
        let read = |name: &str, own: &Table| Kind::read(name, own, &SHARED, at);
        let (kind, shared) = read_kind(table, at, &SHARED, Kind::NAMES, read)?;
        let Shared { blocks, frozen } = read_table(&shared, at, &[])?;
        Ok(AdapterConfig {
            blocks,
            frozen: frozen.unwrap_or_default(),
            kind,
        })
    }

    /// Checks the ranges, and that the network has blocks to adapt; `at` is the key of the table.
    ///
    /// # Errors
    /// Names the key that is out of range, or the table if the network has no blocks.
    pub fn check(&self, at: &KeyPath, architecture: &Architecture) -> Result<()> {
        let blocks = stages(architecture).count();
        if blocks == 0 {
            let problem =
                "adapts the blocks of a vision transformer, but `model.backbone` is not one";
            return Err(Error::key(at, problem)
                .hint("choose a vision transformer (docs/backbones.md), or leave the table out"));
        }
        if let Some(count) = self.blocks {
            let range = Range::WholeWithin(1, blocks as i64);
            range.check_whole(&at.join("blocks"), count)?;
        }
        self.kind.check(at)
    }

    /// Returns the network with the adapter in its last blocks.
    pub(in super::super) fn adapt(&self, architecture: Architecture) -> Architecture {
        let stages: Vec<usize> = stages(&architecture).collect();
        let count = self.blocks.unwrap_or(stages.len()).min(stages.len());
        match stages[stages.len() - count..].first() {
            Some(&first) => self.kind.adapt(architecture, first),
            None => architecture,
        }
    }
}

/// Returns the stage of each block.
fn stages(architecture: &Architecture) -> impl Iterator<Item = usize> {
    (architecture.nodes.iter())
        .filter(|node| matches!(node.operation, Operation::Attention(_)))
        .map(|node| node.stage)
}

impl Serialize for AdapterConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", self.kind.name())?;
        if let Some(blocks) = self.blocks {
            map.serialize_entry("blocks", &blocks)?;
        }
        map.serialize_entry("frozen", &self.frozen)?;
        for (key, value) in self.kind.keys().map_err(S::Error::custom)? {
            map.serialize_entry(&key, &value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for AdapterConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_table(deserializer, "model.adapter", Self::from_table)
    }
}

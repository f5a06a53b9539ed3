//! The interface of all adapters.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::architecture::Architecture;
use crate::error::{KeyPath, Result};

/// An adapter: its settings, which are its own keys of `[model.adapter]`, and the way it modifies a
/// network.
pub trait Adapter: Debug + Clone + PartialEq + Default + Serialize + DeserializeOwned {
    /// Its `kind` in TOML.
    const NAME: &'static str;
    /// Segments of its parameter names, between two dots, that do not occur in any published
    /// network.
    const PARTS: &'static [&'static str];

    /// Checks the ranges; `at` is the key of the table.
    ///
    /// # Errors
    /// Names the key that is out of range.
    fn check(&self, at: &KeyPath) -> Result<()>;

    /// Inserts the adapter into the blocks of stage `first` and later. Before training, the
    /// network computes the same as without it.
    fn adapt(&self, architecture: Architecture, first: usize) -> Architecture;
}

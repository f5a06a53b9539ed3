//! What every adapter can do.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::architecture::Architecture;
use crate::error::{KeyPath, Result};

/// An adapter: its settings, which are the keys of `[model.adapter]` that are its own, and how it
/// changes a network.
pub trait Adapter: Debug + Clone + PartialEq + Default + Serialize + DeserializeOwned {
    /// Its `kind` in TOML.
    const NAME: &'static str;
    /// Parts of its parameters' names that no published network has: between two dots.
    const PARTS: &'static [&'static str];

    /// Checks the ranges; `at` is the key of the table.
    ///
    /// # Errors
    /// Names the key that is out of its range.
    fn check(&self, at: &KeyPath) -> Result<()>;

    /// Puts it into the blocks of stage `first` and later ones. The network begins as it is without.
    fn adapt(&self, architecture: Architecture, first: usize) -> Architecture;
}

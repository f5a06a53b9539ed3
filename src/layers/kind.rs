//! Tables that say by their `kind` what their other keys are.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

use super::{carry, plain};
use crate::error::{Error, KeyPath, Result};

/// The `kind` of the table at the key `at`, `usual` where it is left out.
///
/// # Errors
/// If it is no text.
pub fn kind<'t>(table: &'t Table, at: &KeyPath, usual: &'t str) -> Result<&'t str> {
    match table.get("kind") {
        None => Ok(usual),
        Some(Value::String(kind)) => Ok(kind),
        Some(other) => {
            let problem = format!("is {}, expected a name in quotes", plain(other));
            Err(Error::key(at.child("kind"), problem))
        }
    }
}

/// The error of a `kind` that is none of the `accepted`.
pub fn unknown_kind(kind: &str, at: &KeyPath, accepted: &[&str]) -> Error {
    let problem = format!("is `{kind}`, expected one of `{}`", accepted.join("`, `"));
    Error::key(at.child("kind"), problem).did_you_mean(kind, accepted.iter().copied())
}

/// The value at the key `at` by `read`, if it is a table: the body of a `Deserialize` whose errors
/// name their keys.
///
/// # Errors
/// Those of `read`, or that it is no table.
pub fn deserialize_table<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    at: &str,
    read: impl FnOnce(&Table, &KeyPath) -> Result<T>,
) -> Result<T, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Table(table) => read(&table, &KeyPath::from(at)).map_err(|error| carry(&error)),
        other => {
            let problem = format!("is {}, expected a table", plain(&other));
            Err(D::Error::custom(problem))
        }
    }
}

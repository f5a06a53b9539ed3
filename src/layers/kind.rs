//! Tables whose `kind` decides which other keys they have.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

use super::{carry, plain};
use crate::error::{Error, KeyPath, Result};

/// Returns the `kind` of the table at the key `at`, or `usual` if it is missing.
///
/// # Errors
/// Fails if it is not a string.
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

/// The error for a `kind` that is none of the `accepted` ones.
pub fn unknown_kind(kind: &str, at: &KeyPath, accepted: &[&str]) -> Error {
    let problem = format!("is `{kind}`, expected one of `{}`", accepted.join("`, `"));
    Error::key(at.child("kind"), problem).did_you_mean(kind, accepted.iter().copied())
}

/// Reads the table at the key `at` according to its kind. `read` receives the kind's name and the
/// keys that are not `shared` by all kinds; the shared keys are returned as a table. The first of
/// the `names` is the default kind.
///
/// # Errors
/// Returns the errors of `read`; also fails if there is no such kind.
pub fn read_kind<K>(
    table: &Table,
    at: &KeyPath,
    shared: &[&str],
    names: &[&str],
    read: impl FnOnce(&str, &Table) -> Option<Result<K>>,
) -> Result<(K, Table)> {
    let (shared, own): (Table, Table) =
        (table.clone().into_iter()).partition(|(key, _)| shared.contains(&key.as_str()));
    let name = kind(table, at, names[0])?;
    match read(name, &own) {
        Some(kind) => Ok((kind?, shared)),
        None => Err(unknown_kind(name, at, names)),
    }
}

/// Declares `Kind`, a member of an open set with its own keys: the types of the members with their
/// names, the default first.
macro_rules! kinds {
    ($(#[$about:meta])* $($Rule:ident: $name:expr),+ $(,)?) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs)]
        pub enum Kind { $($Rule($Rule)),+ }

        impl Kind {
            /// The names of the kinds, the default first.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// Name and type of each kind: the fields of the type are the kind's own keys.
            #[allow(dead_code)]
            pub const TYPES: &'static [(&'static str, &'static str)] =
                &[$(($name, stringify!($Rule))),+];

            /// Reads the kind with this `name` from its own `keys`, those of the table at the key
            /// `at` that are not in `shared`; `None` if there is no such kind.
            pub fn read(
                name: &str,
                keys: &toml::Table,
                shared: &[&str],
                at: &crate::error::KeyPath,
            ) -> Option<crate::error::Result<Self>> {
                $(if name == $name {
                    let read = crate::layers::read_table::<$Rule>(keys, at, shared);
                    return Some(read.map(Kind::$Rule));
                })+
                None
            }

            /// Returns the kind's own keys with their values.
            pub fn keys(&self) -> Result<toml::Table, toml::ser::Error> {
                match self { $(Kind::$Rule(own) => toml::Table::try_from(own)),+ }
            }

            /// Returns the kind's name in TOML.
            pub fn name(&self) -> &'static str {
                match self { $(Kind::$Rule(_) => $name),+ }
            }

            /// Returns every kind with its defaults.
            pub fn defaults() -> Vec<Self> {
                vec![$(Kind::$Rule($Rule::default())),+]
            }
        }
    };
}
pub(crate) use kinds;

/// Reads the value at the key `at`, if it is a table, with `read`: the body of a `Deserialize`
/// whose errors name their keys.
///
/// # Errors
/// Returns the errors of `read`; also fails if the value is not a table.
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

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

/// What the table at the key `at` says of its kind, by `read`, which is given the name and the keys
/// that are the kind's own; and the keys that are `shared` by all kinds. The first of the `names` is
/// the kind where none is named.
///
/// # Errors
/// Those of `read`, or that there is no such kind.
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

/// Declares `Kind`, a member of any kind of an open set with the keys that are its own: the types of
/// the members with their names, the default first.
macro_rules! kinds {
    ($(#[$about:meta])* $($Rule:ident: $name:expr),+ $(,)?) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs)]
        pub enum Kind { $($Rule($Rule)),+ }

        impl Kind {
            /// The kinds, the default first.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// Name and type of each kind: the type's fields are the keys of its own.
            #[allow(dead_code)]
            pub const TYPES: &'static [(&'static str, &'static str)] =
                &[$(($name, stringify!($Rule))),+];

            /// The one of this `name` with the `keys` of its own, those of the table at the key
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

            /// The keys that are its own, with their values.
            pub fn keys(&self) -> Result<toml::Table, toml::ser::Error> {
                match self { $(Kind::$Rule(own) => toml::Table::try_from(own)),+ }
            }

            /// Its name in TOML.
            pub fn name(&self) -> &'static str {
                match self { $(Kind::$Rule(_) => $name),+ }
            }

            /// One of each kind with its defaults.
            pub fn defaults() -> Vec<Self> {
                vec![$(Kind::$Rule($Rule::default())),+]
            }
        }
    };
}
pub(crate) use kinds;

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

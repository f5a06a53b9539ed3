//! Descriptions of the keys of a loss, from which keys are read and validated and every list and
//! page is generated.
//!
//! [`part!`] declares a type together with its description: the doc comment of a field is the
//! meaning of its key, and the default, accepted values and unit follow the field.

use std::fmt;

use serde::Serialize;
use toml::{Table, Value};

use crate::error::{Error, KeyPath, Result};
use crate::range::Range;

/// A key of a `[loss]` table.
#[derive(Debug)]
pub struct Key {
    /// Its name in TOML.
    pub name: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// The values it accepts.
    pub accepts: Accepts,
    /// `logits`, `probability`, `epochs` ...; empty for dimensionless numbers and for words.
    pub unit: &'static str,
}

/// A table of keys. A part that comes in several kinds has one such table per kind.
#[derive(Debug)]
pub struct Kind {
    /// The value of the key `kind`; empty for a part that has only one form.
    pub name: &'static str,
    /// What it is, with its formula.
    pub meaning: &'static str,
    /// Its keys, in the order of every list.
    pub keys: &'static [Key],
    /// Returns the table with every default.
    pub defaults: fn() -> Table,
}

/// The values that a key accepts.
#[derive(Debug, Clone, Copy)]
pub enum Accepts {
    /// A number, word or flag in this range.
    Value(Range),
    /// A table: a part of one of these kinds.
    Part(&'static [Kind]),
}

impl fmt::Display for Accepts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Accepts::Value(range) => range.fmt(f),
            Accepts::Part([_]) => f.write_str("a table"),
            Accepts::Part(kinds) => {
                let names = listed(kinds.iter().map(|kind| kind.name));
                write!(f, "a table whose `kind` is one of {names}")
            }
        }
    }
}

impl Key {
    /// Validates the value `given` at the key `at` and returns it in its final form: whole numbers
    /// become floats where a float is expected, and a table is completed with the defaults of its
    /// missing keys. An error says what is accepted instead.
    pub fn read(&self, given: &Value, at: &KeyPath) -> Result<Value> {
        let range = match (self.accepts, given) {
            (Accepts::Part(kinds), Value::Table(table)) => {
                return complete(kinds, table, at).map(Value::Table);
            }
            (Accepts::Part(_), _) => return Err(refused(at, given, self.accepts)),
            (Accepts::Value(range), _) => range,
        };
        match (range, given) {
            (Range::OneOf(words), Value::String(word)) if !words.contains(&word.as_str()) => {
                let error = refused(at, given, range);
                Err(error.did_you_mean(word, words.iter().copied()))
            }
            (Range::OneOf(_), Value::String(_)) | (Range::Flag, Value::Boolean(_)) => {
                Ok(given.clone())
            }
            (Range::OneOf(_) | Range::Flag, _) => Err(refused(at, given, range)),
            (Range::Whole, Value::Integer(i)) if *i >= 0 => Ok(given.clone()),
            (Range::Whole, _) => Err(refused(at, given, range)),
            (_, Value::Float(x)) if range.holds(*x) => Ok(given.clone()),
            (_, Value::Integer(i)) if range.holds(*i as f64) => Ok(Value::Float(*i as f64)),
            _ => Err(refused(at, given, range)),
        }
    }
}

/// Validates `given` and fills in the defaults of missing keys, in the order of the description.
/// `at` is the key of the table; an error names the offending key, for example `loss.weight.beta`.
pub fn complete(kinds: &'static [Kind], given: &Table, at: &KeyPath) -> Result<Table> {
    let (kind, tag) = match kinds {
        [only] => (only, None),
        _ => (named_kind(kinds, given, &at.child("kind"))?, Some("kind")),
    };
    let mut table = (kind.defaults)();
    for (name, value) in given.iter().filter(|(name, _)| Some(name.as_str()) != tag) {
        let at = at.child(name);
        let Some(key) = kind.keys.iter().find(|key| key.name == name) else {
            let names = kind.keys.iter().map(|key| key.name);
            return Err(unknown(&at, "key", name, names.chain(tag)));
        };
        table.insert(name.clone(), key.read(value, &at)?);
    }
    let names = kind.keys.iter().map(|key| key.name);
    let names = tag.into_iter().chain(names);
    Ok(names.filter_map(|name| table.remove_entry(name)).collect())
}

fn named_kind(kinds: &'static [Kind], given: &Table, at: &KeyPath) -> Result<&'static Kind> {
    let names = kinds.iter().map(|kind| kind.name);
    let given = match given.get("kind") {
        Some(Value::String(name)) => name,
        Some(other) => return Err(refused(at, other, format_args!("one of {}", listed(names)))),
        None => {
            let problem = format!("is missing, expected one of {}", listed(names));
            return Err(Error::key(at, problem));
        }
    };
    let found = kinds.iter().find(|kind| kind.name == given);
    found.ok_or_else(|| unknown(at, "kind", given, names))
}

/// A key that holds a value (not a part), with its path in the table of all parts.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The keys that lead to it, joined by dots, for example `weight.beta`.
    pub path: String,
    /// The kind of part that has it; empty if the part has only one form.
    pub kind: &'static str,
    /// Its description.
    pub key: &'static Key,
    /// Its value.
    pub value: Value,
}

/// Returns every key of the complete table `parts` that holds a value, in the order of every list.
pub fn settings(kinds: &'static [Kind], parts: &Table) -> Vec<Setting> {
    let given = parts.get("kind").and_then(Value::as_str).unwrap_or("");
    let mut found = Vec::new();
    let Some(kind) = kinds.iter().find(|kind| kind.name == given) else {
        return found;
    };
    for key in kind.keys {
        match (key.accepts, parts.get(key.name)) {
            (_, None) => {}
            (Accepts::Part(kinds), Some(Value::Table(part))) => {
                let inner = settings(kinds, part).into_iter();
                found.extend(inner.map(|setting| Setting {
                    path: format!("{}.{}", key.name, setting.path),
                    ..setting
                }));
            }
            (_, Some(value)) => found.push(Setting {
                path: key.name.to_owned(),
                kind: kind.name,
                key,
                value: value.clone(),
            }),
        }
    }
    found
}

/// Returns the value at the dotted `path` of `parts`.
pub fn value_mut<'a>(parts: &'a mut Table, path: &str) -> Option<&'a mut Value> {
    match path.split_once('.') {
        None => parts.get_mut(path),
        Some((part, rest)) => value_mut(parts.get_mut(part)?.as_table_mut()?, rest),
    }
}

/// Returns the error for a name that is not among `accepted`, suggesting the closest of those.
pub fn unknown<'a>(
    at: &KeyPath,
    what: &str,
    given: &str,
    accepted: impl Iterator<Item = &'a str> + Clone,
) -> Error {
    let expected = match listed(accepted.clone()) {
        none if none.is_empty() => "no key belongs here".to_owned(),
        list => format!("expected one of {list}"),
    };
    let error = match at.last() == Some(given) {
        true => Error::key(at, format_args!("is no {what}; {expected}")),
        false => Error::key(
            at,
            format_args!("is `{given}`, which is no {what}; {expected}"),
        ),
    };
    error.did_you_mean(given, accepted)
}

fn refused(at: &KeyPath, given: &Value, expected: impl fmt::Display) -> Error {
    let shown = match given {
        Value::String(text) => format!("`{text}`"),
        other => other.to_string(),
    };
    Error::key(at, format_args!("is {shown}, expected {expected}"))
}

/// Joins the names, in backticks, for use in a sentence.
pub fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// Returns `part` as a table. The types that [`part!`] declares hold numbers, words and tables,
/// which TOML can always represent.
pub fn table(part: &impl Serialize) -> Table {
    Table::try_from(part).expect("a part of a loss is a TOML table")
}

/// Declares a struct, or an enum whose variants are kinds, with serde support, its defaults, and
/// `KINDS`, the description of its keys:
///
/// ```text
/// /// What the part does, with its formula.
/// pub struct Focal {
///     /// Meaning of the key.
///     gamma: f64 = 2.0, Value(NotNegative), "unit";
/// }
/// ```
///
/// The unit may be left out. The TOML name of an enum variant stands before the brace:
/// `Inverse = "inverse" { .. }`.
macro_rules! part {
    (
        $(#[doc = $about:literal])+
        pub struct $part:ident {$(
            $(#[doc = $meaning:literal])+
            $key:ident: $type:ty = $default:expr, $accepts:expr $(, $unit:literal)?;
        )*}
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $part {$(
            $(#[doc = $meaning])+
            pub $key: $type,
        )*}

        impl Default for $part {
            fn default() -> Self {
                $part { $($key: $default),* }
            }
        }

        impl $part {
            /// The description of its keys.
            pub const KINDS: &'static [$crate::loss::part::Kind; 1] = &[$crate::loss::part::kind!(
                "", [$($about),+], $part::default(),
                $([$($meaning),+] $key $accepts, concat!($($unit)?);)*
            )];
        }
    };
    (
        $(#[doc = $about:literal])+
        pub enum $part:ident {$(
            $(#[doc = $kind_about:literal])+
            $kind:ident = $name:literal {$(
                $(#[doc = $meaning:literal])+
                $key:ident: $type:ty = $default:expr, $accepts:expr $(, $unit:literal)?;
            )*}
        )+}
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, tag = "kind")]
        pub enum $part {$(
            $(#[doc = $kind_about])+
            #[serde(rename = $name)]
            $kind {$(
                $(#[doc = $meaning])+
                $key: $type,
            )*},
        )+}

        impl $part {
            /// The descriptions of its kinds and their keys.
            pub const KINDS: &'static [$crate::loss::part::Kind] = &[$($crate::loss::part::kind!(
                $name, [$($kind_about),+], $part::$kind { $($key: $default),* },
                $([$($meaning),+] $key $accepts, concat!($($unit)?);)*
            )),+];
        }
    };
}

/// Builds the [`Kind`] of a type that [`part!`] declares.
macro_rules! kind {
    (
        $name:expr, [$($about:literal),+], $defaults:expr,
        $([$($meaning:literal),+] $key:ident $accepts:expr, $unit:expr;)*
    ) => {
        $crate::loss::part::Kind {
            name: $name,
            meaning: concat!($($about),+).trim_ascii(),
            keys: &[$($crate::loss::part::Key {
                name: stringify!($key),
                meaning: concat!($($meaning),+).trim_ascii(),
                accepts: $accepts,
                unit: $unit,
            }),*],
            defaults: || $crate::loss::part::table(&$defaults),
        }
    };
}

/// Declares an enum of words, each with its TOML spelling; `WORDS` lists them.
macro_rules! words {
    (
        $(#[doc = $about:literal])+
        pub enum $name:ident {$(
            $(#[doc = $meaning:literal])+
            $variant:ident = $word:literal,
        )+}
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $name {$(
            $(#[doc = $meaning])+
            #[serde(rename = $word)]
            $variant,
        )+}

        impl $name {
            /// The words as spelled in TOML.
            pub const WORDS: &'static [&'static str] = &[$($word),+];
        }
    };
}

pub(super) use {kind, part, words};

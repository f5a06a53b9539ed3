//! Conversion of a TOML table to a typed configuration, with errors in plain words.
//!
//! serde reports to a deserializer's error type through typed calls, so none of its messages has to
//! be parsed. Where serde loses the path of a key (in a table with a `kind`), the key is found by
//! leaving out one key after another.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, Expected, IntoDeserializer, Visitor};
use serde_path_to_error::Segment;
use toml::{Table, Value};

use crate::error::{Error, KeyPath, Place};

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wrong {
    /// A value of another type, or one that the type cannot hold.
    Value { found: String, expected: String },
    /// A word that is not accepted.
    Word {
        given: String,
        accepted: Vec<String>,
    },
    /// A key that is not accepted.
    Key {
        given: String,
        accepted: Vec<String>,
    },
    /// A required key that is missing.
    Missing(String),
    /// An error that a type reported itself, with the key if it named one.
    Own {
        key: Option<KeyPath>,
        problem: String,
        hint: Option<String>,
    },
}

thread_local! {
    /// The error being passed through [`carry`], with the text that serde sees of it.
    static CARRIED: RefCell<Option<(String, Wrong)>> = const { RefCell::new(None) };
}

/// Passes an error of a type's own `Deserialize` through serde, which only transports texts: it
/// arrives complete, with key and hint, if the type is read through [`crate::layers::Layers`].
pub fn carry<E: de::Error>(error: &Error) -> E {
    let Error::Input(input) = error else {
        return E::custom(error);
    };
    let text = match &input.hint {
        Some(hint) => format!("{input} ({hint})"),
        None => input.to_string(),
    };
    let own = Wrong::Own {
        key: match &input.at {
            Place::Key(key) => Some(key.clone()),
            _ => None,
        },
        problem: input.problem.clone(),
        hint: input.hint.clone(),
    };
    CARRIED.set(Some((text.clone(), own)));
    E::custom(text)
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Value { found, expected } => write!(f, "is {found}, expected {expected}"),
            Wrong::Word { given, accepted } => {
                write!(f, "is `{given}`, expected {}", one_of(accepted))
            }
            Wrong::Key { accepted, .. } if accepted.is_empty() => {
                f.write_str("is unknown: this table takes no keys")
            }
            Wrong::Key { accepted, .. } => write!(f, "is unknown, expected {}", one_of(accepted)),
            Wrong::Missing(_) => f.write_str("is missing"),
            Wrong::Own { problem, .. } => f.write_str(problem),
        }
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = message.to_string();
        match CARRIED.take() {
            Some((carried, own)) if carried == text => own,
            _ => Wrong::Own {
                key: None,
                problem: text,
                hint: None,
            },
        }
    }

    fn invalid_type(found: de::Unexpected, expected: &dyn Expected) -> Self {
        Wrong::Value {
            found: found_words(found),
            expected: expected_words(&expected.to_string()),
        }
    }

    fn invalid_value(found: de::Unexpected, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Wrong::Value {
            found: format!("a list of {length}"),
            expected: expected_words(&expected.to_string()),
        }
    }

    fn unknown_variant(given: &str, accepted: &'static [&'static str]) -> Self {
        Wrong::Word {
            given: given.to_owned(),
            accepted: owned(accepted),
        }
    }

    fn unknown_field(given: &str, accepted: &'static [&'static str]) -> Self {
        Wrong::Key {
            given: given.to_owned(),
            accepted: owned(accepted),
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Wrong::Missing(field.to_owned())
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::custom(format_args!("`{field}` is given twice"))
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn one_of(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.len() {
        1 => quoted.concat(),
        _ => format!("one of {}", quoted.join(", ")),
    }
}

/// Describes a value that was found in plain words.
fn found_words(found: de::Unexpected) -> String {
    use de::Unexpected as U;
    match found {
        U::Bool(flag) => format!("`{flag}`"),
        U::Unsigned(n) => n.to_string(),
        U::Signed(n) => n.to_string(),
        U::Float(x) => x.to_string(),
        U::Char(c) => format!("the text `{c}`"),
        U::Str(text) => format!("the text `{text}`"),
        U::Seq => "a list".to_owned(),
        U::Map | U::StructVariant | U::NewtypeVariant | U::TupleVariant | U::Enum => {
            "a table".to_owned()
        }
        U::Other(what) => what.to_owned(),
        _ => "something else".to_owned(),
    }
}

/// Describes what serde expected in plain words.
fn expected_words(expected: &str) -> String {
    let plain = match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "u128" | "usize" => "a whole number at or above 0",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" | "bool" => "`true` or `false`",
        "a string" | "a borrowed string" | "string" => "a text in quotes",
        "path string" => "a path in quotes",
        "a sequence" => "a list",
        "a map" => "a table",
        "variant identifier" | "string or map" | "unit variant" => "a name in quotes",
        _ => "",
    };
    if !plain.is_empty() {
        return plain.to_owned();
    }
    if let Some(rest) = expected.strip_prefix("an array of length ") {
        return format!("a list of {rest} values");
    }
    let is = |beginning: &str| expected.starts_with(beginning);
    if is("internally tagged enum") {
        return "a table with a `kind`".to_owned();
    }
    if is("struct ") || is("tuple variant") || is("newtype") || is("struct variant") {
        return "a table".to_owned();
    }
    match is("enum ") {
        true => "a name in quotes".to_owned(),
        false => expected.to_owned(),
    }
}

/// Deserializer of a TOML value with [`Wrong`] as its error.
struct Reader<'a>(&'a Value);

impl<'de> IntoDeserializer<'de, Wrong> for Reader<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Integer(n) => visitor.visit_i64(*n),
            Value::Float(x) => visitor.visit_f64(*x),
            Value::Boolean(flag) => visitor.visit_bool(*flag),
            Value::Datetime(date) => Err(de::Error::invalid_type(
                de::Unexpected::Other(&format!("the date {date}")),
                &visitor,
            )),
            Value::Array(items) => {
                visitor.visit_seq(SeqDeserializer::new(items.iter().map(Reader)))
            }
            Value::Table(table) => visitor.visit_map(entries(table)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::String(text) => {
                let text: de::value::BorrowedStrDeserializer<'de, Wrong> =
                    de::value::BorrowedStrDeserializer::new(text);
                visitor.visit_enum(text)
            }
            Value::Table(table) if table.len() == 1 => {
                visitor.visit_enum(MapAccessDeserializer::new(entries(table)))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

type Entries<'a> = MapDeserializer<'a, Box<dyn Iterator<Item = (&'a str, Reader<'a>)> + 'a>, Wrong>;

fn entries(table: &Table) -> Entries<'_> {
    let pairs = table
        .iter()
        .map(|(key, value)| (key.as_str(), Reader(value)));
    MapDeserializer::new(Box::new(pairs))
}

/// What is wrong with a configuration, and at which key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    /// The key; for a missing key, the table's path joined with the key's name.
    pub at: KeyPath,
    /// What is wrong with it.
    pub wrong: Wrong,
}

/// Reads a table as a `T`.
pub(super) fn read<T: DeserializeOwned>(table: &Table) -> Result<T, Fault> {
    let whole = Value::Table(table.clone());
    attempt::<T>(&whole).map_err(|fault| locate::<T>(&whole, fault))
}

fn attempt<T: DeserializeOwned>(value: &Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(Reader(value)).map_err(|e| {
        let mut at = KeyPath::root();
        for segment in e.path() {
            at = match segment {
                Segment::Map { key } => at.child(key),
                Segment::Seq { index } => at.item(*index),
                Segment::Enum { .. } | Segment::Unknown => at,
            };
        }
        let wrong = e.into_inner();
        Fault { at, wrong }
    })
}

/// Makes the key of a fault as specific as possible.
fn locate<T: DeserializeOwned>(whole: &Value, fault: Fault) -> Fault {
    let Fault { at, wrong } = &fault;
    let exact = match wrong {
        Wrong::Key { given, .. } if at.last() == Some(given) => at.clone(),
        Wrong::Key { given: name, .. } | Wrong::Missing(name) => at.child(name),
        Wrong::Own { key: Some(key), .. } => key.clone(),
        Wrong::Own { .. } | Wrong::Value { .. } | Wrong::Word { .. } => narrow::<T>(whole, &fault),
    };
    Fault {
        at: exact,
        wrong: fault.wrong,
    }
}

/// Finds the key at fault in a table with a `kind`, which serde buffers without keeping track of
/// the keys: it is the key without which there is a different fault, or none. `kind` and `name` are
/// tried last, because they determine the meaning of the other keys.
fn narrow<T: DeserializeOwned>(whole: &Value, fault: &Fault) -> KeyPath {
    let mut at = fault.at.clone();
    loop {
        let mut copy = whole.clone();
        let Some(Value::Table(table)) = value_mut(&mut copy, &at) else {
            return at;
        };
        let mut keys: Vec<String> = table.keys().cloned().collect();
        keys.sort_by_key(|key| key == "kind" || key == "name");
        let guilty = keys.into_iter().find(|key| {
            let mut without = whole.clone();
            if let Some(Value::Table(table)) = value_mut(&mut without, &at) {
                table.remove(key);
            }
            match attempt::<T>(&without) {
                Ok(_) => true,
                Err(other) => other != *fault,
            }
        });
        match guilty {
            Some(key) => at = at.child(&key),
            None => return at,
        }
    }
}

fn value_mut<'a>(whole: &'a mut Value, at: &KeyPath) -> Option<&'a mut Value> {
    at.keys().iter().try_fold(whole, |value, key| match value {
        Value::Table(table) => table.get_mut(key),
        Value::Array(items) => {
            let index = key.trim_matches(['[', ']']).parse::<usize>().ok()?;
            items.get_mut(index)
        }
        _ => None,
    })
}

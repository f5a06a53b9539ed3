//! What a named loss says about itself: formula, parameters, source; and how it is built.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Loss;
use super::composition::Composition;
use crate::error::{Error, Result, closest};
pub use crate::range::Range;

/// One named loss.
#[derive(Debug)]
pub struct Definition {
    /// The name in TOML, lower case with hyphens.
    pub name: &'static str,
    /// The name that papers print.
    pub title: &'static str,
    /// The formula in plain text.
    pub formula: &'static str,
    /// The parameters with defaults and ranges.
    pub parameters: &'static [Parameter],
    /// Which published method it stands for, and where to read it.
    pub source: &'static str,
    /// When to choose it.
    pub when: &'static str,
    /// What is defined beyond the source, and what surprises; may be empty.
    pub notes: &'static str,
    /// How it is made.
    pub build: Build,
}

/// How a loss is made from its parameters.
#[derive(Debug)]
pub enum Build {
    /// As a composition of parts.
    Composition(fn(&Settings) -> Composition),
    /// With code of its own.
    Own(fn(&Settings) -> Arc<dyn Loss>),
}

/// A parameter of a named loss.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// The key in TOML.
    pub name: &'static str,
    /// The default.
    pub default: Value<&'static str>,
    /// What is accepted.
    pub range: Range,
    /// Unit: `logits`, `images`, `epochs` ...; empty for a pure number.
    pub unit: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

/// The value of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<S> {
    /// A number.
    Number(f64),
    /// A count.
    Integer(usize),
    /// One of some words.
    Choice(S),
    /// Yes or no.
    Flag(bool),
}

impl Parameter {
    /// A number without a unit.
    pub const fn number(
        name: &'static str,
        default: f64,
        range: Range,
        meaning: &'static str,
    ) -> Self {
        Parameter {
            name,
            default: Value::Number(default),
            range,
            unit: "",
            meaning,
        }
    }

    /// One of some words.
    pub const fn choice(
        name: &'static str,
        default: &'static str,
        words: &'static [&'static str],
        meaning: &'static str,
    ) -> Self {
        Parameter {
            name,
            default: Value::Choice(default),
            range: Range::OneOf(words),
            unit: "",
            meaning,
        }
    }

    /// Yes or no.
    pub const fn flag(name: &'static str, default: bool, meaning: &'static str) -> Self {
        Parameter {
            name,
            default: Value::Flag(default),
            range: Range::Flag,
            unit: "",
            meaning,
        }
    }

    /// A count of `unit`.
    pub const fn whole(
        name: &'static str,
        default: usize,
        unit: &'static str,
        meaning: &'static str,
    ) -> Self {
        Parameter {
            name,
            default: Value::Integer(default),
            range: Range::Whole,
            unit,
            meaning,
        }
    }

    /// The same parameter with a unit.
    pub const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// The same parameter with another default.
    pub const fn with_default(mut self, default: Value<&'static str>) -> Self {
        self.default = default;
        self
    }

    fn accept(&self, given: &toml::Value) -> Result<Value<String>> {
        let refuse = || {
            let shown = match given {
                toml::Value::String(text) => format!("`{text}`"),
                other => other.to_string(),
            };
            Error::input(
                format_args!("loss.{}", self.name),
                format_args!("is {shown}, expected {}", self.range),
            )
        };
        let number = || match *given {
            toml::Value::Float(x) => Some(x),
            toml::Value::Integer(i) => Some(i as f64),
            _ => None,
        };
        match self.range {
            Range::OneOf(words) => match given.as_str() {
                Some(word) if words.contains(&word) => Ok(Value::Choice(word.to_string())),
                Some(word) => {
                    let near = closest(word, words.iter().copied());
                    Err(match near {
                        Some(near) => refuse().hint(format_args!("did you mean `{near}`?")),
                        None => refuse(),
                    })
                }
                None => Err(refuse()),
            },
            Range::Flag => given.as_bool().map(Value::Flag).ok_or_else(refuse),
            Range::Whole => (given.as_integer())
                .and_then(|i| usize::try_from(i).ok())
                .map(Value::Integer)
                .ok_or_else(refuse),
            _ => number()
                .filter(|&x| self.range.holds(x))
                .map(Value::Number)
                .ok_or_else(refuse),
        }
    }
}

impl<S: AsRef<str>> fmt::Display for Value<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(x) => write!(f, "{x}"),
            Value::Integer(i) => write!(f, "{i}"),
            Value::Choice(word) => f.write_str(word.as_ref()),
            Value::Flag(flag) => write!(f, "{flag}"),
        }
    }
}

/// A value for every parameter of a loss, each within its range.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings(BTreeMap<&'static str, Value<String>>);

impl Settings {
    /// The defaults of `definition` with the values of `table` (without its `name`) in place of
    /// them. An unknown key, a wrong type or a value out of range is an error that names the key.
    pub fn new(definition: &'static Definition, table: &toml::Table) -> Result<Self> {
        let mut values = BTreeMap::new();
        for parameter in definition.parameters {
            let default = match parameter.default {
                Value::Number(x) => Value::Number(x),
                Value::Integer(i) => Value::Integer(i),
                Value::Choice(word) => Value::Choice(word.to_string()),
                Value::Flag(flag) => Value::Flag(flag),
            };
            values.insert(parameter.name, default);
        }
        for (key, value) in table.iter().filter(|(key, _)| *key != "name") {
            let parameter = (definition.parameters.iter())
                .find(|parameter| parameter.name == key)
                .ok_or_else(|| {
                    let accepted: Vec<&str> =
                        definition.parameters.iter().map(|p| p.name).collect();
                    let what = format!("parameter of `{}`", definition.name);
                    unknown(&format!("loss.{key}"), &what, key, &accepted)
                })?;
            values.insert(parameter.name, parameter.accept(value)?);
        }
        Ok(Settings(values))
    }

    /// The number `name`; a definition asks only for what it declares.
    pub fn number(&self, name: &str) -> f64 {
        match self.0.get(name) {
            Some(Value::Number(x)) => *x,
            _ => undeclared(name),
        }
    }

    /// The count `name`.
    pub fn integer(&self, name: &str) -> usize {
        match self.0.get(name) {
            Some(Value::Integer(i)) => *i,
            _ => undeclared(name),
        }
    }

    /// The flag `name`.
    pub fn flag(&self, name: &str) -> bool {
        match self.0.get(name) {
            Some(Value::Flag(flag)) => *flag,
            _ => undeclared(name),
        }
    }

    /// The word `name`, one of `table`, as the value beside it.
    pub fn choice<T: Copy>(&self, name: &str, table: &[(&str, T)]) -> T {
        let Some(Value::Choice(word)) = self.0.get(name) else {
            undeclared(name)
        };
        match table.iter().find(|(accepted, _)| accepted == word) {
            Some((_, value)) => *value,
            None => undeclared(name),
        }
    }

    /// All values as a TOML table.
    pub fn to_table(&self) -> toml::Table {
        (self.0.iter())
            .map(|(name, value)| {
                let value = match value {
                    Value::Number(x) => toml::Value::Float(*x),
                    Value::Integer(i) => toml::Value::Integer(*i as i64),
                    Value::Choice(word) => toml::Value::String(word.clone()),
                    Value::Flag(flag) => toml::Value::Boolean(*flag),
                };
                (name.to_string(), value)
            })
            .collect()
    }
}

/// A definition that reads what it has not declared: a mistake in the program, met by the test
/// that builds every loss, never one of the user's.
fn undeclared(name: &str) -> ! {
    unreachable!("a loss reads `{name}` without declaring it so")
}

/// The error for a name that is not among `accepted`, with the closest of them.
pub(super) fn unknown(place: &str, what: &str, given: &str, accepted: &[&str]) -> Error {
    let list = match accepted {
        [] => "there is none".to_string(),
        _ => {
            let quoted: Vec<String> = accepted.iter().map(|name| format!("`{name}`")).collect();
            format!("accepted: {}", quoted.join(", "))
        }
    };
    let error = Error::input(place, format_args!("`{given}` is no {what}; {list}"));
    match closest(given, accepted.iter().copied()) {
        Some(near) => error.hint(format_args!("did you mean `{near}`?")),
        None => error,
    }
}

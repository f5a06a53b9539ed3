//! Values of instances JSON in the various forms that tools write.

use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The id of an image or a category, only ever used as a key. `1`, `1.0` and `"1"` are the same id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Id {
    Number(i64),
    Text(Box<str>),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Number(number) => number.fmt(f),
            Id::Text(text) => text.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(IdVisitor)
    }
}

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = Id;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id (a whole number or a text)")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Id, E> {
        Ok(Id::Number(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Id, E> {
        Ok(match i64::try_from(number) {
            Ok(number) => Id::Number(number),
            Err(_) => Id::Text(number.to_string().into()),
        })
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Id, E> {
        // Beyond 2^53, distinct ids may have become the same number.
        match number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
            true => Ok(Id::Number(number as i64)),
            false => Err(E::custom(format_args!(
                "the id `{number}` is not a whole number"
            ))),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Id, E> {
        Ok(match text.parse::<i64>() {
            Ok(number) if number.to_string() == text => Id::Number(number),
            _ => Id::Text(text.into()),
        })
    }
}

/// A number, or `None` for any other value.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Number(pub Option<f64>);

/// The `ignore` flag: 0 and 1 as well as false and true.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flag(pub bool);

/// A box (left, top, width, height), or `None` for any other value.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bounds(pub Option<[f64; 4]>);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let value = json.deserialize_any(ValueVisitor)?;
        Ok(Number(value.number))
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let value = json.deserialize_any(ValueVisitor)?;
        Ok(Flag(value.number.is_some_and(|number| number != 0.0)))
    }
}

impl<'de> Deserialize<'de> for Bounds {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let value = json.deserialize_any(ValueVisitor)?;
        Ok(Bounds(value.bounds))
    }
}

/// Any JSON value, kept only if it is a number or four numbers.
#[derive(Default)]
struct Value {
    number: Option<f64>,
    bounds: Option<[f64; 4]>,
}

struct ValueVisitor;

impl ValueVisitor {
    fn number(number: f64) -> Value {
        Value {
            number: number.is_finite().then_some(number),
            bounds: None,
        }
    }
}

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Value, E> {
        Ok(Self::number(f64::from(u8::from(truth))))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Self::number(number as f64))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(Self::number(number as f64))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(Self::number(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" => Ok(Self::number(1.0)),
            number => Ok(number.parse().map(Self::number).unwrap_or_default()),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::default())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut sequence: S) -> Result<Value, S::Error> {
        let (mut sides, mut count) = ([None; 4], 0);
        while let Some(Number(number)) = sequence.next_element()? {
            if let Some(side) = sides.get_mut(count) {
                *side = number;
            }
            count += 1;
        }
        let bounds = match sides {
            [Some(x), Some(y), Some(w), Some(h)] if count == 4 => Some([x, y, w, h]),
            _ => None,
        };
        Ok(Value {
            number: None,
            bounds,
        })
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Value, M::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::default())
    }
}

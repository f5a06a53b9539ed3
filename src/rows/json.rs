//! Rows as JSON: the same fields under the same names, numbers as numbers, undefined values as
//! `null`.

use std::collections::BTreeSet;

use serde::de::value::{Error as Failed, StrDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::{Serialize, forward_to_deserialize_any};
use serde_json::Value;

use crate::error::{Error, Result};

/// Formats a list of objects, one per row. A number has the digits of its cell in the CSV file.
///
/// # Errors
/// Fails if a row cannot be written as JSON.
pub fn to_json<T: Serialize + DeserializeOwned>(rows: &[T]) -> Result<String> {
    Ok(format!("{:#}", values(rows)?))
}

/// Like [`to_json`], as a value.
pub(super) fn values<T: Serialize + DeserializeOwned>(rows: &[T]) -> Result<Value> {
    let failed = |e| Error::input("JSON", format_args!("cannot be written: {e}"));
    let numbers = number_fields::<T>();
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        let mut value = serde_json::to_value(row).map_err(failed)?;
        for (name, field) in value.as_object_mut().into_iter().flatten() {
            // Cells contain their digits as text.
            let digits = field.as_str().filter(|_| numbers.contains(name.as_str()));
            if let Some(digits) = digits {
                *field = number(digits);
            }
        }
        values.push(value);
    }
    Ok(values.into())
}

/// Returns the number in a cell; `null` if it is not finite, which JSON cannot represent.
pub(super) fn number(digits: &str) -> Value {
    serde_json::from_str(digits).unwrap_or(Value::Null)
}

/// Returns the names of a row's fields that are numbers, or numbers that may be undefined.
fn number_fields<T: DeserializeOwned>() -> BTreeSet<&'static str> {
    let mut numbers = BTreeSet::new();
    // The result does not matter, only what was asked for.
    let _ = T::deserialize(Row(&mut numbers));
    numbers
}

/// A deserializer that provides a row of zeros and empty texts, and records the names of the
/// numbers.
struct Row<'a>(&'a mut BTreeSet<&'static str>);

impl<'de> Deserializer<'de> for Row<'_> {
    type Error = Failed;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Failed> {
        Err(serde::de::Error::custom("a row is a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        visitor.visit_map(Fields {
            names: fields.iter(),
            name: "",
            numbers: self.0,
        })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Fields<'a> {
    names: std::slice::Iter<'static, &'static str>,
    name: &'static str,
    numbers: &'a mut BTreeSet<&'static str>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Failed;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failed> {
        let Some(name) = self.names.next() else {
            return Ok(None);
        };
        self.name = name;
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failed> {
        seed.deserialize(Field {
            name: self.name,
            numbers: self.numbers,
        })
    }
}

struct Field<'a> {
    name: &'static str,
    numbers: &'a mut BTreeSet<&'static str>,
}

impl<'de> Deserializer<'de> for Field<'_> {
    type Error = Failed;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_str("")
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.numbers.insert(self.name);
        visitor.visit_f64(0.0)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_u64(0)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_u64(0)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_bool(false)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let first = variants.first().copied().unwrap_or_default();
        visitor.visit_enum(StrDeserializer::new(first))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u128 char str string bytes byte_buf
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::rows::number;

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Part {
        HeadClass,
    }

    #[derive(Serialize, Deserialize)]
    struct Line {
        class: String,
        part: Part,
        images: usize,
        #[serde(serialize_with = "number::full_or_empty")]
        score: Option<f64>,
        #[serde(serialize_with = "number::three_decimals")]
        seconds: f64,
        good: bool,
    }

    #[test]
    fn a_number_is_one_and_a_name_of_digits_none() {
        let line = |score| Line {
            class: "7".into(),
            part: Part::HeadClass,
            images: 3,
            score,
            seconds: 0.5,
            good: true,
        };
        let text = to_json(&[line(Some(0.1)), line(None)]).unwrap();
        let expected = r#"[{"class": "7", "part": "head-class", "images": 3, "score": 0.1,
            "seconds": 0.500, "good": true},
            {"class": "7", "part": "head-class", "images": 3, "score": null,
            "seconds": 0.5, "good": true}]"#;
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(read(&text), read(expected));
    }
}

//! A stretch of the training: so many of something, or a part of the whole.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A stretch of the training. In TOML a whole number is a count (of what, the key says) and a
/// number below 1 with a decimal point is a part of the whole training: `500`, `0.1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Extent {
    /// So many.
    Count(usize),
    /// A part of all steps, in [0, 1).
    Part(f64),
}

impl Extent {
    /// The stretch in steps of a training of `total` steps, where one of a count is `unit` steps
    /// long. A part is rounded up to a whole step.
    pub fn steps(self, unit: usize, total: usize) -> usize {
        match self {
            Extent::Count(count) => count.saturating_mul(unit),
            Extent::Part(part) => (part * total as f64).ceil() as usize,
        }
    }

    /// True where `points` lie one after another, all above 0 and all of one kind.
    pub fn ascend(points: &[Extent]) -> bool {
        let nothing = |point: &Extent| matches!(*point, Extent::Count(0) | Extent::Part(0.0));
        let in_order = points.windows(2).all(|pair| match pair {
            [Extent::Count(a), Extent::Count(b)] => a <= b,
            [Extent::Part(a), Extent::Part(b)] => a <= b,
            _ => false,
        });
        in_order && !points.iter().any(nothing)
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Extent::Count(count) => write!(f, "{count}"),
            Extent::Part(part) => write!(f, "{part}"),
        }
    }
}

impl Serialize for Extent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Extent::Count(count) => serializer.serialize_u64(*count as u64),
            Extent::Part(part) => serializer.serialize_f64(*part),
        }
    }
}

impl<'de> Deserialize<'de> for Extent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Extent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a whole number at or above 0, or a part of the training from 0 to below 1",
                )
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Extent, E> {
                let refuse = || E::invalid_value(de::Unexpected::Unsigned(count), &self);
                usize::try_from(count)
                    .map(Extent::Count)
                    .map_err(|_| refuse())
            }

            fn visit_i64<E: de::Error>(self, count: i64) -> Result<Extent, E> {
                let refuse = || E::invalid_value(de::Unexpected::Signed(count), &self);
                usize::try_from(count)
                    .map(Extent::Count)
                    .map_err(|_| refuse())
            }

            fn visit_f64<E: de::Error>(self, part: f64) -> Result<Extent, E> {
                match (0.0..1.0).contains(&part) {
                    true => Ok(Extent::Part(part)),
                    false => Err(E::invalid_value(de::Unexpected::Float(part), &self)),
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

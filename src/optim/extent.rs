//! Lengths of parts of the training, given as a count or as a fraction of the whole.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::wording::counted;

/// A stretch of the training. In TOML a whole number is a count (of what, the key says), a number
/// below 1 with a decimal point is a part of the whole training, and a text says its unit: `500`,
/// `0.1`, `"500 steps"`, `"2 epochs"`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Extent {
    /// So many of what the key is counted in.
    Count(usize),
    /// A part of all steps, in [0, 1).
    Part(f64),
    /// So many steps.
    Steps(usize),
    /// So many epochs.
    Epochs(usize),
}

/// The unit in which the key of an [`Extent`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Optimiser steps.
    Step,
    /// Epochs.
    Epoch,
}

impl Extent {
    /// Returns the length in steps, possibly fractional, in a training of `epochs` epochs of
    /// `steps_per_epoch` steps; a count is in `unit`.
    pub fn exact(self, unit: Unit, steps_per_epoch: usize, epochs: usize) -> f64 {
        let epoch = steps_per_epoch as f64;
        match (self, unit) {
            (Extent::Part(part), _) => part * steps_per_epoch.saturating_mul(epochs) as f64,
            (Extent::Steps(count), _) | (Extent::Count(count), Unit::Step) => count as f64,
            (Extent::Epochs(count), _) | (Extent::Count(count), Unit::Epoch) => {
                count as f64 * epoch
            }
        }
    }

    /// Like [`exact`](Self::exact), rounded up to whole steps.
    pub fn steps(self, unit: Unit, steps_per_epoch: usize, epochs: usize) -> usize {
        self.exact(unit, steps_per_epoch, epochs).ceil() as usize
    }

    /// Returns true for a length of zero.
    pub fn is_nothing(&self) -> bool {
        match *self {
            Extent::Count(count) | Extent::Steps(count) | Extent::Epochs(count) => count == 0,
            Extent::Part(part) => part == 0.0,
        }
    }

    /// Returns true if `points` never descend, and are all above 0 and all of the same variant.
    pub fn ascend(points: &[Extent]) -> bool {
        let in_order = points.windows(2).all(|pair| match pair {
            [Extent::Count(a), Extent::Count(b)]
            | [Extent::Steps(a), Extent::Steps(b)]
            | [Extent::Epochs(a), Extent::Epochs(b)] => a <= b,
            [Extent::Part(a), Extent::Part(b)] => a <= b,
            _ => false,
        });
        in_order && !points.iter().any(Extent::is_nothing)
    }

    /// Parses a text such as `2 epochs`.
    fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.trim().split_once(' ')?;
        let count = count.parse().ok()?;
        match unit.trim() {
            "step" | "steps" => Some(Extent::Steps(count)),
            "epoch" | "epochs" => Some(Extent::Epochs(count)),
            _ => None,
        }
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Extent::Count(count) => write!(f, "{count}"),
            Extent::Part(part) => write!(f, "{part}"),
            Extent::Steps(count) => f.write_str(&counted(*count, "step")),
            Extent::Epochs(count) => f.write_str(&counted(*count, "epoch")),
        }
    }
}

impl Serialize for Extent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Extent::Count(count) => serializer.serialize_u64(*count as u64),
            Extent::Part(part) => serializer.serialize_f64(*part),
            Extent::Steps(_) | Extent::Epochs(_) => serializer.collect_str(self),
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
                    "a whole number at or above 0, a fraction of the training from 0 to below 1, or a \
                     text such as `2 epochs`",
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

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Extent, E> {
                let refuse = || E::invalid_value(de::Unexpected::Str(text), &self);
                Extent::parse(text).ok_or_else(refuse)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

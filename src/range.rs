//! The accepted values of configuration keys (numbers, words, flags): each range both checks a
//! value and describes itself.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, KeyPath, Result};

thread_local! {
    /// The ranges checked since recording began.
    static HEARD: RefCell<Option<BTreeMap<KeyPath, Range>>> = const { RefCell::new(None) };
}

/// The values that a key accepts. Its text completes «expected ...».
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Range {
    /// Any finite number.
    Finite,
    /// A number above 0.
    Positive,
    /// A number greater than or equal to 0.
    NotNegative,
    /// A number between two, both included.
    Within(f64, f64),
    /// A number at or above the first and below the second.
    Below(f64, f64),
    /// A number above the first and at or below the second.
    Above(f64, f64),
    /// A number between two, both excluded.
    Between(f64, f64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number, 0 or more.
    Whole,
    /// A whole number, this or more.
    AtLeast(i64),
    /// A whole number between two, both included.
    WholeWithin(i64, i64),
    /// `true` or `false`.
    Flag,
}

impl Range {
    /// Returns whether the number is in the range. Words and flags accept every finite number.
    pub fn holds(&self, x: f64) -> bool {
        let whole = || x.fract() == 0.0;
        x.is_finite()
            && match *self {
                Range::Positive => x > 0.0,
                Range::NotNegative => x >= 0.0,
                Range::Within(low, high) => (low..=high).contains(&x),
                Range::Below(low, high) => (low..high).contains(&x),
                Range::Above(low, high) => x > low && x <= high,
                Range::Between(low, high) => x > low && x < high,
                Range::Whole => x >= 0.0 && whole(),
                Range::AtLeast(least) => x >= least as f64 && whole(),
                Range::WholeWithin(low, high) => (low as f64..=high as f64).contains(&x) && whole(),
                Range::Finite | Range::OneOf(_) | Range::Flag => true,
            }
    }

    /// Rejects a number outside the range: «is -1, expected a number above 0».
    pub fn check(&self, at: &KeyPath, x: f64) -> Result<()> {
        self.note(at);
        match self.holds(x) {
            true => Ok(()),
            false => Err(self.refuse(at, x)),
        }
    }

    /// Rejects a whole number outside the range.
    pub fn check_whole<N>(&self, at: &KeyPath, n: N) -> Result<()>
    where
        N: TryInto<i128> + fmt::Display + Copy,
    {
        self.note(at);
        // Exact where an f64 would round.
        let n_exact: i128 = n.try_into().unwrap_or(i128::MAX);
        let good = match *self {
            Range::AtLeast(least) => n_exact >= least.into(),
            Range::WholeWithin(low, high) => (low.into()..=high.into()).contains(&n_exact),
            _ => self.holds(n_exact as f64),
        };
        match good {
            true => Ok(()),
            false => Err(self.refuse(at, n)),
        }
    }

    /// Records which ranges `work` checks, by key. Ranges are written only in the checks, and this
    /// is how the reference of keys obtains them.
    pub fn listen(work: impl FnOnce()) -> BTreeMap<KeyPath, Range> {
        HEARD.with_borrow_mut(|heard| *heard = Some(BTreeMap::new()));
        work();
        HEARD.take().unwrap_or_default()
    }

    fn note(&self, at: &KeyPath) {
        HEARD.with_borrow_mut(|heard| {
            if let Some(heard) = heard {
                heard.insert(at.clone(), *self);
            }
        });
    }

    /// Makes the error for a value that is not accepted; `shown` is the value as text.
    pub fn refuse(&self, at: &KeyPath, shown: impl fmt::Display) -> Error {
        Error::key(at, format_args!("is {shown}, expected {self}"))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Range::Finite => f.write_str("a finite number"),
            Range::Positive => f.write_str("a number above 0"),
            Range::NotNegative => f.write_str("a number at or above 0"),
            Range::Within(low, high) => write!(f, "a number from {low} to {high}"),
            Range::Below(low, high) => write!(f, "a number from {low} to below {high}"),
            Range::Above(low, high) => write!(f, "a number above {low} and at most {high}"),
            Range::Between(low, high) => write!(f, "a number above {low} and below {high}"),
            Range::OneOf(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                write!(f, "one of {}", words.join(", "))
            }
            Range::Whole => f.write_str("a whole number at or above 0"),
            Range::AtLeast(least) => write!(f, "a whole number at or above {least}"),
            Range::WholeWithin(low, high) => write!(f, "a whole number from {low} to {high}"),
            Range::Flag => f.write_str("`true` or `false`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_in_or_out_as_the_text_says() {
        let at = KeyPath::from("train.epochs");
        for (range, good, bad) in [
            (
                Range::Above(0.0, 1.0),
                vec![1.0, 0.5],
                vec![0.0, 1.1, f64::NAN],
            ),
            (Range::Below(0.0, 1.0), vec![0.0, 0.5], vec![1.0, -0.1]),
            (Range::Between(0.0, 1.0), vec![0.5], vec![0.0, 1.0]),
            (Range::Within(0.0, 1.0), vec![0.0, 1.0], vec![1.1]),
            (Range::AtLeast(2), vec![2.0, 7.0], vec![1.0, 2.5]),
            (Range::Finite, vec![-1e9], vec![f64::INFINITY]),
        ] {
            assert!(good.iter().all(|&x| range.check(&at, x).is_ok()), "{range}");
            assert!(bad.iter().all(|&x| range.check(&at, x).is_err()), "{range}");
        }
        let error = Range::AtLeast(1).check_whole(&at, 0usize).unwrap_err();
        assert_eq!(
            error.to_string(),
            "train.epochs: is 0, expected a whole number at or above 1"
        );
        // 2^63 - 1 and 2^63 are the same f64.
        let seed = Range::WholeWithin(0, i64::MAX);
        assert!(seed.check_whole(&at, i64::MAX as u64).is_ok());
        assert!(seed.check_whole(&at, i64::MAX as u64 + 1).is_err());
    }
}

//! Scores and their sort keys, the basis of tables and of sorting.

/// A score: `f32` or `f64`.
pub trait Score: Copy + Send + Sync + PartialOrd {
    /// Converts the score to f64.
    fn to_f64(self) -> f64;
    /// Returns a key that sorts like the scores in descending order; equal scores (including 0 and
    /// -0) have equal keys.
    fn descending_key(self) -> u64;
    /// The entry that is sorted: the key with a payload.
    type Entry: Entry;
}

/// One entry of a class: the key of its score, and a payload (a target or an image).
pub trait Entry: Copy + Default + Send + Sync {
    /// Number of low bits of the key that are used.
    const KEY_BITS: u32;
    /// Makes an entry.
    fn new(key: u64, payload: u32) -> Self;
    /// Returns the key of the score.
    fn key(self) -> u64;
    /// Returns the payload.
    fn payload(self) -> u32;
}

impl Score for f32 {
    type Entry = u64;

    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    fn descending_key(self) -> u64 {
        // Adding 0 turns -0 into 0. Positive floats sort like their bit patterns, negative ones the
        // other way round; the key counts down from the largest.
        let bits = (self + 0.0).to_bits();
        let ascending = if bits >> 31 == 0 {
            bits | 1 << 31
        } else {
            !bits
        };
        u64::from(!ascending)
    }
}

impl Score for f64 {
    type Entry = (u64, u32);

    fn to_f64(self) -> f64 {
        self
    }

    fn descending_key(self) -> u64 {
        let bits = (self + 0.0).to_bits();
        let ascending = if bits >> 63 == 0 {
            bits | 1 << 63
        } else {
            !bits
        };
        !ascending
    }
}

/// Key and payload of an f32 in one word, which halves the memory moved while sorting.
impl Entry for u64 {
    const KEY_BITS: u32 = 32;

    fn new(key: u64, payload: u32) -> Self {
        key << 32 | u64::from(payload)
    }

    fn key(self) -> u64 {
        self >> 32
    }

    fn payload(self) -> u32 {
        self as u32
    }
}

/// Key and payload of an f64.
impl Entry for (u64, u32) {
    const KEY_BITS: u32 = 64;

    fn new(key: u64, payload: u32) -> Self {
        (key, payload)
    }

    fn key(self) -> u64 {
        self.0
    }

    fn payload(self) -> u32 {
        self.1
    }
}

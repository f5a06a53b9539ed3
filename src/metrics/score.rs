//! What a score is, and the word it is sorted in: the ground of tables and of sorting.

/// A score: `f32` or `f64`.
pub trait Score: Copy + Send + Sync + PartialOrd {
    /// The score as f64.
    fn to_f64(self) -> f64;
    /// A number that orders as the score does, the largest score first; equal scores (0 and -0
    /// too) have equal keys.
    fn descending_key(self) -> u64;
    /// The key with a payload, as it is sorted.
    type Entry: Entry;
}

/// One entry of a class: its score's key, and a payload (a target, an image).
pub trait Entry: Copy + Default + Send + Sync {
    /// How many low bits of the key are in use.
    const KEY_BITS: u32;
    /// An entry.
    fn new(key: u64, payload: u32) -> Self;
    /// The key of the score.
    fn key(self) -> u64;
    /// The payload.
    fn payload(self) -> u32;
}

impl Score for f32 {
    type Entry = u64;

    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    fn descending_key(self) -> u64 {
        // Adding 0 turns -0 into 0. Positive floats order as their bits do, negative ones the
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

/// Key and payload of an f32 in one word: half the memory to move while sorting.
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

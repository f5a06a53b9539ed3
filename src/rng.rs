//! Random numbers from named streams.
//!
//! A stream is keyed by (seed, name, epoch, index), and a draw depends on nothing else: results do
//! not depend on the number of workers, and a resumed run needs no generator state.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A deterministic stream of random numbers, portable across machines.
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// Returns the stream `name` of a run with `seed`, at `epoch` and `index` (of an image or a
    /// step; 0 if there is only one).
    pub fn new(seed: u64, name: &str, epoch: u64, index: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        for number in [seed, epoch, index] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(name.as_bytes());
        Stream(ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()))
    }

    /// Skips `count` 64-bit draws, which the caller makes elsewhere. Returns the key of the ChaCha8
    /// stream and the number of the first skipped draw.
    pub fn skip(&mut self, count: usize) -> ([u8; 32], usize) {
        let first = self.0.get_word_pos() / 2;
        self.0.set_word_pos((first + count as u128) * 2);
        (self.0.get_seed(), first as usize)
    }

    /// Returns 64 uniformly random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Returns a uniform number in [0, 1), with 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns a uniform number in [`low`, `high`).
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Returns true with probability `probability`.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Returns a uniform integer in 0..`bound`, without bias; 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // Lemire's multiplication method; the rejection makes all values equally likely.
        let bound = bound as u64;
        if bound == 0 {
            return 0;
        }
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(bound);
            if product as u64 >= threshold {
                return (product >> 64) as usize;
            }
        }
    }

    /// Returns a standard normal number by the Box-Muller transform, one value per call, so that
    /// the number of draws does not depend on earlier calls.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Shuffles in place (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_in_every_part_of_the_key() {
        let first = |seed, name, epoch, index| Stream::new(seed, name, epoch, index).next_u64();
        let base = first(0, "a", 0, 0);
        assert_eq!(base, first(0, "a", 0, 0));
        for other in [
            first(1, "a", 0, 0),
            first(0, "b", 0, 0),
            first(0, "a", 1, 0),
            first(0, "a", 0, 1),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut stream = Stream::new(7, "moments", 0, 0);
        let n = 200_000;
        let (mut mean, mut square) = (0.0, 0.0);
        for _ in 0..n {
            let z = stream.normal();
            mean += z / n as f64;
            square += z * z / n as f64;
        }
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((square - 1.0).abs() < 0.02, "{square}");
        let mut histogram = [0usize; 3];
        (0..30_000).for_each(|_| histogram[stream.below(3)] += 1);
        assert!(
            histogram.iter().all(|&h| (9_600..10_400).contains(&h)),
            "{histogram:?}"
        );
    }

    #[test]
    fn draws_that_are_passed_over_are_those_that_would_have_been_made() {
        let (mut drawn, mut passed) = (Stream::new(3, "s", 0, 0), Stream::new(3, "s", 0, 0));
        let mut first = 0;
        for count in [0, 3, 8, 70] {
            (0..count).for_each(|_| _ = drawn.next_u64());
            assert_eq!(passed.skip(count).1, first);
            first += count;
            assert_eq!(drawn.next_u64(), passed.next_u64());
            first += 1;
        }
    }

    #[test]
    fn shuffle_is_a_permutation() {
        let mut items: Vec<usize> = (0..100).collect();
        Stream::new(1, "shuffle", 0, 0).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}

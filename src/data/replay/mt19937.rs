//! The random numbers of CPython's `random` module.

use super::int_set::IntSet;

const N: usize = 624;
const M: usize = 397;

/// MT19937 (Matsumoto and Nishimura 1998) with CPython's seeding and its `random.sample`.
pub struct PythonRandom {
    state: [u32; N],
    at: usize,
}

impl PythonRandom {
    /// `random.seed(seed)` for a non-negative integer.
    pub fn new(seed: u64) -> Self {
        // The key consists of the 32-bit words of the number, least significant first; 0 has one
        // word.
        let words = [seed as u32, (seed >> 32) as u32];
        let key = &words[..if words[1] == 0 { 1 } else { 2 }];
        let mut random = PythonRandom {
            state: [0; N],
            at: N,
        };
        random.init_genrand(19_650_218);
        random.init_by_array(key);
        random
    }

    fn init_genrand(&mut self, seed: u32) {
        self.state[0] = seed;
        for i in 1..N {
            let previous = self.state[i - 1];
            self.state[i] = 1_812_433_253u32
                .wrapping_mul(previous ^ (previous >> 30))
                .wrapping_add(i as u32);
        }
    }

    fn init_by_array(&mut self, key: &[u32]) {
        let (mut i, mut j) = (1, 0);
        for _ in 0..N.max(key.len()) {
            let previous = self.state[i - 1];
            self.state[i] = (self.state[i] ^ (previous ^ (previous >> 30)).wrapping_mul(1_664_525))
                .wrapping_add(key[j])
                .wrapping_add(j as u32);
            i = self.wrap(i + 1);
            j = (j + 1) % key.len();
        }
        for _ in 0..N - 1 {
            let previous = self.state[i - 1];
            self.state[i] = (self.state[i]
                ^ (previous ^ (previous >> 30)).wrapping_mul(1_566_083_941))
            .wrapping_sub(i as u32);
            i = self.wrap(i + 1);
        }
        self.state[0] = 0x8000_0000;
    }

    /// Past the end, the last word is copied to the front.
    fn wrap(&mut self, i: usize) -> usize {
        if i < N {
            return i;
        }
        self.state[0] = self.state[N - 1];
        1
    }

    /// Returns the next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.at == N {
            for i in 0..N {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
                let twist = if y & 1 == 0 { 0 } else { 0x9908_b0df };
                self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ twist;
            }
            self.at = 0;
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// `random.getrandbits(bits)` for 1 to 32 bits.
    fn bits(&mut self, bits: u32) -> u32 {
        self.next_u32() >> (32 - bits)
    }

    /// `random.randrange(bound)` for a bound of 1 to 2^31: numbers with as many bits as the bound
    /// are drawn until one is below it.
    pub fn below(&mut self, bound: usize) -> usize {
        let bits = usize::BITS - bound.leading_zeros();
        loop {
            let draw = self.bits(bits) as usize;
            if draw < bound {
                return draw;
            }
        }
    }

    /// `random.sample(population, k)`; k is at most the population's size.
    ///
    /// Small populations are partially shuffled; for large ones, indices are drawn until they are
    /// new. The choice depends on the sizes and affects the result.
    pub fn sample(&mut self, population: &[u32], k: usize) -> Vec<u32> {
        let n = population.len();
        let mut set_size = 21;
        if k > 5 {
            // 4^ceil(log4(3 k)): the size of the table for a set of k integers.
            let mut power = 1;
            while power < 3 * k {
                power *= 4;
            }
            set_size += power;
        }
        if n <= set_size {
            let mut pool = population.to_vec();
            return (0..k.min(n))
                .map(|i| {
                    let j = self.below(n - i);
                    let drawn = pool[j];
                    pool[j] = pool[n - i - 1];
                    drawn
                })
                .collect();
        }
        let mut taken = vec![false; n];
        (0..k)
            .map(|_| {
                loop {
                    let j = self.below(n);
                    if !std::mem::replace(&mut taken[j], true) {
                        return population[j];
                    }
                }
            })
            .collect()
    }

    /// `random.sample(tuple(set), k)`.
    pub fn sample_set(&mut self, set: &IntSet, k: usize) -> Vec<u32> {
        let tuple: Vec<u32> = set.iter().collect();
        self.sample(&tuple, k)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `python3 -c "import random; random.seed(S); print([random.getrandbits(32) for _ in range(4)])"`
    #[test]
    fn words_are_pythons() {
        let words = |seed| {
            let mut random = PythonRandom::new(seed);
            [(); 4].map(|()| random.next_u32())
        };
        assert_eq!(words(0), [3626764237, 1654615998, 3255389356, 3823568514]);
        assert_eq!(
            words(12_345_678_901_234),
            [107551873, 2403399316, 624174316, 3544851618]
        );
    }

    /// `random.seed(0); [random.randrange(n) for n in (1, 2, 3, 10, 1000, 118287)]`
    #[test]
    fn bounded_draws_are_pythons() {
        let mut random = PythonRandom::new(0);
        let draws = [1, 2, 3, 10, 1000, 118_287].map(|n| random.below(n));
        assert_eq!(draws, [0, 1, 0, 4, 988, 67013]);
    }

    /// `random.seed(0); random.sample(range(30), 4); random.sample(range(1000), 8);
    /// random.sample(range(20), 20)`: by redrawing, by redrawing, by shuffling.
    #[test]
    fn samples_are_pythons_both_ways() {
        let mut random = PythonRandom::new(0);
        let range = |n| (0..n).collect::<Vec<u32>>();
        assert_eq!(random.sample(&range(30), 4), [27, 12, 24, 28]);
        assert_eq!(
            random.sample(&range(1000), 8),
            [430, 41, 265, 988, 523, 497, 414, 940]
        );
        assert_eq!(
            random.sample(&range(20), 20),
            [
                9, 15, 11, 6, 4, 18, 2, 12, 1, 19, 14, 8, 13, 7, 0, 5, 16, 17, 10, 3
            ]
        );
    }

    /// The thousandth word and a sum over 5,000 verify the regeneration of the state:
    /// `random.seed(0); w = [random.getrandbits(32) for _ in range(5000)]; w[999], sum(w)`.
    #[test]
    fn later_words_are_pythons() {
        let mut random = PythonRandom::new(0);
        let words: Vec<u32> = (0..5000).map(|_| random.next_u32()).collect();
        assert_eq!(words[999], 2971151651);
        let sum: u64 = words.iter().map(|&w| u64::from(w)).sum();
        assert_eq!(sum, 10763460337785);
    }
}

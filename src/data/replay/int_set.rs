//! CPython's `set` of small non-negative integers, with its iteration order.
//!
//! An integer hashes to itself and the table is scanned from slot 0, so the order follows from the
//! size of the table and from earlier insertions and removals. Checked against CPython 3.11; the
//! released list, drawn by an older version, is reproduced as well.

/// Number of consecutive slots probed after the first, unless the end of the table is near.
const LINEAR_PROBES: usize = 9;
/// Bits of the hash mixed in at each jump.
const PERTURB_SHIFT: u32 = 5;
/// The smallest table size.
const MIN_SIZE: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Empty,
    /// A removed element: searches continue past it.
    Dummy,
    Held(u32),
}

/// A `set` of integers.
#[derive(Debug, Clone)]
pub struct IntSet {
    table: Vec<Slot>,
    /// Number of held and dummy slots.
    fill: usize,
    /// Number of held slots.
    used: usize,
}

impl Default for IntSet {
    fn default() -> Self {
        IntSet {
            table: vec![Slot::Empty; MIN_SIZE],
            fill: 0,
            used: 0,
        }
    }
}

impl FromIterator<u32> for IntSet {
    /// `set(list)`: inserts one element after the other.
    fn from_iter<I: IntoIterator<Item = u32>>(keys: I) -> Self {
        let mut set = IntSet::default();
        keys.into_iter().for_each(|key| set.add(key));
        set
    }
}

impl IntSet {
    /// `len(set)`
    pub fn len(&self) -> usize {
        self.used
    }

    /// `len(set) == 0`
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Returns the elements in CPython's order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.table.iter().filter_map(|slot| match slot {
            Slot::Held(key) => Some(*key),
            _ => None,
        })
    }

    /// Returns the slot that holds `key`, or the empty slot at which the search ends, together with
    /// the last dummy passed on the way.
    fn find(&self, key: u32) -> (usize, Option<usize>) {
        let mask = self.table.len() - 1;
        let mut perturb = key as usize;
        let mut i = perturb & mask;
        let mut dummy = None;
        loop {
            let probes = match i + LINEAR_PROBES <= mask {
                true => LINEAR_PROBES,
                false => 0,
            };
            for (at, slot) in self.table[i..=i + probes].iter().enumerate() {
                match slot {
                    Slot::Empty => return (i + at, dummy),
                    Slot::Held(held) if *held == key => return (i + at, dummy),
                    Slot::Held(_) => {}
                    Slot::Dummy => dummy = Some(i + at),
                }
            }
            perturb >>= PERTURB_SHIFT;
            i = (i * 5 + 1 + perturb) & mask;
        }
    }

    /// `key in set`
    pub fn contains(&self, key: u32) -> bool {
        self.table[self.find(key).0] == Slot::Held(key)
    }

    /// `set.add(key)`
    pub fn add(&mut self, key: u32) {
        let (at, dummy) = self.find(key);
        if self.table[at] == Slot::Held(key) {
            return;
        }
        self.used += 1;
        if let Some(dummy) = dummy {
            self.table[dummy] = Slot::Held(key);
            return;
        }
        self.table[at] = Slot::Held(key);
        self.fill += 1;
        if self.fill * 5 >= (self.table.len() - 1) * 3 {
            self.resize(self.growth());
        }
    }

    /// `set.discard(key)`
    pub fn discard(&mut self, key: u32) {
        let (at, _) = self.find(key);
        if self.table[at] == Slot::Held(key) {
            self.table[at] = Slot::Dummy;
            self.used -= 1;
        }
    }

    /// `set - other`
    ///
    /// If the set is more than four times as large as the other, the other's elements are removed
    /// from a copy; otherwise the elements that the other lacks are added to a new set, in order.
    pub fn difference(&self, other: &IntSet) -> IntSet {
        if self.used >> 2 > other.used {
            let mut result = self.copy();
            other.iter().for_each(|key| result.discard(key));
            // A table with many dummies is rebuilt.
            if result.fill - result.used > (result.table.len() - 1) / 4 {
                result.resize(result.growth());
            }
            return result;
        }
        self.iter().filter(|&key| !other.contains(key)).collect()
    }

    /// `set.copy()`, also `set(set)`: the table is sized at once, and dummies are not copied.
    pub fn copy(&self) -> IntSet {
        let mut result = IntSet::default();
        if self.used * 5 >= (result.table.len() - 1) * 3 {
            result.resize(self.used * 2);
        }
        if result.table.len() == self.table.len() && self.fill == self.used {
            result.table.copy_from_slice(&self.table);
        } else {
            self.iter().for_each(|key| result.insert_clean(key));
        }
        result.fill = self.used;
        result.used = self.used;
        result
    }

    /// Returns the number of elements the table should have room for when it grows.
    fn growth(&self) -> usize {
        match self.used > 50_000 {
            true => self.used * 2,
            false => self.used * 4,
        }
    }

    /// Reinserts all elements, in order, into a table with more than `min_used` slots.
    fn resize(&mut self, min_used: usize) {
        let mut size = MIN_SIZE;
        while size <= min_used {
            size *= 2;
        }
        let old = std::mem::replace(&mut self.table, vec![Slot::Empty; size]);
        for slot in old {
            if let Slot::Held(key) = slot {
                self.insert_clean(key);
            }
        }
        self.fill = self.used;
    }

    /// Inserts a key that is not in the set.
    fn insert_clean(&mut self, key: u32) {
        let (at, _) = self.find(key);
        self.table[at] = Slot::Held(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(set: &IntSet) -> Vec<u32> {
        set.iter().collect()
    }

    /// `list({9, 1, 8, 0, 16})` and similar.
    #[test]
    fn small_sets_are_in_pythons_order() {
        let list = |keys: &[u32]| order(&keys.iter().copied().collect());
        assert_eq!(list(&[9, 1, 8, 0, 16]), [0, 1, 8, 9, 16]);
        assert_eq!(list(&[8, 16, 24, 32, 1]), [32, 1, 8, 16, 24]);
        assert_eq!(
            list(&[100_000, 77, 13, 1_000, 45, 4_096, 5]),
            [100000, 4096, 5, 1000, 13, 45, 77]
        );
    }

    /// `lcg` in the Python below: x = (x * 6364136223846793005 + 1442695040888963407) % 2**64,
    /// starting at 1, each element being (x >> 33) % 118287.
    fn keys() -> Vec<u32> {
        let mut x = 1u64;
        (0..70_000)
            .map(|_| {
                x = (x.wrapping_mul(6_364_136_223_846_793_005))
                    .wrapping_add(1_442_695_040_888_963_407);
                ((x >> 33) % 118_287) as u32
            })
            .collect()
    }

    fn set(keys: &[u32]) -> IntSet {
        keys.iter().copied().collect()
    }

    /// Condenses the order into one number: `for x in s: h = (h * 31 + x) % (2**61 - 1)`.
    fn order_hash(set: &IntSet) -> u64 {
        set.iter().fold(0, |h, x| {
            ((u128::from(h) * 31 + u128::from(x)) % ((1 << 61) - 1)) as u64
        })
    }

    /// `set(lcg)`, 52,779 elements: beyond the size at which growth slows down.
    #[test]
    fn a_large_set_is_in_pythons_order() {
        let set = set(&keys());
        assert_eq!(set.len(), 52_779);
        assert_eq!(order_hash(&set), 2073233089012765525);
    }

    /// `b = set(lcg[:3000])`, `b - set(lcg[1000:3500])`, `b - set(lcg[:300])`,
    /// `set(range(0, 4000, 7)) - set(range(0, 900, 7))`
    #[test]
    fn differences_are_in_pythons_order() {
        let keys = keys();
        let b = set(&keys[..3000]);
        assert_eq!(
            order_hash(&b.difference(&set(&keys[1000..3500]))),
            2142135031663944389
        );
        assert_eq!(
            order_hash(&b.difference(&set(&keys[..300]))),
            320159719501530672
        );
        let steps = |end| (0..end).step_by(7).collect::<IntSet>();
        let rest = steps(4000).difference(&steps(900));
        assert_eq!((rest.len(), order_hash(&rest)), (443, 154677071705346504));
    }

    /// `e = set(b)`, then `e.discard(k) for k in lcg[:2500]`, `e.add(k) for k in lcg[5000:5400]`,
    /// and the copy `set(e)`, whose order differs.
    #[test]
    fn removed_elements_leave_their_mark() {
        let keys = keys();
        let mut e = set(&keys[..3000]).copy();
        keys[..2500].iter().for_each(|&k| e.discard(k));
        keys[5000..5400].iter().for_each(|&k| e.add(k));
        assert_eq!((e.len(), order_hash(&e)), (879, 362808660125237605));
        assert_eq!(order_hash(&e.copy()), 2103060068480329581);
    }
}

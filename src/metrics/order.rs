//! Sorting by descending score, shared by all ranking metrics.

use rayon::prelude::*;

use super::score::{Entry, Score};
use super::table::ScoreTable;

/// Number of classes gathered from the rows at a time: enough to use the cache lines of a row, few
/// enough that the threads finish together.
const CLASSES_AT_ONCE: usize = 8;

/// Below this number of entries a comparison sort is faster than a radix sort.
const RADIX_FROM: usize = 1 << 10;

/// Returns the entries of one class, in the order of the images; the payload is the target.
pub(super) fn entries<S: Score>(scores: &[S], targets: &[u8]) -> Vec<S::Entry> {
    (scores.iter().zip(targets))
        .map(|(score, &target)| Entry::new(score.descending_key(), u32::from(target > 0)))
        .collect()
}

/// Calls `work` for every class with its entries sorted by descending score, and returns the
/// results in class order. `payload` computes an entry's payload from image and target.
pub(super) fn for_each_class<S: Score, T: Send>(
    table: &ScoreTable<S>,
    payload: impl Fn(usize, u8) -> u32 + Sync,
    work: impl Fn(&[S::Entry]) -> T + Sync,
) -> Vec<T> {
    let (num_images, num_classes) = (table.num_images(), table.num_classes());
    let starts: Vec<usize> = (0..num_classes).step_by(CLASSES_AT_ONCE).collect();
    let parts: Vec<Vec<T>> = starts
        .into_par_iter()
        .map(|start| {
            let width = CLASSES_AT_ONCE.min(num_classes - start);
            let mut columns = vec![S::Entry::default(); width * num_images];
            for (image, (scores, targets)) in table.rows().enumerate() {
                for k in 0..width {
                    columns[k * num_images + image] = Entry::new(
                        scores[start + k].descending_key(),
                        payload(image, targets[start + k]),
                    );
                }
            }
            let mut scratch = vec![S::Entry::default(); num_images];
            (0..width)
                .map(|k| {
                    let column = &mut columns[k * num_images..(k + 1) * num_images];
                    work(sort(column, &mut scratch))
                })
                .collect()
        })
        .collect();
    parts.into_iter().flatten().collect()
}

/// Sorts `entries` by key, stably, and returns the slice that holds the result; `scratch` must have
/// the same length.
pub(super) fn sort<'a, E: Entry>(entries: &'a mut [E], scratch: &'a mut [E]) -> &'a [E] {
    if entries.len() < RADIX_FROM {
        entries.sort_by_key(|entry| entry.key());
        return entries;
    }
    const DIGIT: u32 = 11;
    const BUCKETS: usize = 1 << DIGIT;
    let digits = E::KEY_BITS.div_ceil(DIGIT) as usize;
    let digit = |key: u64, d: usize| (key >> (d as u32 * DIGIT)) as usize & (BUCKETS - 1);
    let mut counts = vec![0u32; digits * BUCKETS];
    for entry in entries.iter() {
        for d in 0..digits {
            counts[d * BUCKETS + digit(entry.key(), d)] += 1;
        }
    }
    let (mut from, mut to) = (entries, scratch);
    for d in 0..digits {
        let counts = &mut counts[d * BUCKETS..(d + 1) * BUCKETS];
        let first = digit(from[0].key(), d);
        if counts[first] as usize == from.len() {
            continue; // All keys agree in this digit.
        }
        let mut start = 0;
        for count in counts.iter_mut() {
            start += std::mem::replace(count, start);
        }
        for entry in from.iter() {
            let position = &mut counts[digit(entry.key(), d)];
            to[*position as usize] = *entry;
            *position += 1;
        }
        std::mem::swap(&mut from, &mut to);
    }
    from
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    #[test]
    fn radix_agrees_with_comparison() {
        let mut stream = Stream::new(0, "order", 0, 0);
        for length in [1, 50, 1_024, 5_000] {
            let scores: Vec<f64> = (0..length)
                .map(|_| match stream.below(5) {
                    0 => 0.0,
                    1 => -0.0,
                    2 => f64::INFINITY,
                    3 => -stream.uniform() * 1e-30,
                    _ => stream.normal(),
                })
                .collect();
            let mut entries: Vec<(u64, u32)> = (scores.iter().enumerate())
                .map(|(i, score)| Entry::new(score.descending_key(), i as u32))
                .collect();
            let mut scratch = entries.clone();
            let order: Vec<usize> = (sort(&mut entries, &mut scratch).iter())
                .map(|entry| entry.payload() as usize)
                .collect();
            let mut expected: Vec<usize> = (0..length).collect();
            expected.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).unwrap());
            assert_eq!(order, expected);
        }
    }
}

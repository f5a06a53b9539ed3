//! Area under the ROC curve.

use super::order;
use super::score::{Entry, Score};
use super::table::ScoreTable;

/// Returns the AUC of one class, 0 to 1: the share of pairs (positive, negative) in the right
/// order, where a tied pair counts as half. `None` without a positive or without a negative.
pub fn area_under_roc<S: Score>(scores: &[S], targets: &[u8]) -> Option<f64> {
    let mut entries = order::entries(scores, targets);
    let mut scratch = entries.clone();
    of_sorted(order::sort(&mut entries, &mut scratch))
}

/// Returns the AUC of every class. Classes are processed in parallel.
pub fn area_under_roc_per_class<S: Score>(table: &ScoreTable<S>) -> Vec<Option<f64>> {
    order::for_each_class(table, |_, target| u32::from(target), of_sorted)
}

fn of_sorted<E: Entry>(entries: &[E]) -> Option<f64> {
    // Twice the number of pairs in the right order, so that halves are integers.
    let (mut twice_right, mut positives, mut negatives) = (0u128, 0u128, 0u128);
    for tied in entries.chunk_by(|a, b| a.key() == b.key()) {
        let here: u128 = tied.iter().map(|entry| u128::from(entry.payload())).sum();
        let not_here = tied.len() as u128 - here;
        twice_right += not_here * (2 * positives + here);
        positives += here;
        negatives += not_here;
    }
    let pairs = positives * negatives;
    (pairs > 0).then(|| twice_right as f64 / (2 * pairs) as f64)
}

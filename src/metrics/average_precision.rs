//! Average precision.

use serde::{Deserialize, Serialize};

use super::order;
use super::score::{Entry, Score};
use super::table::ScoreTable;

/// How the precision-recall curve is reduced to one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApMethod {
    /// The area under the step curve, sum of (R_k - R_{k-1}) P_k, as in scikit-learn. VOC from 2010
    /// on differs in using the precision envelope.
    #[default]
    Area,
    /// The mean over the recalls 0, 0.1, ..., 1 of the best precision at that recall or beyond (VOC
    /// 2007).
    ElevenPoint,
}

/// Returns the AP of one class, 0 to 1; `None` where no target is 1. Tied scores form one
/// threshold.
///
/// NaN scores rank below or above all others; a [`ScoreTable`] rejects them. If the slices differ
/// in length, the longer one is cut to the length of the shorter.
pub fn average_precision<S: Score>(scores: &[S], targets: &[u8], method: ApMethod) -> Option<f64> {
    let mut entries = order::entries(scores, targets);
    let mut scratch = entries.clone();
    of_sorted(order::sort(&mut entries, &mut scratch), method)
}

/// Returns the AP of every class, 0 to 1; `None` for a class without positives. Classes are
/// processed in parallel.
pub fn average_precision_per_class<S: Score>(
    table: &ScoreTable<S>,
    method: ApMethod,
) -> Vec<Option<f64>> {
    order::for_each_class(
        table,
        |_, target| u32::from(target),
        |entries| of_sorted(entries, method),
    )
}

/// Returns the AP of entries in descending order; the payload is the target.
fn of_sorted<E: Entry>(entries: &[E], method: ApMethod) -> Option<f64> {
    let positives: u64 = entries.iter().map(|entry| u64::from(entry.payload())).sum();
    if positives == 0 {
        return None;
    }
    Some(match method {
        ApMethod::Area => area(entries, positives),
        ApMethod::ElevenPoint => eleven_point(entries, positives),
    })
}

fn area<E: Entry>(entries: &[E], positives: u64) -> f64 {
    let (mut found, mut counted, mut sum) = (0u64, 0u64, 0.0);
    for (i, entry) in entries.iter().enumerate() {
        found += u64::from(entry.payload());
        let ends = entries
            .get(i + 1)
            .is_none_or(|next| next.key() != entry.key());
        if ends && found > counted {
            sum += (found - counted) as f64 * (found as f64 / (i + 1) as f64);
            counted = found;
        }
    }
    sum / positives as f64
}

fn eleven_point<E: Entry>(entries: &[E], positives: u64) -> f64 {
    // best[k] is the best precision at a recall of at least k / 10, compared in integers.
    let mut best = [0.0f64; 11];
    let mut found = 0u64;
    for (i, entry) in entries.iter().enumerate() {
        found += u64::from(entry.payload());
        if entries
            .get(i + 1)
            .is_none_or(|next| next.key() != entry.key())
        {
            let reached = (10 * found / positives) as usize;
            let precision = found as f64 / (i + 1) as f64;
            best[reached] = best[reached].max(precision);
        }
    }
    for k in (0..10).rev() {
        best[k] = best[k].max(best[k + 1]);
    }
    best.iter().sum::<f64>() / 11.0
}

//! Co-occurring errors: classes that are mistaken for each other, and classes that are missed or
//! falsely predicted together.

use super::score::Score;
use super::table::ScoreTable;

/// The kinds of error of two classes on one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PairKind {
    /// The first class is predicted but absent, the second present but not predicted: one is
    /// mistaken for the other.
    Confused,
    /// Both are predicted but absent; the first class has the lower index.
    BothInvented,
    /// Both are present but not predicted; the first class has the lower index.
    BothMissed,
}

/// A pair of classes with errors on the same images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ErrorPair {
    /// The kind of errors.
    pub kind: PairKind,
    /// The indices of the classes.
    pub classes: [usize; 2],
    /// Number of images with both errors, at least 1.
    pub together: u64,
    /// Number of images with the error of each class.
    pub each: [u64; 2],
    /// Expected number of images with both errors if they were independent: the product of `each`
    /// divided by the number of images.
    pub expected: f64,
}

impl ErrorPair {
    /// Returns the number of images with both errors beyond the number expected under independence.
    pub fn excess(&self) -> f64 {
        self.together as f64 - self.expected
    }
}

/// Returns the pairs of classes whose errors occur on the same image more often than independent
/// errors would, by descending excess, ties by kind and class. A class is predicted if its score is
/// above its entry of `thresholds`; a class without an entry has no errors.
pub fn error_pairs<S: Score>(table: &ScoreTable<S>, thresholds: &[f64]) -> Vec<ErrorPair> {
    let classes = table.num_classes();
    let mut counts = vec![[0u64; 3]; classes * classes];
    let (mut invented, mut missed) = (vec![0u64; classes], vec![0u64; classes]);
    let (mut false_positives, mut false_negatives) = (Vec::new(), Vec::new());
    for (scores, targets) in table.rows() {
        false_positives.clear();
        false_negatives.clear();
        let entries = scores.iter().zip(targets).zip(thresholds).enumerate();
        for (class, ((score, &target), &threshold)) in entries {
            match (score.to_f64() > threshold, target == 1) {
                (true, false) => false_positives.push(class),
                (false, true) => false_negatives.push(class),
                _ => {}
            }
        }
        for (place, &a) in false_positives.iter().enumerate() {
            invented[a] += 1;
            for &b in &false_negatives {
                counts[a * classes + b][0] += 1;
            }
            for &b in &false_positives[place + 1..] {
                counts[a * classes + b][1] += 1;
            }
        }
        for (place, &a) in false_negatives.iter().enumerate() {
            missed[a] += 1;
            for &b in &false_negatives[place + 1..] {
                counts[a * classes + b][2] += 1;
            }
        }
    }
    let images = table.num_images().max(1) as f64;
    let kinds = [
        (PairKind::Confused, &invented, &missed),
        (PairKind::BothInvented, &invented, &invented),
        (PairKind::BothMissed, &missed, &missed),
    ];
    let mut pairs = Vec::new();
    for (place, counts) in counts.iter().enumerate() {
        let (a, b) = (place / classes, place % classes);
        for ((kind, first, second), &together) in kinds.iter().zip(counts) {
            let each = [first[a], second[b]];
            let expected = each[0] as f64 * each[1] as f64 / images;
            let pair = ErrorPair {
                kind: *kind,
                classes: [a, b],
                together,
                each,
                expected,
            };
            if together > 0 && pair.excess() > 0.0 {
                pairs.push(pair);
            }
        }
    }
    pairs.sort_by(|a, b| {
        let places = |pair: &ErrorPair| (pair.kind, pair.classes);
        (b.excess().total_cmp(&a.excess())).then(places(a).cmp(&places(b)))
    });
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_counted_and_held_against_independence() {
        // On two of four images class 0 is predicted instead of class 1, on one 1 and 2 are missed.
        let scores = [
            1.0, -1.0, -1.0, //
            1.0, -1.0, -1.0, //
            -1.0, -1.0, -1.0, //
            -1.0, -1.0, -1.0,
        ];
        let targets = [0, 1, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0];
        let table = ScoreTable::new(&scores, &targets, 3).unwrap();
        let pairs = error_pairs(&table, &[0.0; 3]);
        assert_eq!(pairs.len(), 2);
        let [first, second] = &pairs[..] else {
            panic!()
        };
        assert_eq!(first.kind, PairKind::Confused);
        assert_eq!((first.classes, first.together), ([0, 1], 2));
        assert_eq!((first.each, first.expected), ([2, 3], 1.5));
        assert_eq!(second.kind, PairKind::BothMissed);
        assert_eq!((second.classes, second.together), ([1, 2], 1));
        assert_eq!((second.each, second.expected), ([3, 1], 0.75));
    }

    #[test]
    fn invented_classes_are_paired_once_and_what_chance_explains_is_left_out() {
        let scores = [1.0, 1.0, -1.0, -1.0];
        let table = ScoreTable::new(&scores, &[0; 4], 2).unwrap();
        let pairs = error_pairs(&table, &[0.0, 0.0]);
        assert_eq!(pairs.len(), 1);
        assert_eq!(pairs[0].kind, PairKind::BothInvented);
        assert_eq!(pairs[0].classes, [0, 1]);
        // Both errors on every image: as many as expected under independence.
        let table = ScoreTable::new(&[1.0; 4], &[0; 4], 2).unwrap();
        assert!(error_pairs(&table, &[0.0, 0.0]).is_empty());
    }
}

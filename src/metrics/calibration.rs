//! Calibration of probabilities: reliability curves and the expected calibration error.

use super::score::Score;
use super::table::ScoreTable;
use crate::error::{Error, Result};

/// The entries (image, class) whose probabilities lie in one interval.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bin {
    /// Number of entries.
    pub count: u64,
    /// Sum of their probabilities.
    probabilities: f64,
    /// Number of positives among them.
    pub positives: u64,
}

impl Bin {
    /// Returns the mean probability of the entries, 0 to 1; `None` without entries.
    pub fn confidence(&self) -> Option<f64> {
        (self.count > 0).then(|| self.probabilities / self.count as f64)
    }

    /// Returns the share of positives among the entries, 0 to 1; `None` without entries.
    pub fn frequency(&self) -> Option<f64> {
        (self.count > 0).then(|| self.positives as f64 / self.count as f64)
    }
}

/// A reliability curve: probabilities in B intervals of equal width, each including its upper end;
/// 0 belongs to the first.
#[derive(Debug, Clone, PartialEq)]
pub struct Reliability {
    bins: Vec<Bin>,
}

impl Reliability {
    /// Computes the curve over all entries of `classes` (indices) in `table`, whose scores are
    /// probabilities, with `bins` intervals, at least 1. A class index beyond the table has no
    /// entries.
    ///
    /// # Errors
    /// Fails if a score lies outside 0..1.
    pub fn new<S: Score>(table: &ScoreTable<S>, classes: &[usize], bins: usize) -> Result<Self> {
        let mut result = vec![Bin::default(); bins.max(1)];
        let width = result.len();
        for &class in classes.iter().filter(|&&c| c < table.num_classes()) {
            for (score, target) in table.class(class) {
                let probability = score.to_f64();
                if !(0.0..=1.0).contains(&probability) {
                    let problem = format!("{probability} is not a probability, expected 0 to 1");
                    return Err(Error::input("calibration", problem));
                }
                let place = (probability * width as f64).ceil() as usize;
                let bin = &mut result[place.clamp(1, width) - 1];
                bin.count += 1;
                bin.probabilities += probability;
                bin.positives += u64::from(target == 1);
            }
        }
        Ok(Reliability { bins: result })
    }

    /// Returns the intervals, from 0 to 1.
    pub fn bins(&self) -> &[Bin] {
        &self.bins
    }

    /// Returns the expected calibration error, 0 to 1; `None` without entries:
    ///
    /// ECE = sum over b of n_b / n |positives_b / n_b - mean probability of b|
    ///
    /// (Naeini, Cooper, Hauskrecht, AAAI 2015; Guo et al., ICML 2017, who use only the top class;
    /// here every class of every image is a binary problem.) Most entries of a multi-label set are
    /// easy negatives, so the value is small for rare classes: compare it between models, not
    /// between classes.
    pub fn error(&self) -> Option<f64> {
        let entries: u64 = self.bins.iter().map(|bin| bin.count).sum();
        let gap = |bin: &Bin| (bin.positives as f64 - bin.probabilities).abs();
        (entries > 0).then(|| self.bins.iter().map(gap).sum::<f64>() / entries as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_the_weighted_gap_of_the_bins() {
        // Class 0: 0.2 twice with one positive, 0.9 twice with two; class 1 is not selected.
        let scores = [0.2, 0.5, 0.2, 0.5, 0.9, 0.5, 0.9, 0.5];
        let targets = [1, 0, 0, 0, 1, 0, 1, 0];
        let table = ScoreTable::new(&scores, &targets, 2).unwrap();
        let curve = Reliability::new(&table, &[0], 5).unwrap();
        // The upper end of an interval belongs to it.
        let counts: Vec<u64> = curve.bins().iter().map(|bin| bin.count).collect();
        assert_eq!(counts, [2, 0, 0, 0, 2]);
        assert_eq!(curve.bins()[0].frequency(), Some(0.5));
        assert_eq!(curve.bins()[1].confidence(), None);
        let expected = 0.5 * (0.5 - 0.2) + 0.5 * (1.0 - 0.9);
        assert!((curve.error().unwrap() - expected).abs() < 1e-15);
    }

    #[test]
    fn probabilities_that_come_true_have_no_error_and_certainty_that_never_does_has_all() {
        let scores: Vec<f64> = (0..100).map(|_| 0.25).collect();
        let targets: Vec<u8> = (0..100).map(|i| u8::from(i % 4 == 0)).collect();
        let table = ScoreTable::new(&scores, &targets, 1).unwrap();
        let error = Reliability::new(&table, &[0], 10).unwrap().error();
        assert!(error.unwrap() < 1e-15);
        let table = ScoreTable::new(&[1.0, 0.0], &[0, 1], 1).unwrap();
        let curve = Reliability::new(&table, &[0], 10).unwrap();
        assert_eq!(curve.error(), Some(1.0));
        assert_eq!(Reliability::new(&table, &[], 10).unwrap().error(), None);
    }

    #[test]
    fn a_logit_is_refused() {
        let table = ScoreTable::new(&[1.5], &[0], 1).unwrap();
        let refused = Reliability::new(&table, &[0], 10).unwrap_err();
        assert!(refused.to_string().contains("1.5"));
    }
}

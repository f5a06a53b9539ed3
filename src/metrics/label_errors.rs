//! Labels that are probably wrong, judged by a model that was not trained on them.

use super::score::Score;
use super::table::ScoreTable;
use crate::error::{Error, Result};

/// What may be wrong with a label of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// The label is missing, but the image looks like the class.
    Missing,
    /// The label is present, but the image does not look like the class.
    Wrong,
}

/// A label, or the absence of one, that the model contradicts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Suspect {
    /// Row of the image in the table.
    pub image: usize,
    /// Index of the class.
    pub class: usize,
    /// What may be wrong.
    pub doubt: Doubt,
    /// The probability of the class, 0 to 1.
    pub probability: f64,
    /// Probability of the given label (p if present, 1 - p if absent) minus the mean of that over
    /// the images of the class with the same label: -1 to 1, the most doubtful lowest.
    pub quality: f64,
}

/// Returns the mean probability of each answer, present and absent, over the images labelled so;
/// `None` for a class that lacks one of the two.
fn usual<S: Score>(table: &ScoreTable<S>, class: usize) -> Option<[f64; 2]> {
    let (mut sums, mut counts) = ([0.0; 2], [0u64; 2]);
    for (score, target) in table.class(class) {
        let probability = score.to_f64();
        let answer = usize::from(target == 0);
        sums[answer] += if target == 1 {
            probability
        } else {
            1.0 - probability
        };
        counts[answer] += 1;
    }
    let mean = |answer: usize| sums[answer] / counts[answer] as f64;
    (counts[0] > 0 && counts[1] > 0).then(|| [mean(0), mean(1)])
}

/// Returns the suspects of all classes of `table`, whose scores are probabilities: the most
/// doubtful first, ties by class and image. A class without positives or without negatives has
/// none.
///
/// Each class is a separate binary problem. Let t_1 be the mean of p over its positives and t_0 the
/// mean of 1 - p over its negatives. An image counts as certainly of the class if p >= t_1 (and, if
/// 1 - p >= t_0 too, p > 1 - p), and likewise as certainly not of it; it is a suspect if its label
/// says the opposite: the off-diagonal of confident learning (Northcutt, Jiang, Chuang, JAIR 70,
/// 2021; for multi-label data Thyagarajan et al., arXiv:2211.13895). Suspects are ordered by
/// self-confidence minus t of the given label (the adjusted self-confidence of Kuan and Mueller,
/// DataPerf at ICML 2022, without its constant), so that the list is not filled by a class that the
/// model has not learned, whose positives all score low.
///
/// The scores must come from a model that was not trained on these images, because a model repeats
/// the labels it has seen.
///
/// # Errors
/// Fails if a score lies outside 0..1.
pub fn label_errors<S: Score>(table: &ScoreTable<S>) -> Result<Vec<Suspect>> {
    let mut all = table.scores().iter().map(|score| score.to_f64());
    if let Some(score) = all.find(|score| !(0.0..=1.0).contains(score)) {
        let problem = format!("{score} is not a probability, expected 0 to 1");
        return Err(Error::input("label errors", problem));
    }
    let mut suspects = Vec::new();
    for class in 0..table.num_classes() {
        let Some([present, absent]) = usual(table, class) else {
            continue;
        };
        for (image, (score, target)) in table.class(class).enumerate() {
            let probability = score.to_f64();
            let (yes, no) = (probability >= present, 1.0 - probability >= absent);
            let (doubt, quality) = match target {
                0 if yes && (!no || probability > 0.5) => {
                    (Doubt::Missing, 1.0 - probability - absent)
                }
                1 if no && (!yes || probability < 0.5) => (Doubt::Wrong, probability - present),
                _ => continue,
            };
            suspects.push(Suspect {
                image,
                class,
                doubt,
                probability,
                quality,
            });
        }
    }
    suspects.sort_by(|a, b| {
        let places = |s: &Suspect| (s.class, s.image);
        (a.quality.total_cmp(&b.quality)).then(places(a).cmp(&places(b)))
    });
    Ok(suspects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_contradicts_its_label_with_certainty_is_a_suspect() {
        // t_1 = (0.9 + 0.8 + 0.1) / 3 = 0.6, t_0 = (0.9 + 0.8 + 0.95 + 0.15) / 4 = 0.7.
        let scores = [0.9, 0.8, 0.1, 0.1, 0.2, 0.05, 0.85];
        let targets = [1, 1, 1, 0, 0, 0, 0];
        let table = ScoreTable::new(&scores, &targets, 1).unwrap();
        let found = label_errors(&table).unwrap();
        let seen: Vec<(usize, Doubt)> = found.iter().map(|s| (s.image, s.doubt)).collect();
        assert_eq!(seen, [(6, Doubt::Missing), (2, Doubt::Wrong)]);
        assert!((found[0].quality - (0.15 - 0.7)).abs() < 1e-12);
        assert!((found[1].quality - (0.1 - 0.6)).abs() < 1e-12);
    }

    #[test]
    fn a_class_that_was_not_learned_stands_behind_one_that_was() {
        // Class 0: one positive of three has 0.04 and the others 0.9; class 1: all have about 0.02.
        let scores = [0.9, 0.021, 0.9, 0.019, 0.04, 0.02, 0.05, 0.02, 0.05, 0.02];
        let targets = [1, 1, 1, 1, 1, 0, 0, 0, 0, 0];
        let table = ScoreTable::new(&scores, &targets, 2).unwrap();
        let found = label_errors(&table).unwrap();
        assert_eq!((found[0].class, found[0].image), (0, 2));
        assert!(found.iter().skip(1).all(|s| s.quality > -0.01));
    }

    #[test]
    fn labels_that_the_model_repeats_and_classes_of_one_answer_have_none() {
        let table = ScoreTable::new(&[0.9, 0.5, 0.1, 0.7], &[1, 1, 0, 1], 2).unwrap();
        assert!(label_errors(&table).unwrap().is_empty());
        let table = ScoreTable::new(&[-0.1], &[1], 1).unwrap();
        assert!(label_errors(&table).is_err());
    }
}

//! A method of a search.

use crate::metrics::PerGroup;

/// F1 of final runs on the test set over some classes, each in [0, 1].
#[derive(Debug, Clone, Default)]
pub struct F1Runs {
    /// Of all entries (image, class) together.
    pub micro: Vec<f64>,
    /// The mean over the classes.
    pub macro_average: Vec<f64>,
}

/// A method's search and its final runs.
#[derive(Debug, Clone)]
pub struct Method {
    /// Its name.
    pub name: String,
    /// The chosen setting in words.
    pub setting: String,
    /// The key that the curve goes over; the first that varies.
    pub key: String,
    /// Values of that key with the mAP reached, a point a setting; without those that diverged.
    pub curve: Vec<(f64, f64)>,
    /// mAP of the chosen setting over the folds.
    pub map: Option<f64>,
    /// Its lowest mAP on a fold.
    pub lowest: Option<f64>,
    /// Its highest.
    pub highest: Option<f64>,
    /// Settings that were tried.
    pub settings: usize,
    /// Trainings of the search.
    pub trainings: usize,
    /// Trainings that left the range of finite numbers.
    pub diverged: usize,
    /// Keys whose chosen value is the lowest or highest that was tried.
    pub at_edge: String,
    /// mAP of the final runs on the test set, each in [0, 1]; empty before they ended.
    pub finals: PerGroup<Vec<f64>>,
    /// F1 of the final runs at the thresholds of the folds; empty before they ended.
    pub f1: PerGroup<F1Runs>,
    /// Mean rank of the final runs by total mAP, 1 for the best.
    pub rank: Option<f64>,
    /// The groups of methods not told apart that it is in, by their numbers.
    pub groups: String,
}

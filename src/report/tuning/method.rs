//! A method in the page about a search.

use crate::metrics::PerGroup;

/// F1 of the final runs on the test set over some classes, each in [0, 1].
#[derive(Debug, Clone, Default)]
pub struct F1Runs {
    /// F1 over all entries (image, class) together.
    pub micro: Vec<f64>,
    /// Mean F1 over the classes.
    pub macro_average: Vec<f64>,
}

/// The search of a method and its final runs.
#[derive(Debug, Clone)]
pub struct Method {
    /// The method's name.
    pub name: String,
    /// The chosen setting in words.
    pub setting: String,
    /// The key on the curve's horizontal axis: the first that varies.
    pub key: String,
    /// Values of that key with the mAP reached, one point per setting; diverged settings are left
    /// out.
    pub curve: Vec<(f64, f64)>,
    /// mAP of the chosen setting over the folds.
    pub map: Option<f64>,
    /// The lowest mAP of the chosen setting on a fold.
    pub lowest: Option<f64>,
    /// The highest mAP of the chosen setting on a fold.
    pub highest: Option<f64>,
    /// Number of settings tried.
    pub settings: usize,
    /// Number of trainings of the search.
    pub trainings: usize,
    /// Number of trainings that produced non-finite numbers.
    pub diverged: usize,
    /// Keys whose chosen value is the lowest or highest that was tried.
    pub at_edge: String,
    /// mAP of the final runs on the test set, each in [0, 1]; empty before they have finished.
    pub finals: PerGroup<Vec<f64>>,
    /// F1 of the final runs at the thresholds chosen on the folds; empty before they have finished.
    pub f1: PerGroup<F1Runs>,
    /// Mean rank of the final runs by total mAP; 1 is the best.
    pub rank: Option<f64>,
    /// The numbers of the groups of methods, not significantly different, that it belongs to.
    pub groups: String,
}

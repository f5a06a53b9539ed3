//! The scores of each class, as stored in `per_class.csv`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::labels::Group;
use crate::error::{Error, Result};
use crate::rows::{self, number};

/// The scores of one class, a row of `per_class.csv`. All scores are in [0, 1], and `None` where
/// undefined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// The class's name.
    #[serde(rename = "class")]
    pub name: String,
    /// The class's group by training count.
    pub group: Group,
    /// Number of training images of the class.
    pub train_count: usize,
    /// Number of images of the class in the evaluated set.
    #[serde(rename = "test_positives")]
    pub positives: usize,
    /// AP; undefined if the evaluated set has no image of the class.
    #[serde(serialize_with = "number::full_or_empty")]
    pub average_precision: Option<f64>,
    /// Area under the ROC curve; undefined without a positive or without a negative.
    #[serde(rename = "auc", serialize_with = "number::full_or_empty")]
    pub area_under_roc: Option<f64>,
    /// Precision at the threshold; undefined if the class is never predicted.
    #[serde(serialize_with = "number::full_or_empty")]
    pub precision: Option<f64>,
    /// Recall at the threshold; undefined without a positive.
    #[serde(serialize_with = "number::full_or_empty")]
    pub recall: Option<f64>,
    /// F1 at the threshold; undefined with neither a positive nor a prediction.
    #[serde(serialize_with = "number::full_or_empty")]
    pub f1: Option<f64>,
    /// Share of the images that are classified correctly at the threshold.
    #[serde(serialize_with = "number::full_or_empty")]
    pub accuracy: Option<f64>,
    /// Lower end of the 95 % interval of AP; `None` if AP is not the area under the curve.
    #[serde(
        rename = "average_precision_low",
        serialize_with = "number::full_or_empty"
    )]
    pub low: Option<f64>,
    /// Upper end of the interval.
    #[serde(
        rename = "average_precision_high",
        serialize_with = "number::full_or_empty"
    )]
    pub high: Option<f64>,
    /// Whether the class has so few positives that the interval may be too narrow.
    pub doubtful: Option<bool>,
}

/// The advice given in errors about a broken table.
pub const AGAIN: &str = "evaluate the run again: `dbloss eval RUN`";

/// Reads the `per_class.csv` of an evaluation, which stores AP with all its digits.
///
/// # Errors
/// Fails if the file is not such a table, contains no class, or contains an AP outside [0, 1].
pub fn read(path: &Path) -> Result<Vec<ClassScore>> {
    let classes: Vec<ClassScore> = rows::read(path).map_err(|e| e.hint(AGAIN))?;
    for row in &classes {
        if let Some(value) = row.average_precision
            && !(0.0..=1.0).contains(&value)
        {
            let problem = format!("AP of `{}` is {value}, expected 0 to 1", row.name);
            return Err(Error::file(path, problem).hint(AGAIN));
        }
    }
    if classes.is_empty() {
        return Err(Error::file(path, "contains no class").hint(AGAIN));
    }
    Ok(classes)
}

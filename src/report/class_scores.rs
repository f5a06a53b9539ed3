//! The scores of each class, as `per_class.csv` holds them.

use std::path::Path;

use serde::Deserialize;

use crate::data::labels::Group;
use crate::error::{Error, Result};

/// One class of an evaluation.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ClassScore {
    /// The class's name.
    #[serde(rename = "class")]
    pub name: String,
    /// Its group by training images.
    pub group: Group,
    /// Its training images.
    pub train_count: usize,
    /// Its images in the evaluated set.
    #[serde(rename = "test_positives")]
    pub positives: usize,
    /// AP in [0, 1]; `None` where the evaluated set has no such image.
    pub average_precision: Option<f64>,
}

/// What to do about a broken table.
pub const AGAIN: &str = "evaluate the run again: `dbloss eval RUN`";

/// Reads the `per_class.csv` of an evaluation, which holds all digits of AP, as far as it is needed.
///
/// # Errors
/// If the file is not such a table, holds no class, or an AP outside [0, 1].
pub fn read(path: &Path) -> Result<Vec<ClassScore>> {
    let mut reader = csv::Reader::from_reader(fs_err::File::open(path)?);
    let mut classes = Vec::new();
    for row in reader.deserialize::<ClassScore>() {
        let row = row.map_err(|e| {
            let error = match e.position() {
                Some(position) => Error::line(path, position.line(), &e),
                None => Error::file(path, &e),
            };
            error.hint(AGAIN)
        })?;
        if let Some(value) = row.average_precision
            && !(0.0..=1.0).contains(&value)
        {
            let problem = format!("AP of `{}` is {value}, expected 0 to 1", row.name);
            return Err(Error::file(path, problem).hint(AGAIN));
        }
        classes.push(row);
    }
    if classes.is_empty() {
        return Err(Error::file(path, "holds no class").hint(AGAIN));
    }
    Ok(classes)
}

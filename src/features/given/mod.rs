//! Features computed by another program, matched to the pictures of a split by name.

mod names;
mod rows;
mod tensors;

use std::path::Path;

pub use tensors::NAMES;

use super::table::FeatureTable;
use crate::data::content;
use crate::data::labels::LabelTable;
use crate::data::npy;
use crate::data::split::{Set, Split};
use crate::error::{Error, Result};
use crate::model::GivenFeatures;
use names::Names;
use rows::Rows;

/// Reads the features of a set from the file specified in `config`, in the order of its images.
/// Rows that no set uses are reported.
///
/// # Errors
/// Returns an error if the file or its names cannot be read, a picture has no features, or the
/// features are not finite numbers.
pub fn read(config: &GivenFeatures, set: Set, split: &Split) -> Result<FeatureTable> {
    let (path, names) = config.of(set);
    let rows = read_rows(path, set)?;
    let names = match (names, rows.names) {
        (Some(file), _) => Names::read(file)?,
        (None, Some(names)) => Names::new(path, names)?,
        (None, None) => Names::beside(path, set)?,
    };
    let count = rows.values.len() / rows.form.len().max(1);
    names.check_count(path, count)?;
    let table = match set {
        Set::Train => &split.train,
        Set::Test => &split.test,
        Set::Validation => split.validation.as_ref().unwrap_or(&split.train),
    };
    let found = names.rows_of(table, path, set)?;
    tell_surplus(config, path, &names, split);
    let size = rows.form.len();
    let mut values = Vec::with_capacity(found.len() * size);
    for (image, row) in found.into_iter().enumerate() {
        let row = &rows.values[row * size..(row + 1) * size];
        if let Some(bad) = row.iter().find(|value| !value.is_finite()) {
            let name = table.image(image);
            return Err(
                Error::file(path, format_args!("`{name}` has the feature {bad}"))
                    .hint("features must be finite numbers"),
            );
        }
        values.extend_from_slice(row);
    }
    Ok(FeatureTable::owned(rows.form, values))
}

/// Reports rows of a file whose pictures are in none of the sets that read it.
fn tell_surplus(config: &GivenFeatures, path: &Path, names: &Names, split: &Split) {
    let takes = |set| config.of(set).0 == path;
    let sets: [(Set, Option<&LabelTable>); 3] = [
        (Set::Train, Some(&split.train)),
        (Set::Validation, split.validation.as_deref()),
        (Set::Test, Some(&split.test)),
    ];
    let tables = (sets.into_iter()).filter_map(|(set, table)| table.filter(|_| takes(set)));
    let surplus = names.not_in(&tables.collect::<Vec<_>>());
    if let Some(first) = surplus.first() {
        tracing::info!(
            "{}: {} of {} rows belong to no picture of the split, the first to `{first}`",
            path.display(),
            surplus.len(),
            names.len(),
        );
    }
}

fn read_rows(path: &Path, set: Set) -> Result<Rows> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    match ending.map(str::to_ascii_lowercase).as_deref() {
        Some("npy") => rows::of_array(path, npy::read(path)?),
        Some("safetensors") => tensors::read(path, set),
        _ => {
            let head = fs_err::read(path).unwrap_or_default();
            let found = content::of(&head[..head.len().min(512)]);
            let found = found.map_or(String::new(), |content| format!(", found {}", content.what));
            let problem = format!("expected features in a `.npy` or `.safetensors` file{found}");
            Err(Error::file(path, problem))
        }
    }
}

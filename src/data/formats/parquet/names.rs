//! Class names from the metadata that Hugging Face's `datasets` writes into Parquet files.

use std::path::Path;

use serde_json::Value;

use crate::data::parquet_file::ParquetFile;
use crate::error::{Error, Result};

/// The key of the metadata: JSON that describes the features of the data set.
const KEY: &str = "huggingface";

/// Returns the names for the numbers in a column, in order; `None` if the file gives none.
///
/// # Errors
/// Returns an error if the metadata is not JSON or the names are not a list of strings.
pub(super) fn of_column(
    file: &ParquetFile,
    column: &str,
    path: &Path,
) -> Result<Option<Vec<String>>> {
    let pairs = file.metadata().file_metadata().key_value_metadata();
    let text = (pairs.into_iter().flatten())
        .find(|pair| pair.key == KEY)
        .and_then(|pair| pair.value.as_deref());
    let Some(text) = text else { return Ok(None) };
    let wrong = |problem: String| {
        let problem = format!("its metadata `{KEY}` {problem}");
        Error::file(path, problem).hint("name the classes in a file: `--classes FILE`")
    };
    let whole: Value =
        serde_json::from_str(text).map_err(|e| wrong(format!("is not JSON: {e}")))?;
    let Some(names) = named(&whole["info"]["features"][column]) else {
        return Ok(None);
    };
    let names = names
        .as_array()
        .map(|names| names.iter().map(Value::as_str));
    let names: Option<Vec<&str>> = names.and_then(Iterator::collect);
    match names {
        Some(names) => Ok(Some(names.into_iter().map(str::to_owned).collect())),
        None => Err(wrong(format!("contains no list of names for `{column}`"))),
    }
}

/// Returns the names of a feature: its own, or those of its items.
fn named(feature: &Value) -> Option<&Value> {
    match feature {
        // Earlier versions wrote a list around the feature of the items.
        Value::Array(items) => named(items.first()?),
        _ => match feature.get("names") {
            Some(names) if !names.is_null() => Some(names),
            _ => named(feature.get("feature")?),
        },
    }
}

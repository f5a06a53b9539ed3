//! The common result of the readers.

use std::path::Path;

use crate::data::loader::Form;
use crate::data::npy::Array;
use crate::error::{Error, Result};

/// The rows of a file, each containing the features of a picture.
pub(super) struct Rows {
    pub form: Form,
    pub values: Vec<f32>,
    /// The names of the pictures, if the file contains them.
    pub names: Option<Vec<String>>,
}

/// Returns the form of rows with this shape, whose first dimension is the number of rows.
pub(super) fn form(shape: &[usize]) -> Option<Form> {
    match *shape {
        [_, width] => Some(Form::Pooled { width }),
        [_, rows, columns, width] => Some(Form::Maps {
            rows,
            columns,
            width,
        }),
        _ => None,
    }
    .filter(|form| !form.is_empty())
}

/// Converts an array read from the file `path` into rows.
pub(super) fn of_array(path: &Path, (shape, values): Array) -> Result<Rows> {
    match form(&shape) {
        Some(form) => Ok(Rows {
            form,
            values,
            names: None,
        }),
        None => {
            let problem = format!("has the shape {shape:?}, expected [pictures, features]");
            Err(Error::file(path, problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_of_features_or_of_maps() {
        let path = Path::new("f.npy");
        let maps = of_array(path, (vec![1, 2, 1, 2], vec![0.0; 4])).unwrap();
        assert_eq!(maps.form.len(), 4);
        for shape in [vec![4], vec![4, 0]] {
            let error = of_array(path, (shape, Vec::new())).err().unwrap();
            assert!(error.to_string().contains("expected [pictures, features]"));
        }
    }
}

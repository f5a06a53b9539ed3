//! What the readers make of a file.

use std::path::Path;

use crate::data::loader::Form;
use crate::data::npy::Array;
use crate::error::{Error, Result};

/// Rows of a file, each the features of a picture.
pub(super) struct Rows {
    pub form: Form,
    pub values: Vec<f32>,
    /// The names of the pictures, if the file holds them.
    pub names: Option<Vec<String>>,
}

/// The form of rows of this shape: the first number counts them.
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

/// The rows of an array that the file `path` holds.
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

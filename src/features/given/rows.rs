//! What the readers make of a file.

use crate::data::loader::Form;

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

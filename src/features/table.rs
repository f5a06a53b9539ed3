//! Features of the images of a label table.

use crate::data::loader::Form;
use crate::ops::MappedFile;

/// The features of each image of a label table, in one or more versions.
#[derive(Debug)]
pub struct FeatureTable {
    form: Form,
    versions: usize,
    images: usize,
    /// For each image, whether it has no features because its picture cannot be read.
    missing: Vec<bool>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    /// Little-endian numbers at the beginning of a file.
    Mapped(MappedFile),
    Owned(Vec<f32>),
}

impl FeatureTable {
    /// Creates a table in memory from `values`, `[images, form]`, with one version.
    pub fn owned(form: Form, values: Vec<f32>) -> Self {
        let images = values.len() / form.len().max(1);
        FeatureTable {
            form,
            versions: 1,
            images,
            missing: vec![false; images],
            values: Values::Owned(values),
        }
    }

    /// Creates a table from `[versions, images, form]` at the beginning of `file`. The caller must
    /// have checked that the file is long enough.
    pub(super) fn mapped(
        form: Form,
        versions: usize,
        images: usize,
        without: &[u32],
        file: MappedFile,
    ) -> Self {
        let mut missing = vec![false; images];
        for &image in without {
            if let Some(missing) = missing.get_mut(image as usize) {
                *missing = true;
            }
        }
        FeatureTable {
            form,
            versions,
            images,
            missing,
            values: Values::Mapped(file),
        }
    }

    /// Returns the form of the features of an image.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Returns the number of versions of each image, at least one.
    pub fn versions(&self) -> usize {
        self.versions
    }

    /// Returns the number of images.
    pub fn len(&self) -> usize {
        self.images
    }

    /// Returns true if there are no images.
    pub fn is_empty(&self) -> bool {
        self.images == 0
    }

    /// Returns the shape of the features of an image: `[width]`, or `[rows, columns, width]`.
    pub fn shape(&self) -> Vec<usize> {
        shape(self.form)
    }

    /// Returns the length of the feature vectors.
    pub fn width(&self) -> usize {
        match self.form {
            Form::Pixels { .. } => 3,
            Form::Pooled { width } | Form::Maps { width, .. } => width,
        }
    }

    /// Returns whether the image has features.
    pub fn has(&self, image: u32) -> bool {
        self.missing.get(image as usize) == Some(&false)
    }

    /// Returns the first image without features.
    pub fn first_missing(&self) -> Option<usize> {
        self.missing.iter().position(|&missing| missing)
    }

    /// Appends the features of one image to `output`; does nothing if there is no such version or
    /// image.
    pub fn append(&self, version: usize, image: u32, output: &mut Vec<f32>) {
        let (size, image) = (self.form.len(), image as usize);
        if version >= self.versions || image >= self.images {
            return;
        }
        let first = (version * self.images + image) * size;
        match &self.values {
            Values::Owned(values) => output.extend_from_slice(&values[first..first + size]),
            Values::Mapped(file) => {
                let (numbers, _) = file.bytes()[first * 4..(first + size) * 4].as_chunks();
                output.extend(numbers.iter().map(|&number| f32::from_le_bytes(number)));
            }
        }
    }
}

/// Returns the shape of the features of an image.
pub(super) fn shape(form: Form) -> Vec<usize> {
    match form {
        Form::Pixels { side } => vec![side, side, 3],
        Form::Pooled { width } => vec![width],
        Form::Maps {
            rows,
            columns,
            width,
        } => vec![rows, columns, width],
    }
}

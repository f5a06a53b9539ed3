//! Writes Parquet files with a column of pictures, in the layout of Hugging Face data sets.

use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

/// The labels of the rows.
pub(crate) enum Labels {
    /// Column `labels`, lists of numbers.
    Numbers(Vec<Vec<i64>>),
    /// Column `labels`, lists of names.
    Names(Vec<Vec<String>>),
    /// Column `label`, a number or null.
    Number(Vec<Option<i64>>),
    /// A column of 0 and 1 for each class.
    Marks(Vec<(String, Vec<i32>)>),
}

impl Labels {
    fn columns(&self) -> String {
        let list = |item: &str| {
            format!("optional group labels (LIST) {{ repeated group list {{ optional {item}; }} }}")
        };
        match self {
            Labels::Numbers(_) => list("int64 element"),
            Labels::Names(_) => list("binary element (UTF8)"),
            Labels::Number(_) => "optional int64 label;".to_owned(),
            Labels::Marks(columns) => (columns.iter())
                .map(|(name, _)| format!("required int32 {name}; "))
                .collect(),
        }
    }
}

/// A file to write.
pub(crate) struct Written<'a> {
    /// The bytes of the pictures; `None` for a null.
    pub pictures: &'a [Option<Vec<u8>>],
    /// Whether they are in a binary column instead of a struct of `bytes` and `path`.
    pub plain: bool,
    /// The labels, one for each row.
    pub labels: Labels,
    /// The metadata in the format of Hugging Face.
    pub metadata: Option<String>,
    /// Number of rows of a row group.
    pub group: usize,
    /// The compression of pages.
    pub packed: Compression,
}

/// Flattens lists and returns the values and the Parquet levels.
fn flat<T: Clone>(lists: &[Vec<T>]) -> (Vec<T>, Vec<i16>, Vec<i16>) {
    let (mut values, mut definition, mut repetition) = (Vec::new(), Vec::new(), Vec::new());
    for list in lists {
        if list.is_empty() {
            definition.push(1);
            repetition.push(0);
        }
        for (i, value) in list.iter().enumerate() {
            values.push(value.clone());
            definition.push(3);
            repetition.push(i16::from(i > 0));
        }
    }
    (values, definition, repetition)
}

impl Written<'_> {
    /// Returns the bytes of the file: pages of two rows, in row groups of `group`.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let image = match self.plain {
            true => "optional binary image;",
            false => "optional group image { optional binary bytes; optional binary path (UTF8); }",
        };
        let schema = format!("message schema {{ {image} {} }}", self.labels.columns());
        let pair = |text: &String| vec![KeyValue::new("huggingface".to_owned(), text.clone())];
        let properties = WriterProperties::builder()
            .set_compression(self.packed)
            .set_dictionary_enabled(false)
            .set_data_page_row_count_limit(2)
            .set_write_batch_size(1)
            .set_key_value_metadata(self.metadata.as_ref().map(pair))
            .build();
        let mut bytes = Vec::new();
        let schema = Arc::new(parse_message_type(&schema).unwrap());
        let mut writer =
            SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
        let rows: Vec<usize> = (0..self.pictures.len()).collect();
        for rows in rows.chunks(self.group) {
            let mut group = writer.next_row_group().unwrap();
            let (first, last) = (rows[0], rows[rows.len() - 1] + 1);
            self.write_pictures(&mut group, first, last);
            self.write_labels(&mut group, first, last);
            group.close().unwrap();
        }
        writer.close().unwrap();
        bytes
    }

    fn write_pictures(
        &self,
        group: &mut SerializedRowGroupWriter<'_, &mut Vec<u8>>,
        first: usize,
        last: usize,
    ) {
        let pictures = &self.pictures[first..last];
        let values: Vec<ByteArray> = (pictures.iter().flatten())
            .map(|bytes| ByteArray::from(bytes.clone()))
            .collect();
        let full = if self.plain { 1 } else { 2 };
        let levels: Vec<i16> = (pictures.iter())
            .map(|picture| if picture.is_some() { full } else { full - 1 })
            .collect();
        let mut column = group.next_column().unwrap().unwrap();
        (column.typed::<ByteArrayType>())
            .write_batch(&values, Some(&levels), None)
            .unwrap();
        column.close().unwrap();
        if !self.plain {
            let mut column = group.next_column().unwrap().unwrap();
            let levels = vec![1; pictures.len()];
            (column.typed::<ByteArrayType>())
                .write_batch(&[], Some(&levels), None)
                .unwrap();
            column.close().unwrap();
        }
    }

    fn write_labels(
        &self,
        group: &mut SerializedRowGroupWriter<'_, &mut Vec<u8>>,
        first: usize,
        last: usize,
    ) {
        if let Labels::Marks(columns) = &self.labels {
            for (_, marks) in columns {
                let mut column = group.next_column().unwrap().unwrap();
                (column.typed::<Int32Type>())
                    .write_batch(&marks[first..last], None, None)
                    .unwrap();
                column.close().unwrap();
            }
            return;
        }
        let mut column = group.next_column().unwrap().unwrap();
        match &self.labels {
            Labels::Numbers(lists) => {
                let (values, definition, repetition) = flat(&lists[first..last]);
                (column.typed::<Int64Type>())
                    .write_batch(&values, Some(&definition), Some(&repetition))
                    .unwrap();
            }
            Labels::Names(lists) => {
                let (values, definition, repetition) = flat(&lists[first..last]);
                let values: Vec<ByteArray> =
                    values.iter().map(|name| name.as_str().into()).collect();
                (column.typed::<ByteArrayType>())
                    .write_batch(&values, Some(&definition), Some(&repetition))
                    .unwrap();
            }
            Labels::Number(numbers) => {
                let numbers = &numbers[first..last];
                let values: Vec<i64> = numbers.iter().flatten().copied().collect();
                let levels: Vec<i16> = numbers.iter().map(|n| i16::from(n.is_some())).collect();
                (column.typed::<Int64Type>())
                    .write_batch(&values, Some(&levels), None)
                    .unwrap();
            }
            Labels::Marks(_) => {}
        }
        column.close().unwrap();
    }
}

/// Returns the metadata that Hugging Face's `datasets` writes for a column of numbers with names.
pub(crate) fn class_names(column: &str, names: &[&str], is_list: bool) -> String {
    let one = serde_json::json!({"names": names, "_type": "ClassLabel"});
    let feature = match is_list {
        true => serde_json::json!({"feature": one, "_type": "List"}),
        false => one,
    };
    let image = serde_json::json!({"_type": "Image"});
    serde_json::json!({"info": {"features": {"image": image, column: feature}}}).to_string()
}

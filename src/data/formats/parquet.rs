//! Parquet files with pictures in a column, as used for Hugging Face data sets. The labels are in a
//! column of numbers, names or lists of these, or in one 0/1 column per class.

use std::path::Path;

use ::parquet::file::reader::SerializedFileReader;
use ::parquet::record::reader::RowIter;
use ::parquet::record::{Field, Row};
use ::parquet::schema::types::{Type, TypePtr};

use super::format::{
    ChangePath, Format, Info, Loaded, OptionValue, annotation_files, option, options_beside_files,
};
use super::shards::{Shards, folder_of_shards, shards};
use crate::data::class_index::{Reading, Rows};
use crate::data::class_name::clean;
use crate::data::parquet_file::{ParquetFile, damaged, guarded};
use crate::error::{Error, Result};

mod names;

annotation_files! {
    /// Parquet files with pictures and labels in their rows.
    #[derive(Default)]
    pub struct Parquet {
        /// The column of the pictures; `image`, `img`, `picture` or `jpg` unless another is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub image_column: Option<String>,
        /// The column of the labels; `labels` or `label` unless another is named, else a column of 0
        /// and 1 for each class.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub label_column: Option<String>,
    }
}

/// The kind of file to look for.
const FILES: Shards = Shards {
    ending: "parquet",
    remedy: "expected Parquet files; other tables are read with `--table`",
};

/// The columns used for the labels if none is specified.
const LABEL_COLUMNS: [&str; 2] = ["labels", "label"];

impl Format for Parquet {
    const INFO: Info = Info {
        sources: &[option(
            "parquet",
            "train",
            OptionValue::Path("FILES"),
            "Parquet with pictures inside: one file, several as `train-*.parquet`, or a folder of them",
        )],
        options: options_beside_files!(
            option(
                "image-column",
                "image_column",
                OptionValue::Text("NAME"),
                "Parquet: column of the pictures [default: image, img, picture or jpg]",
            ),
            option(
                "label-column",
                "label_column",
                OptionValue::Text("NAME"),
                "Parquet: column of the labels [default: labels or label, or else one column of 0 and 1 per class]",
            ),
        ),
        as_is: true,
    };

    fn load(&self) -> Result<Loaded> {
        let files = self.files();
        let mut reading = Reading::new(files.classes)?;
        if files.classes.is_none() {
            // The classes are in the order given by the files.
            let first = shards(&self.train, FILES)?.swap_remove(0).0;
            let (file, column) = self.opened(&first)?;
            if let Some(names) = column.names(&file, &first)? {
                reading = Reading::over(Some(names));
            }
        }
        files.load(reading, folder_of_shards, |path, reading| {
            let mut rows = Rows::new();
            for (file, name) in shards(path, FILES)? {
                self.read_file(&file, &name, reading, &mut rows)?;
            }
            match rows.is_empty() {
                true => Err(Error::file(path, "has no rows")),
                false => Ok(rows),
            }
        })
    }

    fn each_path(&mut self, change: ChangePath) {
        self.each_file(change);
    }

    fn has_test(&self) -> bool {
        self.test.is_some()
    }
}

/// The location of the labels in a file.
enum Labels {
    /// In the column with this name.
    Column(String),
    /// In one 0/1 column for each of these classes.
    Classes(Vec<String>),
}

impl Labels {
    /// Returns the columns to read.
    fn columns(&self) -> Vec<&str> {
        match self {
            Labels::Column(name) => vec![name],
            Labels::Classes(names) => names.iter().map(String::as_str).collect(),
        }
    }

    /// Returns the classes that the file lists, in order; `None` if the classes are whatever
    /// occurs.
    fn names(&self, file: &ParquetFile, path: &Path) -> Result<Option<Vec<String>>> {
        let names = match self {
            Labels::Column(name) => names::of_column(file, name, path)?,
            Labels::Classes(names) => Some(names.clone()),
        };
        let Some(names) = names else { return Ok(None) };
        let mut clean_names: Vec<String> = Vec::with_capacity(names.len());
        for name in &names {
            let name = clean(name).map_err(|problem| Error::file(path, problem))?;
            if clean_names.iter().any(|other| *other == name) {
                return Err(Error::file(
                    path,
                    format_args!("names the class `{name}` twice"),
                ));
            }
            clean_names.push(name.into_owned());
        }
        Ok(Some(clean_names))
    }
}

impl Parquet {
    /// Opens a file and finds its labels.
    fn opened(&self, path: &Path) -> Result<(std::sync::Arc<ParquetFile>, Labels)> {
        let file = ParquetFile::of(path)?;
        let pictures = file.picture_column(self.image_column.as_deref())?;
        let schema = file.metadata().file_metadata().schema_descr().root_schema();
        let there = |name: &str| schema.get_fields().iter().any(|field| field.name() == name);
        let labels = match &self.label_column {
            Some(name) if there(name) => Labels::Column(name.clone()),
            Some(name) => {
                let problem = format_args!("has no column `{name}`");
                return Err(Error::file(path, problem));
            }
            None => match LABEL_COLUMNS.into_iter().find(|name| there(name)) {
                Some(name) => Labels::Column(name.to_owned()),
                None => Labels::Classes(class_columns(schema.get_fields(), &pictures)),
            },
        };
        match &labels {
            Labels::Classes(names) if names.is_empty() => {
                let problem = "has neither a column `labels` or `label` nor columns of numbers";
                Err(Error::file(path, problem).hint(
                    "name the column of the labels: `--label-column NAME`, or `label_column`",
                ))
            }
            _ => Ok((file, labels)),
        }
    }

    /// Adds the rows of a file; the names of its pictures begin with `name`.
    fn read_file(
        &self,
        path: &Path,
        name: &str,
        reading: &mut Reading,
        rows: &mut Rows,
    ) -> Result<()> {
        let (file, mut labels) = self.opened(path)?;
        let pictures = file.picture_column(self.image_column.as_deref())?;
        if let Labels::Classes(columns) = &mut labels
            && reading.classes.is_closed()
        {
            *columns = of_list(columns, reading.classes.names(), path)?;
        }
        let names = labels.names(&file, path)?;
        let schema = file.metadata().file_metadata().schema_descr().root_schema();
        let wanted = labels.columns();
        let (taken, others): (Vec<&TypePtr>, Vec<&TypePtr>) =
            (schema.get_fields().iter()).partition(|field| wanted.contains(&field.name()));
        let others = others.iter().map(|field| field.name());
        let said = ("column", "not needed here left out");
        (reading.account).tell(path, said, others.filter(|name| *name != pictures));
        let projection = Type::group_type_builder("schema")
            .with_fields(taken.into_iter().cloned().collect())
            .build()
            .map_err(|problem| damaged(path, problem))?;
        let (opened, _) = fs_err::File::open(path)?.into_parts();
        let mut iterator = guarded(|| {
            RowIter::from_file_into(Box::new(SerializedFileReader::new(opened)?))
                .project(Some(projection))
        })
        .map_err(|problem| damaged(path, problem))?;
        for number in 0..file.rows() {
            let row = guarded(|| iterator.next().transpose());
            let Some(row) = row.map_err(|problem| file.at(number, problem))? else {
                return Err(file
                    .at(number, "is missing")
                    .hint("copy or download the file again"));
            };
            let found = match &labels {
                Labels::Column(column) => listed(&row, column),
                Labels::Classes(_) => marked(&row),
            };
            let mut classes = Vec::new();
            for label in found.map_err(|problem| file.at(number, problem))? {
                let class = number_of(&label, names.as_deref(), path, reading);
                classes.push(class.map_err(|problem| file.at(number, problem))?);
            }
            rows.push((format!("{name}/{pictures}/{number}"), classes));
        }
        Ok(())
    }
}

/// Returns the columns of the classes in a list.
fn of_list(columns: &[String], classes: &[String], path: &Path) -> Result<Vec<String>> {
    let has = |class: &&String| columns.iter().any(|column| column == *class);
    match classes.iter().find(|class| !has(class)) {
        None => Ok(classes.to_vec()),
        Some(class) => Err(Error::file(
            path,
            format_args!("has no column of 0 and 1 for the class `{class}`"),
        )
        .hint("name the column of the labels, `--label-column NAME`, or other classes")),
    }
}

/// Returns the numeric and Boolean columns other than the pictures.
fn class_columns(fields: &[TypePtr], pictures: &str) -> Vec<String> {
    use ::parquet::basic::Type as Physical;
    let is_number = |field: &&TypePtr| {
        field.is_primitive()
            && matches!(
                field.get_physical_type(),
                Physical::BOOLEAN
                    | Physical::INT32
                    | Physical::INT64
                    | Physical::FLOAT
                    | Physical::DOUBLE
            )
    };
    let columns = fields.iter().filter(|field| field.name() != pictures);
    let numbers = columns.filter(is_number);
    numbers.map(|field| field.name().to_owned()).collect()
}

/// A label as written in the file.
enum Label {
    /// A class by its index in the class list, or a class whose name is this number.
    Number(u64),
    Name(String),
}

/// Returns the labels of a row, from a column of values or lists.
fn listed(row: &Row, column: &str) -> Result<Vec<Label>, String> {
    let field = row.get_column_iter().next().map(|(_, field)| field);
    match field {
        Some(Field::ListInternal(list)) => list.elements().iter().map(label).collect(),
        Some(Field::Null) | None => Err(format!(
            "`{column}` is null; use an empty list for a picture without labels"
        )),
        Some(one) => Ok(vec![label(one)?]),
    }
}

fn label(field: &Field) -> Result<Label, String> {
    match field {
        Field::Str(name) => Ok(Label::Name(name.clone())),
        other => {
            let number = whole(other).and_then(|number| u64::try_from(number).ok());
            number
                .map(Label::Number)
                .ok_or_else(|| format!("the label {other} is neither a name nor a number from 0"))
        }
    }
}

/// Returns the classes with a 1 in their column.
fn marked(row: &Row) -> Result<Vec<Label>, String> {
    let mut found = Vec::new();
    for (name, field) in row.get_column_iter() {
        let is_there = match field {
            Field::Bool(flag) => Some(*flag),
            Field::Float(number) => mark(f64::from(*number)),
            Field::Double(number) => mark(*number),
            other => whole(other).and_then(|number| mark(number as f64)),
        };
        match is_there {
            Some(true) => found.push(Label::Name(name.clone())),
            Some(false) => {}
            None => {
                return Err(format!(
                    "the column `{name}` contains {field}, expected 0 or 1; name the column of the \
                     labels with `--label-column`, or remove columns that are not classes from the file"
                ));
            }
        }
    }
    Ok(found)
}

fn mark(number: f64) -> Option<bool> {
    match number {
        0.0 => Some(false),
        1.0 => Some(true),
        _ => None,
    }
}

/// Returns the value if it is an integer.
fn whole(field: &Field) -> Option<i128> {
    match field {
        Field::Byte(n) => Some(i128::from(*n)),
        Field::Short(n) => Some(i128::from(*n)),
        Field::Int(n) => Some(i128::from(*n)),
        Field::Long(n) => Some(i128::from(*n)),
        Field::UByte(n) => Some(i128::from(*n)),
        Field::UShort(n) => Some(i128::from(*n)),
        Field::UInt(n) => Some(i128::from(*n)),
        Field::ULong(n) => Some(i128::from(*n)),
        _ => None,
    }
}

/// Returns the class of a label. A number is an index into the names given by the file, or else
/// into the class list if there is one.
fn number_of(
    label: &Label,
    names: Option<&[String]>,
    path: &Path,
    reading: &mut Reading,
) -> Result<u32, String> {
    let plain = |error: Error| match error {
        Error::Input(input) => match &input.hint {
            Some(hint) => format!("{} ({hint})", input.problem),
            None => input.problem.clone(),
        },
        other => other.to_string(),
    };
    let name = match label {
        Label::Name(name) => name.clone(),
        Label::Number(number) => {
            let at = usize::try_from(*number).unwrap_or(usize::MAX);
            let known = &reading.classes;
            match (names, known.is_closed()) {
                (Some(names), _) => {
                    let count = names.len();
                    let problem = || format!("class {number}, but the file names {count}");
                    names.get(at).cloned().ok_or_else(problem)?
                }
                (None, true) if !known.knows(&number.to_string()) => {
                    let count = known.names().len();
                    let problem = || format!("class {number}, of {count} in the class list");
                    known.names().get(at).cloned().ok_or_else(problem)?
                }
                (None, _) => number.to_string(),
            }
        }
    };
    reading.classes.number(&name, path, None).map_err(plain)
}

#[cfg(test)]
mod tests;

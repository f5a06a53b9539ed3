//! Class names met while annotations are read, and the rows that refer to them.

use std::collections::HashMap;
use std::path::Path;

use crate::data::labels::LabelTable;
use crate::error::{Error, Result, closest};

/// Names to indices. An open index grows with every new name and is sorted at the end; a closed
/// one, made of a given class list, knows no others and keeps its order.
pub(crate) struct ClassIndex {
    names: Vec<String>,
    by_name: HashMap<String, u32>,
    closed: bool,
}

impl ClassIndex {
    /// An open index, or a closed one over `classes`.
    pub fn new(classes: Option<Vec<String>>) -> Self {
        let closed = classes.is_some();
        let names = classes.unwrap_or_default();
        let by_name = (names.iter().cloned()).zip(0..names.len() as u32).collect();
        ClassIndex {
            names,
            by_name,
            closed,
        }
    }

    /// The index of `name`; `None` for a name that a closed index does not know.
    pub fn get(&mut self, name: &str) -> Option<u32> {
        if let Some(&index) = self.by_name.get(name) {
            return Some(index);
        }
        if self.closed {
            return None;
        }
        let index = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.by_name.insert(name.to_owned(), index);
        Some(index)
    }

    /// The error for a name that is not in a closed index.
    pub fn unknown(&self, place: impl std::fmt::Display, name: &str) -> Error {
        let error = Error::input(place, format_args!("unknown class `{name}`"));
        match closest(name, self.names.iter().map(String::as_str)) {
            Some(near) => error.hint(format_args!("did you mean `{near}`?")),
            None => error.hint(format_args!(
                "the class list has {} classes; add the name there, or leave the list out to take every name that occurs",
                self.names.len()
            )),
        }
    }

    /// The class names in their final order, and where each index goes.
    fn finish(&self) -> (Vec<String>, Vec<u32>) {
        let mut order: Vec<u32> = (0..self.names.len() as u32).collect();
        if !self.closed {
            order.sort_by(|&a, &b| self.names[a as usize].cmp(&self.names[b as usize]));
        }
        let mut place = vec![0; order.len()];
        for (new, &old) in order.iter().enumerate() {
            place[old as usize] = new as u32;
        }
        let names = order.iter().map(|&i| self.names[i as usize].clone());
        (names.collect(), place)
    }

    /// Turns rows that hold this index's numbers into tables over the final class list.
    pub fn tables<const N: usize>(&self, rows: [Rows; N]) -> [LabelTable; N] {
        let (names, place) = self.finish();
        rows.map(|rows| {
            let mut table = LabelTable::new(names.clone());
            for (image, labels) in rows {
                table.push(image, labels.into_iter().map(|c| place[c as usize]));
            }
            table
        })
    }
}

/// Images with the class numbers of a [`ClassIndex`].
pub(crate) type Rows = Vec<(String, Vec<u32>)>;

/// Reads a class list: one name a line; empty lines are skipped.
pub fn read_class_list(path: &Path) -> Result<Vec<String>> {
    let text = super::table::read_utf8(path)?;
    let mut names: Vec<String> = Vec::new();
    let mut first_line = HashMap::new();
    for (number, line) in (1u64..).zip(text.lines()) {
        let name = line.trim();
        if name.is_empty() {
            continue;
        }
        if let Some(first) = first_line.insert(name.to_owned(), number) {
            return Err(Error::line(
                path,
                number,
                format_args!("class `{name}` is already on line {first}"),
            ));
        }
        names.push(name.to_owned());
    }
    if names.is_empty() {
        return Err(
            Error::file(path, "the class list is empty").hint("write one class name a line")
        );
    }
    Ok(names)
}

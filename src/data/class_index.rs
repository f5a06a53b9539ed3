//! The class names found while reading annotations, and the rows that refer to them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::data::account::Account;
use crate::data::class_name::{appearance, clean};
use crate::data::labels::LabelTable;
use crate::error::{Error, Result, closest};
use crate::text;

/// Maps names to indices. An open index grows with every new name and is sorted at the end; a
/// closed one, built from a given class list, accepts no other names and keeps its order.
pub(crate) struct ClassIndex {
    names: Vec<String>,
    /// Every spelling found, and the names themselves.
    by_spelling: HashMap<String, u32>,
    /// Indices of names that also occurred in another Unicode normalisation form.
    normalised: Vec<u32>,
    closed: bool,
}

impl ClassIndex {
    /// Creates an open index, or a closed one over `classes`, which must be clean and distinct.
    pub(crate) fn new(classes: Option<Vec<String>>) -> Self {
        let closed = classes.is_some();
        let names = classes.unwrap_or_default();
        let by_spelling = (names.iter().cloned()).zip(0..names.len() as u32).collect();
        ClassIndex {
            names,
            by_spelling,
            normalised: Vec::new(),
            closed,
        }
    }

    /// Returns true if the names come from a list.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Returns the names found so far.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns true if the index knows the name in exactly this spelling.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.by_spelling.contains_key(name)
    }

    /// Returns the index of a name as written in a file; `line` is its line, if known.
    ///
    /// # Errors
    /// Returns an error if the name is invalid (see [`clean`]) or unknown to a closed index.
    pub(crate) fn number(&mut self, raw: &str, path: &Path, line: Option<u64>) -> Result<u32> {
        let raw = raw.trim();
        if let Some(&index) = self.by_spelling.get(raw) {
            return Ok(index);
        }
        let place = |problem: String| match line {
            Some(line) => Error::line(path, line, problem),
            None => Error::file(path, problem),
        };
        let name = clean(raw).map_err(|problem| {
            let hint = match raw.contains(['\n', '\r']) {
                true => "look for an unclosed `\"`",
                false => "rename the class; names are shown in tables, plots and LaTeX",
            };
            place(problem).hint(hint)
        })?;
        let index = match self.by_spelling.get(name.as_ref()) {
            Some(&index) => index,
            None if self.closed => {
                return Err(self.hint_at(place(format!("unknown class `{name}`")), &name));
            }
            None => {
                let index = self.names.len() as u32;
                self.names.push(name.clone().into_owned());
                self.by_spelling.insert(name.clone().into_owned(), index);
                index
            }
        };
        if name != raw {
            self.normalised.push(index);
            self.by_spelling.insert(raw.to_owned(), index);
        }
        Ok(index)
    }

    fn hint_at(&self, error: Error, name: &str) -> Error {
        match closest(name, self.names.iter().map(String::as_str)) {
            Some(near) => error.hint(format_args!("did you mean `{near}`?")),
            None => error.hint(format_args!(
                "the class list has {} classes; add the name there, or leave the list out to take every name that occurs",
                self.names.len()
            )),
        }
    }

    /// Reports names that occurred in two Unicode normalisation forms, and names that look alike.
    pub(crate) fn tell_look_alikes(&self, place: &Path, account: &mut Account) {
        let written_otherwise = self
            .normalised
            .iter()
            .map(|&i| self.names[i as usize].as_str());
        account.warn(
            place,
            ("class name", "not in Unicode form NFC, and converted to it"),
            written_otherwise,
            "",
        );
        let mut alike: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for name in &self.names {
            alike.entry(appearance(name)).or_default().push(name);
        }
        let groups: Vec<String> = (alike.into_values())
            .filter(|names| names.len() > 1)
            .map(|mut names| {
                names.sort_unstable();
                names.join("` and `")
            })
            .collect();
        account.warn(
            place,
            ("look-alike", "among the class names, kept apart"),
            groups.iter().map(String::as_str),
            "merge them in the annotations if they mean the same",
        );
    }

    /// Returns the class names in their final order, and the final index of each current index.
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

    /// Converts rows that use this index into tables over the final class list.
    pub(crate) fn tables<const N: usize>(&self, rows: [Rows; N]) -> [LabelTable; N] {
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

/// Images with class numbers of a [`ClassIndex`].
pub(crate) type Rows = Vec<(String, Vec<u32>)>;

/// The state shared by readers: the classes found, and the account of what was left out.
pub(crate) struct Reading {
    /// The classes.
    pub classes: ClassIndex,
    /// What was left out.
    pub account: Account,
}

impl Reading {
    /// Starts over the names in a class list file, or over all names that will occur.
    pub(crate) fn new(list: Option<&Path>) -> Result<Self> {
        Ok(Self::over(list.map(read_class_list).transpose()?))
    }

    /// Starts over the given names, or over all names that will occur.
    pub(crate) fn over(classes: Option<Vec<String>>) -> Self {
        Reading {
            classes: ClassIndex::new(classes),
            account: Account::default(),
        }
    }
}

/// Reads a class list: one name per line; empty lines are skipped.
pub fn read_class_list(path: &Path) -> Result<Vec<String>> {
    let text = text::read(path)?;
    let mut names: Vec<String> = Vec::new();
    let mut first_line = HashMap::new();
    for (number, line) in text::lines(&text) {
        if line.trim().is_empty() {
            continue;
        }
        let name = clean(line).map_err(|problem| Error::line(path, number, problem))?;
        if let Some(first) = first_line.insert(name.clone().into_owned(), number) {
            let problem = format_args!("class `{name}` is already on line {first}");
            return Err(Error::line(path, number, problem));
        }
        names.push(name.into_owned());
    }
    if names.is_empty() {
        return Err(
            Error::file(path, "the class list is empty").hint("write one class name per line")
        );
    }
    Ok(names)
}

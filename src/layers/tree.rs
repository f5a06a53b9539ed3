//! A TOML table that records where each of its keys was written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::embedded;
use crate::error::{Error, KeyPath, Place, Result};
use crate::io::absolute;

/// Where a key was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In a file, on a line counted from 1; `None` means the file as a whole.
    File {
        /// The path as given by the user.
        path: Arc<Path>,
        /// Counted from 1.
        line: Option<u64>,
    },
    /// In an argument, as given: `--set train.epochs=0`.
    Argument(Arc<str>),
}

impl Origin {
    /// Returns the file as a whole.
    pub fn file(path: &Path) -> Self {
        Origin::File {
            path: path.into(),
            line: None,
        }
    }

    /// Returns the place to name in errors.
    pub fn place(&self) -> Place {
        match self {
            Origin::File { path, line } => Place::File {
                path: path.to_path_buf(),
                line: *line,
            },
            Origin::Argument(text) => Place::Argument(text.to_string()),
        }
    }

    /// Makes a path written here absolute: it is relative to the folder of the file, or to the
    /// working directory for an argument; for an embedded file see [`embedded`].
    pub fn resolve(&self, path: &Path) -> PathBuf {
        let folder = match self {
            Origin::File { path, .. } => path.parent().unwrap_or(Path::new("")),
            Origin::Argument(_) => Path::new(""),
        };
        match embedded::from_here(folder, path) {
            Some(path) => absolute(Path::new(""), &path),
            None => absolute(folder, path),
        }
    }
}

/// A table with the origin of each of its keys.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    table: Table,
    origins: BTreeMap<KeyPath, Origin>,
}

impl Tree {
    /// Parses a file's text.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let table: Table = text.parse().map_err(|e| syntax_error(path, text, &e))?;
        let spans = DeTable::parse(text).map_err(|e| syntax_error(path, text, &e))?;
        let mut origins = BTreeMap::from([(KeyPath::root(), Origin::file(path))]);
        let lines = Lines {
            path: path.into(),
            text,
        };
        lines.table(spans.get_ref(), &KeyPath::root(), &mut origins);
        Ok(Tree { table, origins })
    }

    /// Makes a tree with one value at a path, with a single origin.
    pub fn single(path: &KeyPath, value: Value, origin: &Origin) -> Self {
        let mut origins = BTreeMap::new();
        spread(&value, path, origin, &mut origins);
        for above in std::iter::successors(path.parent(), KeyPath::parent) {
            origins.insert(above, origin.clone());
        }
        let nested = (path.keys().iter().rev()).fold(value, |inner, key| {
            Value::Table(Table::from_iter([(key.clone(), inner)]))
        });
        let table = match nested {
            Value::Table(table) => table,
            _ => Table::new(),
        };
        Tree { table, origins }
    }

    /// Returns the table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Returns where a key was written, or the innermost table above it that has an origin.
    pub fn origin(&self, key: &KeyPath) -> Option<&Origin> {
        let mut above = std::iter::successors(Some(key.clone()), KeyPath::parent);
        above.find_map(|path| self.origins.get(&path))
    }

    /// Makes a path written at `key` absolute, see [`Origin::resolve`].
    pub fn resolve(&self, key: &KeyPath, path: &Path) -> PathBuf {
        match self.origin(key) {
            Some(origin) => origin.resolve(path),
            None => absolute(Path::new(""), path),
        }
    }

    /// Joins a path written at `key` to the folder of the file that contains it.
    pub fn beside(&self, key: &KeyPath, path: &Path) -> PathBuf {
        match self.origin(key) {
            Some(Origin::File { path: file, .. }) => {
                file.parent().unwrap_or(Path::new("")).join(path)
            }
            _ => path.to_owned(),
        }
    }

    /// Merges `over` on top. A table with a different `kind` or `name` replaces the one below it
    /// completely, because its other keys would have another meaning.
    pub fn merge(&mut self, over: Tree) {
        let mut replaced = Vec::new();
        merge(&mut self.table, over.table, &KeyPath::root(), &mut replaced);
        self.origins
            .retain(|key, _| !replaced.iter().any(|path: &KeyPath| path.holds(key)));
        self.origins.extend(over.origins);
    }

    /// Removes a top-level key and returns its value, with the origins of it and everything below
    /// it, with paths from the root.
    pub fn take(&mut self, key: &str) -> Option<(Value, Tree)> {
        let value = self.table.remove(key)?;
        let path = KeyPath::root().child(key);
        let mut origins = BTreeMap::new();
        self.origins.retain(|at, origin| {
            let inside = path.holds(at);
            if inside {
                origins.insert(at.clone(), origin.clone());
            }
            !inside
        });
        let table = Table::from_iter([(key.to_owned(), value.clone())]);
        Some((value, Tree { table, origins }))
    }

    /// Returns the table at `path` as a separate tree; `None` if there is none.
    pub fn below(&self, path: &KeyPath) -> Option<Tree> {
        let mut table = &self.table;
        for key in path.keys() {
            table = table.get(key)?.as_table()?;
        }
        let depth = path.keys().len();
        let origins = (self.origins.iter())
            .filter(|(at, _)| path.holds(at))
            .map(|(at, origin)| {
                let rest = at.keys()[depth..].iter().cloned().collect();
                (rest, origin.clone())
            })
            .collect();
        Some(Tree {
            table: table.clone(),
            origins,
        })
    }
}

fn merge(base: &mut Table, over: Table, at: &KeyPath, replaced: &mut Vec<KeyPath>) {
    for (key, value) in over {
        let path = at.child(&key);
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => {
                let another = ["kind", "name"].iter().any(|tag| {
                    above
                        .get(*tag)
                        .is_some_and(|value| below.get(*tag) != Some(value))
                });
                if another {
                    *below = above;
                    replaced.push(path);
                } else {
                    merge(below, above, &path, replaced);
                }
            }
            (_, value) => {
                base.insert(key, value);
                replaced.push(path);
            }
        }
    }
}

/// Assigns the same origin to a value and everything in it.
fn spread(value: &Value, at: &KeyPath, origin: &Origin, to: &mut BTreeMap<KeyPath, Origin>) {
    to.insert(at.clone(), origin.clone());
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                spread(value, &at.child(key), origin, to);
            }
        }
        Value::Array(items) => {
            for (i, value) in items.iter().enumerate() {
                spread(value, &at.item(i), origin, to);
            }
        }
        _ => {}
    }
}

/// Converts byte offsets in a file's text to lines.
struct Lines<'a> {
    path: Arc<Path>,
    text: &'a str,
}

impl Lines<'_> {
    fn origin(&self, start: usize) -> Origin {
        Origin::File {
            path: Arc::clone(&self.path),
            line: Some(line(self.text, start)),
        }
    }

    fn table(&self, table: &DeTable, at: &KeyPath, origins: &mut BTreeMap<KeyPath, Origin>) {
        for (key, value) in table {
            let path = at.child(key.get_ref());
            origins.insert(path.clone(), self.origin(key.span().start));
            self.value(value, &path, origins);
        }
    }

    fn value(
        &self,
        value: &Spanned<DeValue>,
        at: &KeyPath,
        origins: &mut BTreeMap<KeyPath, Origin>,
    ) {
        match value.get_ref() {
            DeValue::Table(table) => self.table(table, at, origins),
            DeValue::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    let path = at.item(i);
                    origins.insert(path.clone(), self.origin(item.span().start));
                    self.value(item, &path, origins);
                }
            }
            _ => {}
        }
    }
}

/// Returns the line of a byte offset in the text, counted from 1.
fn line(text: &str, byte: usize) -> u64 {
    let before = &text.as_bytes()[..byte.min(text.len())];
    before.iter().filter(|&&b| b == b'\n').count() as u64 + 1
}

fn syntax_error(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let message = error.message().trim().replace('\n', ", ");
    let problem = match message.contains("number too") || message.contains("integer") {
        true => format!("contains a number beyond {}", i64::MAX),
        false => format!("is not TOML: {message}"),
    };
    match error.span() {
        Some(span) => Error::line(path, line(text, span.start), problem),
        None => Error::file(path, problem),
    }
}

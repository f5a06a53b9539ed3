//! Merging of files and `--set` into one TOML table: `extends`, overrides, the origin of each key,
//! and errors that name that origin in plain words.

pub mod embedded;
mod kind;
mod reader;
mod tree;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::error::{Error, KeyPath, Place, Result, closest};

pub(crate) use kind::kinds;
pub use kind::{deserialize_table, kind, read_kind, unknown_kind};
pub use reader::carry;
use reader::{Fault, Wrong};
pub use tree::{Origin, Tree};

/// A value for a key that does not come from a file: `--set`, or a point of a sweep's grid.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// The key.
    pub key: KeyPath,
    /// Its value.
    pub value: Value,
    /// Where it was written.
    pub origin: Origin,
}

impl Assignment {
    /// Parses `key.path=value`, given as `--set`; the value is TOML, or plain text if it is not
    /// valid TOML.
    pub fn parse(text: &str) -> Result<Self> {
        Self::of_argument(text, &format!("--set {text}"))
    }

    /// Parses `key.path=value`; errors name `argument`, where it was given.
    pub fn of_argument(text: &str, argument: &str) -> Result<Self> {
        let wrong = |problem: &str| Err(Error::argument(argument, problem));
        let Some((key, value)) = text.split_once('=') else {
            return wrong("expected `key.path=value`");
        };
        let (key, value) = (key.trim(), value.trim());
        if key.is_empty() || key.starts_with('.') || key.ends_with('.') || key.contains("..") {
            return wrong("the key is empty");
        }
        let Some(path) = parse_key(key) else {
            return wrong("the key is not a TOML key, expected `table.key`");
        };
        let parsed = format!("value = {value}").parse::<Table>().ok();
        let value = parsed
            .filter(|table| table.len() == 1)
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| Value::String(value.to_owned()));
        Ok(Assignment {
            key: path,
            value,
            origin: Origin::Argument(argument.into()),
        })
    }
}

/// Parses the path of a key as written in TOML, with dots and quotes.
fn parse_key(key: &str) -> Option<KeyPath> {
    let mut table = format!("{key} = 0").parse::<Table>().ok()?;
    let mut path = KeyPath::root();
    loop {
        let (name, value) = table.into_iter().next()?;
        path = path.child(&name);
        match value {
            Value::Table(inner) => table = inner,
            _ => return Some(path),
        }
    }
}

/// A stack of configuration layers, the base first, merged into one table.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    tree: Tree,
    /// The assignments of `--set`, which are also applied on top of every later overlay.
    assigned: Vec<Tree>,
    /// The file that was read; the files it extends are below it.
    file: Option<PathBuf>,
}

impl Layers {
    /// Makes a single layer from the text of the file at `path`.
    ///
    /// # Errors
    /// Fails if it is not TOML.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let mut layers = Layers::default();
        layers.tree.merge(Tree::parse(path, text)?);
        Ok(layers)
    }

    /// Reads `path`, or the embedded file it refers to (see [`embedded::meant`]), and every file it
    /// extends: `extends = "base.toml"`, relative to the file.
    pub fn read(path: &Path) -> Result<Self> {
        let mut chain: Vec<(PathBuf, Tree)> = Vec::new();
        let first = embedded::meant(path)?;
        let mut next = Some(first.clone());
        while let Some(path) = next.take() {
            let mut tree = match embedded::text_of(&path) {
                Some(text) => Tree::parse(&path, text)?,
                None => Tree::parse(&path, &crate::text::read(&path)?)?,
            };
            if let Some((base, written)) = tree.take("extends") {
                let at = KeyPath::from("extends");
                let wrong = |problem: String| Err(written.locate(Error::key(&at, problem)));
                let Value::String(base) = base else {
                    return wrong("is not a file name, expected a text in quotes".to_owned());
                };
                let base = path.parent().unwrap_or(Path::new("")).join(base);
                let same = |other: &Path| match (base.canonicalize(), other.canonicalize()) {
                    (Ok(a), Ok(b)) => a == b,
                    _ => match (embedded::name_of(&base), embedded::name_of(other)) {
                        (Some(a), Some(b)) => a == b,
                        _ => false,
                    },
                };
                if same(&path) || chain.iter().any(|(other, _)| same(other)) {
                    return wrong("is circular: the files extend each other".to_owned());
                }
                if !embedded::is_there(&base) {
                    return wrong(format!("is `{}`, which does not exist", base.display()));
                }
                next = Some(base);
            }
            chain.push((path, tree));
        }
        let mut layers = Layers {
            file: Some(first),
            ..Layers::default()
        };
        for (_, tree) in chain.into_iter().rev() {
            layers.tree.merge(tree);
        }
        Ok(layers)
    }

    /// Applies `key.path=value` of a `--set`, see [`Assignment::parse`].
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        self.assign(&Assignment::parse(assignment)?);
        Ok(())
    }

    /// Sets a value for a key, on top of every file and of every later overlay.
    pub fn assign(&mut self, assignment: &Assignment) {
        let Assignment { key, value, origin } = assignment;
        let tree = Tree::single(key, value.clone(), origin);
        self.tree.merge(tree.clone());
        // A new kind of table must come first, because it drops the keys of the old one.
        match key.last() {
            Some("name" | "kind") => self.assigned.insert(0, tree),
            _ => self.assigned.push(tree),
        }
    }

    /// Merges the overrides of a method on top of the files, and then the assignments of `--set`.
    pub fn overlay(&mut self, overrides: Tree) {
        self.tree.merge(overrides);
        for assigned in &self.assigned {
            let mut assigned = assigned.clone();
            assigned.take("methods");
            self.tree.merge(assigned);
        }
    }

    /// Removes and returns the table of a top-level key; `None` if there is none.
    pub fn take_table(&mut self, key: &str) -> Result<Option<Tree>> {
        let Some((value, tree)) = self.tree.take(key) else {
            return Ok(None);
        };
        let path = KeyPath::root().child(key);
        match tree.below(&path) {
            Some(below) => Ok(Some(below)),
            None => {
                let problem = format!("is {}, expected a table", plain(&value));
                Err(tree.locate(Error::key(path, problem)))
            }
        }
    }

    /// Removes and returns the value of a top-level key, typed, with its origin; `expected`
    /// completes «expected ...».
    pub fn take<T: DeserializeOwned>(
        &mut self,
        key: &str,
        expected: &str,
    ) -> Result<Option<(T, Tree)>> {
        let Some((value, tree)) = self.tree.take(key) else {
            return Ok(None);
        };
        let wrong = || {
            let problem = format!("is {}, expected {expected}", plain(&value));
            tree.locate(Error::key(KeyPath::root().child(key), problem))
        };
        match value.clone().try_into() {
            Ok(typed) => Ok(Some((typed, tree))),
            Err::<_, toml::de::Error>(_) => Err(wrong()),
        }
    }

    /// Returns the file that was read; an embedded one has its own path, see [`embedded`].
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Returns the merged table.
    pub fn table(&self) -> &Table {
        self.tree.table()
    }

    /// Returns the merged table with the origin of each key.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Converts the merged table to a typed configuration. An error names the file and line, or the
    /// argument, that set the key, the accepted values, and a likely correction.
    pub fn typed<T: DeserializeOwned>(&self) -> Result<T> {
        self.tree.typed(&[])
    }
}

impl Tree {
    /// Converts the table to a typed configuration, see [`Layers::typed`]. `elsewhere` lists the
    /// keys that an unknown key in the wrong place may mean.
    pub fn typed<T: DeserializeOwned>(&self, elsewhere: &[KeyPath]) -> Result<T> {
        reader::read(self.table()).map_err(|fault| self.explain(&fault, elsewhere))
    }

    /// Replaces the key in an error by the file and line, or the argument, that set it.
    pub fn locate(&self, error: Error) -> Error {
        self.locate_below(&KeyPath::root(), error)
    }

    /// Like [`Tree::locate`], for a tree that is below `above` in its file.
    pub fn locate_below(&self, above: &KeyPath, error: Error) -> Error {
        let Error::Input(input) = &error else {
            return error;
        };
        let Place::Key(key) = &input.at else {
            return error;
        };
        let full = above.joined(key);
        let place = self.origin(key).map(Origin::place);
        match (error, place) {
            (Error::Input(mut input), Some(place)) => {
                if !full.keys().is_empty() {
                    input.problem = format!("`{full}` {}", input.problem);
                }
                input.at = place;
                Error::Input(input)
            }
            (error, _) => error,
        }
    }

    /// If the key `at` is missing, returns the key beside it with a similar spelling, and the name
    /// of `at`.
    fn slip<'a>(&self, at: &'a KeyPath) -> Option<(KeyPath, &'a str)> {
        let (above, name) = (at.parent()?, at.last()?);
        let mut table = self.table();
        for key in above.keys() {
            table = table.get(key)?.as_table()?;
        }
        let near = (table.keys()).find(|key| closest(key, [name]).is_some())?;
        (!table.contains_key(name)).then(|| (above.child(near), name))
    }

    fn explain(&self, fault: &Fault, elsewhere: &[KeyPath]) -> Error {
        let Fault { at, wrong } = fault;
        // A missing required key is often present under a misspelt name.
        if let Wrong::Missing(_) | Wrong::Own { key: Some(_), .. } = wrong
            && let Some((slip, name)) = self.slip(at)
        {
            let problem = format!("is unknown, expected `{name}`");
            let error = self.locate(Error::key(slip, problem));
            return error.hint(format_args!("did you mean `{name}`?"));
        }
        let error = self.locate(Error::key(at, wrong));
        match wrong {
            Wrong::Word { given, accepted } => {
                error.did_you_mean(given, accepted.iter().map(String::as_str))
            }
            Wrong::Key { given, accepted } => {
                match closest(given, accepted.iter().map(String::as_str)) {
                    Some(near) => error.hint(format_args!("did you mean `{near}`?")),
                    None => match other_place(given, at, elsewhere) {
                        Some(path) => error.hint(format_args!("did you mean `{path}`?")),
                        None => error,
                    },
                }
            }
            Wrong::Own {
                hint: Some(hint), ..
            } => error.hint(hint),
            _ => error,
        }
    }
}

/// Returns a known key with this name in another table.
fn other_place<'a>(given: &str, at: &KeyPath, elsewhere: &'a [KeyPath]) -> Option<&'a KeyPath> {
    let last = |path: &'a KeyPath| path.last().unwrap_or_default();
    let near = closest(given, elsewhere.iter().map(last))?;
    (elsewhere.iter()).find(|path| path.last() == Some(near) && *path != at)
}

/// Converts the table at the key `at` to a typed value, for a type that examines its table before
/// it knows how to read it, and passes the error on with [`carry`]. `beside` lists further keys
/// that belong to the table.
pub fn read_table<T: DeserializeOwned>(table: &Table, at: &KeyPath, beside: &[&str]) -> Result<T> {
    reader::read(table).map_err(
        |Fault {
             at: below,
             mut wrong,
         }| {
            if let Wrong::Key { accepted, .. } = &mut wrong
                && below.keys().len() == 1
            {
                accepted.extend(beside.iter().map(|key| (*key).to_owned()));
            }
            let error = Error::key(at.joined(&below), &wrong);
            match &wrong {
                Wrong::Word { given, accepted } | Wrong::Key { given, accepted } => {
                    error.did_you_mean(given, accepted.iter().map(String::as_str))
                }
                _ => error,
            }
        },
    )
}

/// Formats a value for an error.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the text `{text}`"),
        Value::Table(_) => "a table".to_owned(),
        Value::Boolean(flag) => format!("`{flag}`"),
        other => other.to_string(),
    }
}

/// Returns the values of a nested table with their dotted keys: `"a.b" = 1` and `a.b = 1` are the
/// same.
pub fn leaves(table: &Table) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => {
                let inner = leaves(inner).into_iter();
                found.extend(inner.map(|(rest, value)| (format!("{key}.{rest}"), value)));
            }
            _ => found.push((key.clone(), value.clone())),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        gamma: f64,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        seed: u64,
        loss: Inner,
    }

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs_err::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn the_file_overrides_its_base_and_set_overrides_both() {
        let folder = folder(&[
            ("base.toml", "seed = 1\n[loss]\ngamma = 2.0\n"),
            ("top.toml", "extends = 'base.toml'\nseed = 5\n"),
        ]);
        let mut layers = Layers::read(&folder.path().join("top.toml")).unwrap();
        layers.set("loss.gamma=0.5").unwrap();
        let expected = Outer {
            seed: 5,
            loss: Inner { gamma: 0.5 },
        };
        assert_eq!(layers.typed::<Outer>().unwrap(), expected);
    }

    #[test]
    fn set_overrides_the_method_too() {
        let folder = folder(&[("a.toml", "seed = 1\n")]);
        let mut layers = Layers::read(&folder.path().join("a.toml")).unwrap();
        layers.set("loss.gamma=0.5").unwrap();
        layers.set("loss.name=focal").unwrap();
        let method = "[loss]\nname = 'db-focal'\ngamma = 2.0";
        layers.overlay(Tree::parse(Path::new("m.toml"), method).unwrap());
        let expected = "name = 'focal'\ngamma = 0.5".parse::<Table>().unwrap();
        assert_eq!(layers.table()["loss"], Value::Table(expected));
    }

    #[test]
    fn an_unknown_key_is_named_with_line_and_likely_meaning() {
        let folder = folder(&[("a.toml", "seed = 1\n[loss]\ngama = 2.0\n")]);
        let layers = Layers::read(&folder.path().join("a.toml")).unwrap();
        let error = layers.typed::<Outer>().unwrap_err();
        let Error::Input(input) = error else {
            panic!("expected an input error")
        };
        assert!(input.at.to_string().ends_with("a.toml:3"), "{}", input.at);
        assert!(input.problem.contains("loss.gama"), "{}", input.problem);
        assert!(
            input.problem.contains("expected `gamma`"),
            "{}",
            input.problem
        );
    }

    #[test]
    fn another_kind_replaces_the_whole_table() {
        let tree = |text: &str| Tree::parse(Path::new("a.toml"), text).unwrap();
        let mut base = tree("[loss]\nname = 'db'\nkappa = 1");
        base.merge(tree("[loss]\nname = 'bce'"));
        assert_eq!(base.table(), tree("[loss]\nname = 'bce'").table());
        base.merge(tree("[loss]\nscale = 2"));
        let both = tree("[loss]\nname = 'bce'\nscale = 2");
        assert_eq!(base.table(), both.table());
    }

    #[test]
    fn circles_and_broken_toml_are_told() {
        let folder = folder(&[
            ("a.toml", "extends = 'b.toml'"),
            ("b.toml", "extends = 'a.toml'"),
            ("c.toml", "seed = 1\nloss = [\n"),
        ]);
        let error = |name: &str| {
            let error = Layers::read(&folder.path().join(name)).unwrap_err();
            error.to_string()
        };
        assert!(error("a.toml").contains("circular"));
        assert!(error("c.toml").contains("c.toml:"), "{}", error("c.toml"));
    }
}

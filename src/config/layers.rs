//! From files and `--set` to one TOML table: `extends`, merging, and where a key came from.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::error::{Error, Result, closest};

/// A stack of configuration layers, the base first, and their merged table.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    table: Table,
    /// What `--set` gave, to be put on top of every later overlay too.
    assigned: Vec<Table>,
    /// The method whose overrides were laid over the rest.
    method: Option<String>,
    sources: Vec<Source>,
}

#[derive(Debug, Clone)]
enum Source {
    File { path: PathBuf, text: String },
    Set { key: String },
}

impl Layers {
    /// Reads `path` and every file it extends: `extends = "base.toml"`, relative to the file.
    pub fn read(path: &Path) -> Result<Self> {
        let mut chain = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next.take() {
            let text = fs_err::read_to_string(&path)?;
            let mut table: Table = text.parse().map_err(|e| syntax_error(&path, &text, &e))?;
            if let Some(base) = table.remove("extends") {
                let place = || find_key(&path, &text, "extends");
                let Value::String(base) = base else {
                    return Err(Error::input(place(), "`extends` is not a file name"));
                };
                let base = path.parent().unwrap_or(Path::new(".")).join(base);
                let same = |other: &Path| match (base.canonicalize(), other.canonicalize()) {
                    (Ok(a), Ok(b)) => a == b,
                    _ => false,
                };
                if same(&path)
                    || chain
                        .iter()
                        .any(|(other, _, _): &(PathBuf, _, _)| same(other))
                {
                    return Err(Error::input(
                        place(),
                        "the files extend each other in a circle",
                    ));
                }
                if !base.is_file() {
                    let problem = format!("extends `{}`, which does not exist", base.display());
                    return Err(Error::input(place(), problem));
                }
                next = Some(base);
            }
            chain.push((path, text, table));
        }
        let mut layers = Layers::default();
        for (path, text, table) in chain.into_iter().rev() {
            merge(&mut layers.table, table);
            layers.sources.push(Source::File { path, text });
        }
        Ok(layers)
    }

    /// Adds `key.path=value`; the value is TOML, or a plain string where it is not.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let Some((key, value)) = assignment.split_once('=') else {
            return Err(Error::argument(
                format_args!("--set {assignment}"),
                "expected `key.path=value`",
            ));
        };
        let (key, value) = (key.trim(), value.trim());
        if key.is_empty() || key.split('.').any(str::is_empty) {
            return Err(Error::argument(
                format_args!("--set {assignment}"),
                "the key is empty",
            ));
        }
        let parsed = format!("value = {value}").parse::<Table>().ok();
        let value = parsed
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| Value::String(value.to_owned()));
        let nested = key.rsplit('.').fold(value, |inner, part| {
            Value::Table(Table::from_iter([(part.to_owned(), inner)]))
        });
        if let Value::Table(table) = nested {
            merge(&mut self.table, table.clone());
            // A new kind of table comes first, for it drops the keys of the old one.
            match key.ends_with(".name") || key.ends_with(".kind") {
                true => self.assigned.insert(0, table),
                false => self.assigned.push(table),
            }
        }
        self.sources.push(Source::Set {
            key: key.to_owned(),
        });
        Ok(())
    }

    /// Merges the overrides of a method on top of the files, and what `--set` gave on top of that.
    pub fn overlay(&mut self, method: &str, table: &Table) {
        merge(&mut self.table, table.clone());
        for assigned in &self.assigned {
            let mut assigned = assigned.clone();
            assigned.remove("methods");
            merge(&mut self.table, assigned);
        }
        self.method = Some(method.to_owned());
    }

    /// Takes a top-level key out.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.table.remove(key)
    }

    /// The merged table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The merged table as a typed configuration. An error names the file and line where the key
    /// was written, and the accepted names if it is unknown.
    pub fn typed<T: DeserializeOwned>(&self) -> Result<T> {
        serde_path_to_error::deserialize(self.table.clone()).map_err(|e| {
            let mut path = e.path().to_string();
            let message = e.inner().message().trim().to_owned();
            let unknown = message
                .strip_prefix("unknown field `")
                .and_then(|rest| rest.split('`').next())
                .map(str::to_owned);
            if let Some(unknown) = &unknown
                && path.rsplit('.').next() != Some(unknown)
            {
                path = match path.as_str() {
                    "." => unknown.clone(),
                    _ => format!("{path}.{unknown}"),
                };
            }
            let problem = match path.as_str() {
                "." => message.clone(),
                _ => format!("`{path}`: {message}"),
            };
            let error = Error::input(self.place(&path), problem);
            let accepted = message.split('`').skip(3).step_by(2);
            match unknown.and_then(|name| closest(&name, accepted).map(str::to_owned)) {
                Some(near) => error.hint(format_args!("did you mean `{near}`?")),
                None => error,
            }
        })
    }

    /// Where the value of `key` was written last: `file:line` or `--set key`.
    pub fn place(&self, key: &str) -> String {
        let mut fallback = None;
        for source in self.sources.iter().rev() {
            match source {
                Source::Set { key: set } => {
                    if is_prefix(set, key) || is_prefix(key, set) {
                        return format!("--set {set}");
                    }
                }
                Source::File { path, text } => {
                    if let Some(line) = key_line(text, key, self.method.as_deref()) {
                        return format!("{}:{line}", path.display());
                    }
                    fallback.get_or_insert_with(|| path.display().to_string());
                }
            }
        }
        fallback.unwrap_or_else(|| "configuration".to_owned())
    }
}

/// Merges `over` into `base`. A table whose `kind` or `name` differs from the one below it
/// replaces it whole: its other keys would have another meaning.
pub fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => {
                let another = ["kind", "name"].iter().any(|tag| {
                    above
                        .get(*tag)
                        .is_some_and(|value| below.get(*tag) != Some(value))
                });
                if another {
                    *below = above;
                } else {
                    merge(below, above);
                }
            }
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

fn is_prefix(short: &str, long: &str) -> bool {
    long == short
        || long
            .strip_prefix(short)
            .is_some_and(|rest| rest.starts_with('.'))
}

/// The line of `key`, or of the longest part of it that the file writes out.
fn key_line(text: &str, key: &str, method: Option<&str>) -> Option<usize> {
    let mut section = String::new();
    let mut best: Option<(usize, usize)> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let written = if let Some(header) = line.strip_prefix('[') {
            section = header
                .trim_matches(|c| c == '[' || c == ']')
                .trim()
                .to_owned();
            section.clone()
        } else if let Some((name, _)) = line.split_once('=') {
            match section.as_str() {
                "" => name.trim().to_owned(),
                _ => format!("{section}.{}", name.trim()),
            }
        } else {
            continue;
        };
        // A method's overrides lie under `methods.<name>.` but mean the keys below that.
        let bare = match written.strip_prefix("methods.") {
            Some(rest) => match rest.split_once('.') {
                Some((name, bare)) if method.is_none_or(|method| method == name) => bare,
                _ => "",
            },
            None => written.as_str(),
        };
        if !bare.is_empty()
            && (is_prefix(bare, key))
            && best.is_none_or(|(length, _)| bare.len() > length)
        {
            best = Some((bare.len(), index + 1));
        }
    }
    best.map(|(_, line)| line)
}

fn find_key(path: &Path, text: &str, key: &str) -> String {
    match key_line(text, key, None) {
        Some(line) => format!("{}:{line}", path.display()),
        None => path.display().to_string(),
    }
}

fn syntax_error(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let message = error.message().trim().replace('\n', ", ");
    match error.span() {
        Some(span) => {
            let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
            Error::line(path, line as u64, format_args!("is not TOML: {message}"))
        }
        None => Error::file(path, format_args!("is not TOML: {message}")),
    }
}

/// The values of a nested table with their dotted keys: `"a.b" = 1` and `a.b = 1` are the same.
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
        let method: Table = "[loss]\nname = 'db-focal'\ngamma = 2.0".parse().unwrap();
        layers.overlay("db-focal", &method);
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
        let mut base: Table = "[loss]\nname = 'db'\nkappa = 1".parse().unwrap();
        merge(&mut base, "[loss]\nname = 'bce'".parse().unwrap());
        assert_eq!(base, "[loss]\nname = 'bce'".parse::<Table>().unwrap());
        merge(&mut base, "[loss]\nscale = 2".parse().unwrap());
        assert_eq!(
            base,
            "[loss]\nname = 'bce'\nscale = 2".parse::<Table>().unwrap()
        );
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
        assert!(error("a.toml").contains("circle"));
        assert!(error("c.toml").contains("c.toml:"), "{}", error("c.toml"));
    }
}

//! The place of an error: typed, so that a key can be converted to the file and line that set it.

use std::fmt;
use std::path::PathBuf;

/// The path of a configuration key, for example `loss.gamma`; empty for the whole configuration.
///
/// A `check` method receives the path of its own table and names its keys with [`KeyPath::join`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct KeyPath(Vec<String>);

impl KeyPath {
    /// Returns the path of the whole configuration.
    pub fn root() -> Self {
        KeyPath::default()
    }

    /// Returns the path of `key` below this one; `key` may be several keys separated by dots.
    pub fn join(&self, key: &str) -> Self {
        let below = key.split('.').filter(|part| !part.is_empty());
        KeyPath(
            self.0
                .iter()
                .map(String::as_str)
                .chain(below)
                .map(str::to_owned)
                .collect(),
        )
    }

    /// Returns the path `below` appended to this one.
    pub fn joined(&self, below: &KeyPath) -> Self {
        self.0.iter().chain(&below.0).cloned().collect()
    }

    /// Returns the path of one key below this one, which may contain any characters.
    pub fn child(&self, key: &str) -> Self {
        let mut path = self.clone();
        path.0.push(key.to_owned());
        path
    }

    /// Returns the path of an item of the list at this path, counted from 0.
    pub fn item(&self, index: usize) -> Self {
        self.child(&format!("[{index}]"))
    }

    /// Returns the path of the table that contains this key; `None` for the whole configuration.
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(KeyPath(above.to_vec()))
    }

    /// Returns the keys from the outermost to the innermost.
    pub fn keys(&self) -> &[String] {
        &self.0
    }

    /// Returns the innermost key; `None` for the whole configuration.
    pub fn last(&self) -> Option<&str> {
        self.0.last().map(String::as_str)
    }

    /// Returns whether `other` is this key or below it.
    pub fn holds(&self, other: &KeyPath) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl<S: Into<String>> FromIterator<S> for KeyPath {
    fn from_iter<I: IntoIterator<Item = S>>(keys: I) -> Self {
        KeyPath(keys.into_iter().map(Into::into).collect())
    }
}

impl From<&str> for KeyPath {
    /// Parses a path of keys separated by dots.
    fn from(dotted: &str) -> Self {
        KeyPath::root().join(dotted)
    }
}

impl From<&KeyPath> for KeyPath {
    fn from(path: &KeyPath) -> Self {
        path.clone()
    }
}

impl fmt::Display for KeyPath {
    /// Formats the path as in TOML: `loss.gamma`, with quotes around keys that contain anything but
    /// letters, digits, `_` and `-`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, key) in self.0.iter().enumerate() {
            if key.starts_with('[') && key.ends_with(']') {
                f.write_str(key)?;
                continue;
            }
            if i > 0 {
                f.write_str(".")?;
            }
            let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            match !key.is_empty() && key.chars().all(bare) {
                true => f.write_str(key)?,
                false => write!(f, "\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))?,
            }
        }
        Ok(())
    }
}

/// The place of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A configuration key. `layers::Layers` converts it to the file and line, or the argument,
    /// that set it.
    Key(KeyPath),
    /// A file, with the line if it is known, counted from 1.
    File {
        /// The path as given by the user.
        path: PathBuf,
        /// Counted from 1.
        line: Option<u64>,
    },
    /// A command-line argument as given: `--jobs`, `--set train.epochs=0`.
    Argument(String),
    /// Anything else that has a name: a class, an image, a program.
    Named(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Key(key) if key.keys().is_empty() => f.write_str("configuration"),
            Place::Key(key) => write!(f, "{key}"),
            Place::File { path, line: None } => write!(f, "{}", path.display()),
            Place::File {
                path,
                line: Some(line),
            } => write!(f, "{}:{line}", path.display()),
            Place::Argument(text) | Place::Named(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_as_toml_writes_it() {
        let path = KeyPath::from("grid").child("optimizer.learning_rate");
        assert_eq!(path.to_string(), "grid.\"optimizer.learning_rate\"");
        assert_eq!(
            KeyPath::from("loss").join("kernel.gamma").to_string(),
            "loss.kernel.gamma"
        );
        assert_eq!(Place::Key(KeyPath::root()).to_string(), "configuration");
    }
}

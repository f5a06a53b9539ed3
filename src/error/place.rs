//! Where a mistake is: typed, so that a key can be turned into the file and line that wrote it.

use std::fmt;
use std::path::PathBuf;

/// The path of a key in a configuration, for example `loss.gamma`; empty for the whole of it.
///
/// A `check` is given the path of its own table and names its keys with [`KeyPath::join`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct KeyPath(Vec<String>);

impl KeyPath {
    /// The configuration as a whole.
    pub fn root() -> Self {
        KeyPath::default()
    }

    /// The path below this one; `key` may be several keys with dots between them.
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

    /// The path `below` under this one.
    pub fn joined(&self, below: &KeyPath) -> Self {
        self.0.iter().chain(&below.0).cloned().collect()
    }

    /// The path of one key below this one, whatever characters it holds.
    pub fn child(&self, key: &str) -> Self {
        let mut path = self.clone();
        path.0.push(key.to_owned());
        path
    }

    /// The path of an item of the list at this one, counted from 0.
    pub fn item(&self, index: usize) -> Self {
        self.child(&format!("[{index}]"))
    }

    /// The path of the table that holds this key; `None` for the whole configuration.
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(KeyPath(above.to_vec()))
    }

    /// The keys from the outermost to the innermost.
    pub fn keys(&self) -> &[String] {
        &self.0
    }

    /// The innermost key; `None` for the whole configuration.
    pub fn last(&self) -> Option<&str> {
        self.0.last().map(String::as_str)
    }

    /// True if `other` is this key or lies below it.
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
    /// A path written with dots between its keys.
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
    /// As TOML writes it: `loss.gamma`, and in quotes what is more than letters, digits, `_`, `-`.
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

/// Where a mistake is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A key of a configuration. `config::Layers` turns it into the file and line, or the
    /// argument, that wrote it.
    Key(KeyPath),
    /// A file, and the line in it where that is known, counted from 1.
    File {
        /// As the user named it.
        path: PathBuf,
        /// Counted from 1.
        line: Option<u64>,
    },
    /// An argument of the command line as it was given: `--jobs`, `--set train.epochs=0`.
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

//! The one error type of the library: what is wrong, where, and what to do about it.

use std::fmt;
use std::path::Path;

/// Shorthand for results with the library's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, sorted by who can mend it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something the user gave is wrong; the process exits with code 2.
    #[error(transparent)]
    Input(#[from] Box<InputError>),
    /// The file system refused; the message names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// The user asked the process to stop, and what was done so far is saved.
    #[error("interrupted: {0}")]
    Interrupted(String),
}

/// A mistake in a file, a key, an argument: place, problem and remedy apart.
#[derive(Debug)]
pub struct InputError {
    /// File, line, key or argument that is wrong, for example `train.csv:17` or `loss.gamma`.
    pub place: String,
    /// What was found and what was expected there.
    pub problem: String,
    /// What to do, if there is anything to say beyond the problem.
    pub hint: Option<String>,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

impl std::error::Error for InputError {}

impl Error {
    /// An input error at `place` (a file with line, a key, an argument).
    pub fn input(place: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Error::Input(Box::new(InputError {
            place: place.to_string(),
            problem: problem.to_string(),
            hint: None,
        }))
    }

    /// An input error in a file.
    pub fn file(path: &Path, problem: impl fmt::Display) -> Self {
        Self::input(path.display(), problem)
    }

    /// An input error on a line of a file (1-based).
    pub fn line(path: &Path, line: u64, problem: impl fmt::Display) -> Self {
        Self::input(format_args!("{}:{line}", path.display()), problem)
    }

    /// Adds what to do about it. Errors that are not the user's are left as they are.
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        if let Error::Input(input) = &mut self {
            input.hint = Some(hint.to_string());
        }
        self
    }

    /// The process exit code: 2 for wrong input, 130 for an interruption, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Input(_) => 2,
            // Nearly always a path that the user named: missing, a folder, not readable.
            Error::Io(_) => 2,
            Error::Interrupted(_) => 130,
            Error::Tensor(_) => 1,
        }
    }
}

/// The accepted name closest to `given`, for «did you mean» hints; `None` where nothing is near.
pub fn closest<'a>(given: &str, accepted: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    accepted
        .into_iter()
        .map(|name| (edit_distance(given, name), name))
        .filter(|(distance, name)| *distance <= if name.len() < 5 { 1 } else { 2 })
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein distance over characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substitution = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closest_finds_a_typo_and_not_a_stranger() {
        let names = ["db-focal", "focal", "bce"];
        assert_eq!(closest("db-fokal", names), Some("db-focal"));
        assert_eq!(closest("transformer", names), None);
    }

    #[test]
    fn edit_distance_matches_known_values() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("same", "same"), 0);
    }
}

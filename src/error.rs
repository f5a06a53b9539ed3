//! The one error type of the library: what is wrong, where, and what to do about it.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

mod names;
mod place;

pub use names::closest;
pub use place::{KeyPath, Place};

/// Shorthand for results with the library's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, classified by who can fix it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something in the user's input is wrong.
    #[error(transparent)]
    Input(#[from] Box<InputError>),
    /// A file system error; the message names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A training produced non-finite numbers. No single key is at fault.
    #[error(transparent)]
    Diverged(Box<Failure>),
    /// Some of several runs failed, or some pictures could not be read, each for a reason that was
    /// reported at the time.
    #[error(transparent)]
    Unfinished(Box<Failure>),
    /// The user asked the process to stop; the work done so far has been saved.
    #[error("interrupted: {0}")]
    Interrupted(String),
}

/// An error in a file, a key or an argument, with place, problem and remedy as separate fields.
#[derive(Debug)]
pub struct InputError {
    /// The file, line, key or argument at fault, for example `train.csv:17` or `loss.gamma`.
    pub at: Place,
    /// What was found and what was expected; it continues the sentence that the place or the key
    /// begins.
    pub problem: String,
    /// What to do about it, if there is something to say beyond the problem.
    pub hint: Option<String>,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.problem)
    }
}

impl std::error::Error for InputError {}

/// A failure that is not caused by wrong input.
#[derive(Debug)]
pub struct Failure {
    /// What happened, and where.
    pub message: String,
    /// What to do about it, if there is something to say beyond the message.
    pub hint: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    fn new(message: impl fmt::Display) -> Box<Self> {
        Box::new(Failure {
            message: message.to_string(),
            hint: None,
        })
    }
}

impl Error {
    /// Makes an input error at `place`.
    pub fn at(place: Place, problem: impl fmt::Display) -> Self {
        Error::Input(Box::new(InputError {
            at: place,
            problem: problem.to_string(),
            hint: None,
        }))
    }

    /// Makes an input error about something named that is neither a key, a file nor an argument: a
    /// class, an image, a program.
    pub fn input(name: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self::at(Place::Named(name.to_string()), problem)
    }

    /// Makes an input error at a configuration key. The problem continues the sentence that the key
    /// begins: «is 0, expected a number above 0».
    pub fn key(key: impl Into<KeyPath>, problem: impl fmt::Display) -> Self {
        Self::at(Place::Key(key.into()), problem)
    }

    /// Makes an input error at a command-line argument, for example `--jobs`.
    pub fn argument(argument: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self::at(Place::Argument(argument.to_string()), problem)
    }

    /// Makes an input error in a file.
    pub fn file(path: &Path, problem: impl fmt::Display) -> Self {
        let path = path.to_owned();
        Self::at(Place::File { path, line: None }, problem)
    }

    /// Makes an input error on a line of a file (1-based).
    pub fn line(path: &Path, line: u64, problem: impl fmt::Display) -> Self {
        let (path, line) = (path.to_owned(), Some(line));
        Self::at(Place::File { path, line }, problem)
    }

    /// Makes the error for a training that produced non-finite numbers.
    pub fn diverged(message: impl fmt::Display) -> Self {
        Error::Diverged(Failure::new(message))
    }

    /// Makes the error for several runs of which some failed, or many pictures of which some
    /// failed.
    pub fn unfinished(message: impl fmt::Display) -> Self {
        Error::Unfinished(Failure::new(message))
    }

    /// Adds advice on what to do about it. File system and tensor errors are not changed.
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        let place = match &mut self {
            Error::Input(input) => &mut input.hint,
            Error::Diverged(failure) | Error::Unfinished(failure) => &mut failure.hint,
            Error::Io(_) | Error::Tensor(_) | Error::Interrupted(_) => return self,
        };
        *place = Some(hint.to_string());
        self
    }

    /// Adds «did you mean» if one of the accepted names is similar to `given`.
    pub fn did_you_mean<'a>(
        self,
        given: &str,
        accepted: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        match closest(given, accepted) {
            Some(near) => self.hint(format_args!("did you mean `{near}`?")),
            None => self,
        }
    }

    /// Returns what to do about it, if there is something to say beyond the message.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Error::Input(input) => input.hint.as_deref(),
            Error::Diverged(failure) | Error::Unfinished(failure) => failure.hint.as_deref(),
            Error::Io(error) if error.kind() == ErrorKind::StorageFull => {
                Some("free some space; the same command continues from the last checkpoint")
            }
            Error::Io(_) | Error::Tensor(_) | Error::Interrupted(_) => None,
        }
    }

    /// Returns the process exit code, see [`EXIT_CODES`].
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Input(_) => 2,
            Error::Io(error) if names_a_wrong_path(error.kind()) => 2,
            Error::Io(_) => 4,
            Error::Diverged(_) => 3,
            Error::Unfinished(_) => 5,
            Error::Interrupted(_) => 130,
            Error::Tensor(_) => 1,
        }
    }
}

/// The exit codes and their meanings, as shown in the help.
pub const EXIT_CODES: &[(u8, &str)] = &[
    (0, "done"),
    (1, "a calculation failed inside dbloss or on the device"),
    (2, "wrong input: an argument, a key, a file"),
    (
        3,
        "the training diverged: its loss is no longer a finite number",
    ),
    (
        4,
        "reading or writing failed: a full disk, a lost network drive",
    ),
    (
        5,
        "partly done: some of the runs or pictures failed, each with its reason on stderr",
    ),
    (130, "interrupted by a signal; finished work is saved"),
];

/// Returns whether the path is at fault, which nearly always comes from the user: missing, a
/// folder, or not readable.
fn names_a_wrong_path(kind: ErrorKind) -> bool {
    use ErrorKind::{
        AlreadyExists, DirectoryNotEmpty, InvalidData, InvalidFilename, InvalidInput, IsADirectory,
        NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem,
    };
    matches!(
        kind,
        AlreadyExists
            | DirectoryNotEmpty
            | InvalidData
            | InvalidFilename
            | InvalidInput
            | IsADirectory
            | NotADirectory
            | NotFound
            | PermissionDenied
            | ReadOnlyFilesystem
    )
}

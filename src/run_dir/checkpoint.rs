//! The names of a run's checkpoints.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A checkpoint of a run; in files `last`, `best`, `epoch-3`, also the names of theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Checkpoint {
    /// The newest one; of a finished run the end of its training.
    Last,
    /// The one with the best score on the validation part.
    Best,
    /// The one after so many epochs, from 1.
    Epoch(usize),
}

impl Checkpoint {
    /// Prefix of the name of a checkpoint after an epoch.
    const EPOCH: &str = "epoch-";

    /// Returns the checkpoint's name, which is also that of its file.
    pub fn name(self) -> String {
        match self {
            Checkpoint::Last => "last".to_owned(),
            Checkpoint::Best => "best".to_owned(),
            Checkpoint::Epoch(epoch) => format!("{}{epoch}", Self::EPOCH),
        }
    }
}

impl FromStr for Checkpoint {
    type Err = String;

    /// Parses the name of a checkpoint; the error lists the names that exist.
    fn from_str(name: &str) -> Result<Self, String> {
        let number = |digits: &str| digits.parse().ok().filter(|&number| number > 0);
        let found = match name {
            "last" => Some(Checkpoint::Last),
            "best" => Some(Checkpoint::Best),
            _ => name
                .strip_prefix(Self::EPOCH)
                .and_then(number)
                .map(Checkpoint::Epoch),
        };
        found
            .filter(|found| found.name() == name)
            .ok_or_else(|| format!("`{name}`, expected `last`, `best` or `epoch-N`, N from 1"))
    }
}

impl TryFrom<String> for Checkpoint {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl From<Checkpoint> for String {
    fn from(checkpoint: Checkpoint) -> String {
        checkpoint.name()
    }
}

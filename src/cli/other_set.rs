//! The options that name another data set for a trained model.

use std::path::PathBuf;

use dbloss::data::formats::Source;
use dbloss::data::split::Set;
use dbloss::job::OtherSet;
use dbloss::{Error, Result};

/// Another data set: a set of another split; a command may take sources beside.
#[derive(Debug, clap::Args)]
pub(super) struct OtherSetArgs {
    /// Use the images of another split, with classes matched by name
    #[arg(long, value_name = "DIR", help_heading = "Another test set")]
    test_split: Option<PathBuf>,
    /// Name of the other test set, whose results go to `eval/other-<NAME>/` of the run [default:
    /// the name of its file or folder]
    #[arg(long, value_name = "NAME", help_heading = "Another test set")]
    name: Option<String>,
}

impl OtherSetArgs {
    /// The other set: that of `source`, or the `set` of the split; `None` where none is named.
    pub(super) fn set(&self, set: Set, source: Option<Source>) -> Result<Option<OtherSet>> {
        let name = self.name.as_deref();
        if let Some(folder) = &self.test_split {
            return OtherSet::of_split(folder, set, name).map(Some);
        }
        match (source, name) {
            (Some(source), _) => OtherSet::of_source(source, name).map(Some),
            (None, Some(_)) => Err(Error::argument(
                "--name",
                "has no effect without another data set",
            )
            .hint("give one, for example with `--test-split`")),
            (None, None) => Ok(None),
        }
    }
}

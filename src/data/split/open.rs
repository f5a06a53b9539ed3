//! Opening the split of an experiment: built on first use, read afterwards.

use std::path::Path;

use crate::error::{Error, Result};
use crate::io::{claim_folder, folder_of, sync_folder, temporary_folder};

use super::{Split, SplitConfig};

impl Split {
    /// Returns the split described by `config`: reads it from `folder` if it is already there,
    /// otherwise builds it and writes it there. Safe to call from two processes at the same time.
    ///
    /// # Errors
    /// Returns an error if `folder` contains a split with other settings or anything else, or if
    /// the source cannot be read.
    pub fn read_or_build(config: &SplitConfig, folder: &Path) -> Result<Split> {
        if Split::is_in(folder) {
            let split = Split::read(folder)?;
            if !split.manifest.config.is_same(config) {
                return Err(Error::file(
                    folder,
                    "this split was built with other settings than the experiment's",
                )
                .hint("remove the folder, or choose another one with `--out`"));
            }
            return Ok(split);
        }
        claim_folder(folder, false)?;
        let split = Split::build(config)?;
        split.write_whole(folder)?;
        Ok(split)
    }

    /// Writes the split into `folder`, which must not contain anything yet. Either all or nothing
    /// is written.
    pub(super) fn write_whole(&self, folder: &Path) -> Result<()> {
        claim_folder(folder, false)?;
        // Written next to the target first, so that an interrupted process leaves no partial split
        // there.
        let parent = folder_of(folder);
        fs_err::create_dir_all(parent)?;
        let building = temporary_folder(parent)?;
        self.write(building.path(), false)?;
        // Some systems refuse to rename onto a folder, even an empty one.
        let _ = fs_err::remove_dir(folder);
        #[expect(
            clippy::disallowed_methods,
            reason = "what is said of it names the folder"
        )]
        let renamed = std::fs::rename(building.path(), folder);
        if let Err(error) = renamed {
            // Another process may have been faster; otherwise the folder is in use for something
            // else.
            if !Split::is_in(folder) {
                return Err(Error::file(folder, error).hint("name another folder with `--out`"));
            }
        }
        sync_folder(parent);
        Ok(())
    }
}

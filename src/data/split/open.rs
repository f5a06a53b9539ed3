//! The split of an experiment, built the first time it is wanted and read afterwards.

use std::path::Path;

use crate::error::{Error, Result};
use crate::io::{claim_folder, folder_of, sync_folder, temporary_folder};

use super::{Split, SplitConfig};

impl Split {
    /// The split that `config` describes: read from `folder` if it lies there, else built and
    /// written there. Two processes may ask at the same time.
    ///
    /// # Errors
    /// `folder` holds a split of other settings, or something else; the source cannot be read.
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

    /// Writes the split into `folder`, where nothing is yet, all of it or nothing.
    pub(super) fn write_whole(&self, folder: &Path) -> Result<()> {
        claim_folder(folder, false)?;
        // Beside its place first: a process that ends in the middle leaves no half a split there.
        let parent = folder_of(folder);
        fs_err::create_dir_all(parent)?;
        let building = temporary_folder(parent)?;
        self.write(building.path(), false)?;
        // Not every system renames onto a folder, even an empty one.
        let _ = fs_err::remove_dir(folder);
        #[expect(
            clippy::disallowed_methods,
            reason = "what is said of it names the folder"
        )]
        let renamed = std::fs::rename(building.path(), folder);
        if let Err(error) = renamed {
            // Another process may have been faster; else the folder is in use for something else.
            if !Split::is_in(folder) {
                return Err(Error::file(folder, error).hint("name another folder with `--out`"));
            }
        }
        sync_folder(parent);
        Ok(())
    }
}

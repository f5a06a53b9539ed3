//! Removal of files that a killed process was writing. Locks distinguish them from files that are
//! still being written.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

/// Prefix of the names of files being written.
pub(super) const TEMPORARY: &str = ".writing-";

/// Returns whether this is the name of a file that [`write_atomic`](super::write_atomic) had not
/// finished when its process ended.
pub fn is_temporary(name: &std::ffi::OsStr) -> bool {
    name.to_string_lossy().starts_with(TEMPORARY)
}

/// Folders that this process has already swept.
static SWEPT: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);

/// Removes from `folder`, the first time this process writes into it, the unfinished files of
/// killed processes. Files that cannot be removed are left: they do no harm.
pub(super) fn sweep_once(folder: &Path) {
    let known = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let mut swept = SWEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if !swept.insert(known) {
        return;
    }
    drop(swept);
    let entries = fs_err::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| is_temporary(&entry.file_name())) {
        remove_if_left(&entry.path());
    }
}

/// Removes a file or folder unless another process holds its lock.
fn remove_if_left(path: &Path) {
    // Never through a link, and never where locks are not supported: it may be in use.
    let Ok(kind) = fs_err::symlink_metadata(path) else {
        return;
    };
    if !kind.is_file() && !kind.is_dir() {
        return;
    }
    let Ok(file) = fs_err::File::open(path) else {
        return;
    };
    if file.file().try_lock().is_err() {
        return;
    }
    let removed = match kind.is_dir() {
        true => fs_err::remove_dir_all(path),
        false => fs_err::remove_file(path),
    };
    if let Err(error) = removed {
        tracing::debug!("left over from a killed process: {error}");
    }
}

/// Locks a file or folder that this process has just created, for as long as it is open. Returns
/// false if another process has already taken it for an abandoned one.
pub(super) fn hold(file: &File) -> bool {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => false,
        // If the file system does not support locks, nobody sweeps.
        Err(TryLockError::Error(_)) => true,
        Ok(()) => is_there(file),
    }
}

#[cfg(unix)]
fn is_there(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|found| found.nlink() > 0)
}

#[cfg(not(unix))]
fn is_there(_: &File) -> bool {
    // An open file cannot be removed there.
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_writes_goes_and_what_somebody_writes_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs_err::write(path(".writing-left"), "half").unwrap();
        fs_err::write(path("writing"), "whole").unwrap();
        fs_err::create_dir(path(".writing-folder")).unwrap();
        fs_err::write(path(".writing-folder/a"), "half").unwrap();
        let held = fs_err::File::create(path(".writing-held")).unwrap();
        assert!(hold(held.file()));
        #[cfg(unix)]
        std::os::unix::fs::symlink(path("writing"), path(".writing-link")).unwrap();

        sweep_once(folder.path());
        let mut left: Vec<_> = (fs_err::read_dir(folder.path()).unwrap())
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let expected: &[&str] = match cfg!(unix) {
            true => &[".writing-held", ".writing-link", "writing"],
            false => &[".writing-held", "writing"],
        };
        assert_eq!(left, expected);
        // A file removed while its creator still holds it.
        let gone = fs_err::File::create(path("gone")).unwrap();
        fs_err::remove_file(path("gone")).unwrap();
        assert_eq!(hold(gone.file()), cfg!(not(unix)));
    }
}

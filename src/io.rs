//! Atomic writes, hashes, and folders that are not overwritten without permission.

mod leftovers;

use std::io::{BufWriter, ErrorKind, Read, Write};
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

use leftovers::TEMPORARY;
pub use leftovers::is_temporary;

/// Writes a file through a temporary one beside it, which is renamed at the end, so that neither a
/// concurrent reader nor a crash nor a power failure sees half a file. Missing parent folders are
/// created.
pub fn write_atomic(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    write_through(path, true, write)
}

/// Like [`write_atomic`], without waiting for the disk: for files that can be recreated, such as a
/// cache of many pictures.
pub fn write_cached(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    write_through(path, false, write)
}

fn write_through(
    path: &Path,
    durable: bool,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let folder = folder_of(path);
    fs_err::create_dir_all(folder)?;
    let mut temporary = temporary_file(folder).map_err(|e| named(path, &e))?;
    {
        let file = temporary.as_file_mut();
        let mut writer = BufWriter::with_capacity(1 << 16, Named { file, path });
        write(&mut writer)?;
        writer.flush()?;
    }
    if durable {
        // Before the rename, because otherwise the name may reach the disk before the contents.
        let synced = temporary.as_file().sync_all();
        synced.map_err(|e| named(path, &e))?;
    }
    temporary.persist(path).map_err(|e| named(path, &e.error))?;
    if durable {
        sync_folder(folder);
    }
    Ok(())
}

/// Returns the folder that contains a file: `.` for a bare name.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Syncs the entries of `folder` to disk. File systems that cannot do so return an error, which is
/// ignored.
pub fn sync_folder(folder: &Path) {
    #[cfg(unix)]
    if let Ok(folder) = fs_err::File::open(folder) {
        let _ = folder.sync_all();
    }
    #[cfg(not(unix))]
    let _ = folder;
}

/// Creates a file in `folder` that other processes do not mistake for an abandoned one.
fn temporary_file(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    leftovers::sweep_once(folder);
    loop {
        let mut builder = tempfile::Builder::new();
        // The umask applies as to any other file, instead of the private mode of temporary files.
        #[cfg(unix)]
        builder.permissions(permissions(0o666));
        let file = builder.prefix(TEMPORARY).tempfile_in(folder)?;
        if leftovers::hold(file.as_file()) {
            return Ok(file);
        }
    }
}

/// A file whose errors name the final path.
struct Named<'a> {
    file: &'a mut std::fs::File,
    path: &'a Path,
}

impl Write for Named<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes).map_err(|e| named(self.path, &e))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush().map_err(|e| named(self.path, &e))
    }
}

/// Adds `path` to an error of writing it, because the system does not name it.
fn named(path: &Path, error: &std::io::Error) -> std::io::Error {
    let problem = match error.kind() {
        ErrorKind::StorageFull => "the disk is full".to_owned(),
        ErrorKind::QuotaExceeded => "the disk quota is used up".to_owned(),
        // The writer goes on after these.
        ErrorKind::Interrupted => return ErrorKind::Interrupted.into(),
        _ => error.to_string(),
    };
    let message = format!("{}: cannot be written: {problem}", path.display());
    std::io::Error::new(error.kind(), message)
}

/// A folder to be filled before it is renamed to its final place; it is removed unless that
/// happens.
#[derive(Debug)]
pub struct TemporaryFolder {
    folder: tempfile::TempDir,
    // Held while the folder is being filled.
    _lock: Option<std::fs::File>,
}

impl TemporaryFolder {
    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Creates a folder in `parent` to be filled before it is renamed to its final place.
///
/// # Errors
/// Fails if `parent` is not writable.
pub fn temporary_folder(parent: &Path) -> Result<TemporaryFolder> {
    leftovers::sweep_once(parent);
    loop {
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(permissions(0o777));
        let folder = builder.prefix(TEMPORARY).tempdir_in(parent)?;
        // Systems that cannot open folders cannot lock them either, and do not remove abandoned
        // ones.
        let lock = fs_err::File::open(folder.path()).map(|file| file.into_parts().0);
        let lock = lock.ok();
        if lock.as_ref().is_none_or(leftovers::hold) {
            return Ok(TemporaryFolder {
                folder,
                _lock: lock,
            });
        }
    }
}

/// Returns the permissions to request; the umask restricts them as for any file.
#[cfg(unix)]
fn permissions(mode: u32) -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

/// Writes a text file atomically, see [`write_atomic`].
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    write_atomic(path, |writer| Ok(writer.write_all(text.as_bytes())?))
}

/// Makes `other` a hard link to the file at `path`, replacing an existing file; if the file system
/// does not support hard links, a copy. Missing parent folders are created.
pub fn link_or_copy(path: &Path, other: &Path) -> Result<()> {
    if let Some(folder) = other.parent() {
        fs_err::create_dir_all(folder)?;
    }
    // Under a temporary name first, so that an existing `other` is present at every moment.
    let building = temporary_folder(folder_of(other))?;
    let linked = building.path().join("linked");
    if fs_err::hard_link(path, &linked).is_ok() {
        fs_err::rename(&linked, other)?;
        sync_folder(folder_of(other));
        return Ok(());
    }
    let mut file = fs_err::File::open(path)?;
    write_atomic(other, |writer| {
        Ok(std::io::copy(&mut file, writer).map(drop)?)
    })
}

/// Makes `path` absolute, where a relative one is relative to `folder`. `..` is resolved lexically
/// below the folder, so the file itself need not exist.
pub fn absolute(folder: &Path, path: &Path) -> PathBuf {
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    // The canonical folder contains no links, so `..` can be resolved lexically.
    let folder = folder
        .canonicalize()
        .or_else(|_| std::path::absolute(folder))
        .unwrap_or_else(|_| folder.to_owned());
    let mut absolute = PathBuf::new();
    for part in folder.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                absolute.pop();
            }
            other => absolute.push(other),
        }
    }
    absolute
}

/// Returns the blake3 hash of a file, in hexadecimal.
pub fn hash_file(path: &Path) -> Result<String> {
    let mut file = fs_err::File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hasher.finalize().to_hex().to_string());
        }
        hasher.update(&buffer[..read]);
    }
}

/// Creates `folder`, and rejects one that is not empty unless `force` is set.
pub fn claim_folder(folder: &Path, force: bool) -> Result<()> {
    if folder.is_file() {
        return Err(Error::file(folder, "is a file, expected a folder"));
    }
    if folder.is_dir() && !force && fs_err::read_dir(folder)?.next().is_some() {
        return Err(Error::file(folder, "the folder is not empty")
            .hint("name another folder, or pass `--force` to write into this one"));
    }
    fs_err::create_dir_all(folder)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_text(&path, "old").unwrap();
        let failed = write_atomic(&path, |writer| {
            writer.write_all(b"half")?;
            Err(Error::input("test", "stops in the middle"))
        });
        assert!(failed.is_err());
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
    }

    /// Written files have the same permissions as files written in the ordinary way.
    #[cfg(unix)]
    #[test]
    fn the_umask_is_respected() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| {
            let metadata = fs_err::metadata(folder.path().join(name)).unwrap();
            metadata.permissions().mode() & 0o777
        };
        fs_err::write(folder.path().join("plain"), "x").unwrap();
        write_text(&folder.path().join("atomic"), "x").unwrap();
        assert_eq!(mode("atomic"), mode("plain"));
        fs_err::create_dir(folder.path().join("plain-folder")).unwrap();
        let made = temporary_folder(folder.path()).unwrap();
        let name = made.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(mode(name), mode("plain-folder"));
    }

    #[test]
    fn a_full_disk_is_told_with_the_file_and_is_no_mistake_of_the_input() {
        let error = named(
            Path::new("runs/a/epochs.csv"),
            &ErrorKind::StorageFull.into(),
        );
        let error = Error::from(error);
        assert_eq!(
            error.to_string(),
            "runs/a/epochs.csv: cannot be written: the disk is full"
        );
        assert_eq!(error.exit_code(), 4);
        assert!(error.remedy().is_some());
    }

    #[test]
    fn a_folder_in_use_is_refused_without_force() {
        let folder = tempfile::tempdir().unwrap();
        claim_folder(folder.path(), false).unwrap();
        write_text(&folder.path().join("x"), "x").unwrap();
        assert!(claim_folder(folder.path(), false).is_err());
        claim_folder(folder.path(), true).unwrap();
    }
}

//! Files written whole or not at all, hashes, and folders that are not overwritten unasked.

mod leftovers;

use std::io::{BufWriter, ErrorKind, Read, Write};
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

use leftovers::TEMPORARY;
pub use leftovers::is_temporary;

/// Writes a file through a temporary one beside it that is renamed at the end: a reader, a crash,
/// or a machine that loses power never leaves half a file. Missing parent folders are made.
pub fn write_atomic(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    write_through(path, true, write)
}

/// Like [`write_atomic`], without waiting for the disk: for files that can be made again, such as
/// a cache of pictures, of which there are many.
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
        // Before the rename: else the name may reach the disk before the bytes do.
        let synced = temporary.as_file().sync_all();
        synced.map_err(|e| named(path, &e))?;
    }
    temporary.persist(path).map_err(|e| named(path, &e.error))?;
    if durable {
        sync_folder(folder);
    }
    Ok(())
}

/// The folder that a file lies in: `.` for a bare name.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Waits until the names in `folder` have reached the disk. File systems that cannot do so say it;
/// work goes on then.
pub fn sync_folder(folder: &Path) {
    #[cfg(unix)]
    if let Ok(folder) = fs_err::File::open(folder) {
        let _ = folder.sync_all();
    }
    #[cfg(not(unix))]
    let _ = folder;
}

/// A file in `folder` that no other process takes for one that was left behind.
fn temporary_file(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    leftovers::sweep_once(folder);
    loop {
        let mut builder = tempfile::Builder::new();
        // As any other file: what the umask leaves, not private as temporary files are.
        #[cfg(unix)]
        builder.permissions(permissions(0o666));
        let file = builder.prefix(TEMPORARY).tempfile_in(folder)?;
        if leftovers::hold(file.as_file()) {
            return Ok(file);
        }
    }
}

/// A file whose errors name the path that it is written for.
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

/// The error of writing `path`, which the system does not name.
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

/// A folder to write into before it is renamed to its place; it vanishes unless that happens.
#[derive(Debug)]
pub struct TemporaryFolder {
    folder: tempfile::TempDir,
    // Held for as long as the folder is being written.
    _lock: Option<std::fs::File>,
}

impl TemporaryFolder {
    /// The folder itself.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Makes a folder in `parent` to write into before it is renamed to its place.
///
/// # Errors
/// `parent` cannot be written to.
pub fn temporary_folder(parent: &Path) -> Result<TemporaryFolder> {
    leftovers::sweep_once(parent);
    loop {
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(permissions(0o777));
        let folder = builder.prefix(TEMPORARY).tempdir_in(parent)?;
        // Systems that cannot open folders cannot lock them either; nor do they sweep.
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

/// Permissions to ask for; the umask takes from them what it takes from any file.
#[cfg(unix)]
fn permissions(mode: u32) -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

/// Writes a text file whole, see [`write_atomic`].
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    write_atomic(path, |writer| Ok(writer.write_all(text.as_bytes())?))
}

/// Gives the file at `path` the name `other` too, in place of what has that name; where the file
/// system cannot give a file several names, a copy of it. Missing parent folders are made.
pub fn link_or_copy(path: &Path, other: &Path) -> Result<()> {
    if let Some(folder) = other.parent() {
        fs_err::create_dir_all(folder)?;
    }
    // Under another name first: `other` is there at every moment, if it was.
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

/// `path` as an absolute one, where a relative one is relative to `folder`. `..` is resolved by
/// name from the folder on, so the file itself need not exist.
pub fn absolute(folder: &Path, path: &Path) -> PathBuf {
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    // The canonical folder holds no link, so that `..` means what it says.
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

/// The blake3 hash of a file's bytes, in hexadecimal.
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

/// Makes `folder`, and refuses one that already holds something unless `force` is set.
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

    /// What is written is as open to others as a file that is written plainly.
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

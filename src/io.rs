//! Files written whole or not at all, hashes, and folders that are not overwritten unasked.

use std::io::{BufWriter, Read, Write};
use std::path::Path;

use crate::error::{Error, Result};

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
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs_err::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    // As any other file: what the umask leaves, not private as temporary files are.
    #[cfg(unix)]
    builder.permissions(permissions(0o666));
    let mut temporary = builder.prefix(TEMPORARY).tempfile_in(folder)?;
    {
        let mut writer = BufWriter::with_capacity(1 << 16, temporary.as_file_mut());
        write(&mut writer)?;
        writer.flush()?;
    }
    if durable {
        // Before the rename: else the name may reach the disk before the bytes do.
        temporary.as_file().sync_all()?;
    }
    temporary
        .persist(path)
        .map_err(|e| Error::file(path, format_args!("cannot be written: {}", e.error)))?;
    #[cfg(unix)]
    if durable && let Ok(folder) = fs_err::File::open(folder) {
        // The new name lies in the folder. File systems that cannot sync one say so; go on.
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Beginning of the names of files that are being written.
const TEMPORARY: &str = ".writing-";

/// True for the name of a file that [`write_atomic`] had not finished when its process ended.
pub fn is_temporary(name: &std::ffi::OsStr) -> bool {
    name.to_string_lossy().starts_with(TEMPORARY)
}

/// A folder to write into before it is renamed to its place; it vanishes unless that happens.
pub fn temporary_folder(parent: &Path) -> Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(permissions(0o777));
    Ok(builder.prefix(TEMPORARY).tempdir_in(parent)?)
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
    fn a_folder_in_use_is_refused_without_force() {
        let folder = tempfile::tempdir().unwrap();
        claim_folder(folder.path(), false).unwrap();
        write_text(&folder.path().join("x"), "x").unwrap();
        assert!(claim_folder(folder.path(), false).is_err());
        claim_folder(folder.path(), true).unwrap();
    }
}

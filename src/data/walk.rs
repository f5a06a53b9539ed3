//! Lists the files of a folder and its subfolders in an order that does not depend on the system.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Folders nested deeper than this are taken for a cycle of links.
const DEEPEST: usize = 16;

/// What systems and tools leave in folders, apart from hidden files.
const LEFT_BEHIND: [&str; 5] = [
    "__MACOSX",
    "Thumbs.db",
    "desktop.ini",
    "@eaDir",
    "$RECYCLE.BIN",
];

/// Name, path, and whether it is a folder.
pub(crate) type Entry = (String, PathBuf, bool);

/// Returns the contents of `folder`, sorted, without hidden files and those left behind by systems.
///
/// # Errors
/// Returns an error if the folder cannot be read or a name is not UTF-8.
pub(crate) fn entries(folder: &Path) -> Result<Vec<Entry>> {
    let listed = list(folder)?.into_iter();
    listed
        .map(|(name, is_folder)| {
            let path = folder.join(&name);
            Ok((utf8(name, folder)?, path, is_folder))
        })
        .collect()
}

/// Returns the names, sorted, with whether they are folders.
fn list(folder: &Path) -> Result<Vec<(OsString, bool)>> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let shown = name.to_string_lossy();
        let is_left_behind = |left: &&str| left.eq_ignore_ascii_case(&shown);
        if shown.starts_with('.') || LEFT_BEHIND.iter().any(is_left_behind) {
            continue;
        }
        let is_folder = match entry.file_type() {
            Ok(kind) if !kind.is_symlink() => kind.is_dir(),
            _ => entry.path().is_dir(),
        };
        found.push((name, is_folder));
    }
    found.sort();
    Ok(found)
}

fn utf8(name: OsString, folder: &Path) -> Result<String> {
    let refused = |name: OsString| Error::file(&folder.join(name), "the file's name is not UTF-8");
    name.into_string().map_err(refused)
}

/// An iterator over `prefix/<file>` for every file below a folder, sorted by folder. Only the names
/// in the folders on the path to the current file are in memory.
///
/// A folder that cannot be read, or a name that is not UTF-8, yields an error, after which
/// iteration continues.
#[derive(Debug)]
pub struct Walk {
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    folder: PathBuf,
    prefix: String,
    /// `None` until the folder is read.
    entries: Option<std::vec::IntoIter<(OsString, bool)>>,
}

impl Walk {
    /// Creates an iterator over the files below `folder`, which is not read yet.
    pub fn new(folder: &Path, prefix: &str) -> Self {
        let top = Level {
            folder: folder.to_owned(),
            prefix: prefix.to_owned(),
            entries: None,
        };
        Walk { levels: vec![top] }
    }
}

impl Iterator for Walk {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let depth = self.levels.len();
            let level = self.levels.last_mut()?;
            let entries = match &mut level.entries {
                Some(entries) => entries,
                None if depth > DEEPEST + 1 => {
                    let problem = "the folders are nested too deeply";
                    let error = Error::file(&level.folder, problem);
                    self.levels.pop();
                    return Some(Err(error));
                }
                none => match list(&level.folder) {
                    Ok(found) => none.insert(found.into_iter()),
                    Err(error) => {
                        self.levels.pop();
                        return Some(Err(error));
                    }
                },
            };
            let Some((name, is_folder)) = entries.next() else {
                self.levels.pop();
                continue;
            };
            let name = match utf8(name, &level.folder) {
                Ok(name) => name,
                Err(error) => return Some(Err(error)),
            };
            let path = match level.prefix.as_str() {
                "" => name.clone(),
                prefix if prefix.ends_with('/') => format!("{prefix}{name}"),
                prefix => format!("{prefix}/{name}"),
            };
            if !is_folder {
                return Some(Ok(path));
            }
            let below = Level {
                folder: level.folder.join(&name),
                prefix: path,
                entries: None,
            };
            self.levels.push(below);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::write_text;

    #[test]
    fn files_come_sorted_and_what_cannot_be_read_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "b/2.jpg",
            "b/10.jpg",
            "a.jpg",
            "c/.hidden",
            "c/d/e.jpg",
            "z",
        ] {
            write_text(&folder.path().join(name), "x").unwrap();
        }
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStringExt;
            let name = OsString::from_vec(b"b/1\xff.jpg".to_vec());
            write_text(&folder.path().join(name), "x").unwrap();
            std::os::unix::fs::symlink(folder.path(), folder.path().join("c/loop")).unwrap();
        }
        let mut files = Vec::new();
        let mut errors = Vec::new();
        for found in Walk::new(folder.path(), "p") {
            match found {
                Ok(file) if file.contains("loop") => {}
                Ok(file) => files.push(file),
                Err(error) => errors.push(error.to_string()),
            }
        }
        let expected = ["p/a.jpg", "p/b/10.jpg", "p/b/2.jpg", "p/c/d/e.jpg", "p/z"];
        assert_eq!(files, expected);
        #[cfg(unix)]
        for problem in ["not UTF-8", "nested too deeply"] {
            assert!(errors.iter().any(|e| e.contains(problem)), "{errors:?}");
        }
        assert!(
            Walk::new(&folder.path().join("none"), "")
                .next()
                .unwrap()
                .is_err()
        );
    }
}
